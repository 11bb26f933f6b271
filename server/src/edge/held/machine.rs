//! How much memory there is for this process: the machine's, or what a control group leaves of it.

use std::{fs, path::Path};

/// Of the memory that there is, one part in so many is set aside for bytes that are held for clients: a router with 256
/// MB gets 16 MB.
const PART: u64 = 16;

/// In bytes. The most is enough for any number of honest clients, as their bytes leave within moments; the least holds
/// some of the largest answers.
const MOST: u64 = 64 << 20;
const LEAST: u64 = 4 << 20;

/// What the kernel says of the memory that this process may take, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineMemory {
    /// MemTotal of `/proc/meminfo`.
    pub total: Option<u64>,
    /// The least limit of the control groups that the process is in.
    pub limit: Option<u64>,
}

impl MachineMemory {
    /// Asks the kernel. What cannot be read is left out.
    pub fn read() -> Self {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let groups = read(Path::new("/proc/self/cgroup"));
        let limits = limit_files(&groups).into_iter().filter_map(|path| limit(&read(Path::new(&path))));
        Self { total: mem_total(&read(Path::new("/proc/meminfo"))), limit: limits.min() }
    }

    /// Bytes that may be held for clients.
    pub fn budget(&self) -> usize {
        let there_is = self.limit.unwrap_or(u64::MAX).min(self.total.unwrap_or(u64::MAX));
        usize::try_from((there_is / PART).clamp(LEAST, MOST)).unwrap_or(usize::MAX)
    }
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where limits may stand: of each group in `/proc/self/cgroup`, version 1 and 2, and of the groups around it. Inside a
/// container the paths may be those of the host, and then only the outermost is there.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let groups = Path::new(path).ancestors().filter_map(Path::to_str);
        files.extend(groups.map(|group| format!("{root}{}/{file}", group.trim_end_matches('/'))));
    }
    files
}

/// Version 2 says `max` where there is none, version 1 a number that no machine has.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_a_sixteenth_of_what_there_is_between_4_and_64_megabytes() {
        let budget = |total: Option<u64>, limit: Option<u64>| {
            let megabytes = |number: u64| number << 20;
            MachineMemory { total: total.map(megabytes), limit: limit.map(megabytes) }.budget() >> 20
        };
        for (total, limit, expected) in [
            (None, None, 64),
            (Some(32_000), None, 64),
            (Some(1024), None, 64),
            (Some(512), None, 32),
            (Some(256), None, 16),
            (Some(32), None, 4),
            (Some(32_000), Some(256), 16),
            (Some(256), Some(32_000), 16),
            (None, Some(128), 8),
        ] {
            assert_eq!(budget(total, limit), expected, "{total:?} {limit:?}");
        }
    }

    #[test]
    fn memory_and_limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(mem_total("MemTotal:         250000 kB\nMemFree: 1 kB\n"), Some(256_000_000));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("268435456\n"), Some(268_435_456));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn limits_of_the_groups_around_count_in_both_versions() {
        assert_eq!(
            limit_files("0::/system.slice/pkdns.service\n"),
            [
                "/sys/fs/cgroup/system.slice/pkdns.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            limit_files("9:name=systemd:/\n4:cpu,memory:/docker/1\n1:cpu:/\n"),
            [
                "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert_eq!(limit_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(limit_files("nonsense\n"), Vec::<String>::new());
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(MachineMemory::read().total.is_some());
    }
}
