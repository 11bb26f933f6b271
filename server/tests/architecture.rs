//! Holds the source to `docs/architecture.md`, and files to a length that can be read in one go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Lines of the longest file, and from where on a file is long, of which there may be a few.
const LONGEST: usize = 600;
const LONG: usize = 400;
const FEW: usize = 5;

/// The name in the table of what is in no module: the program.
const PROGRAM: &str = "main";

#[test]
fn every_module_is_in_the_table_and_every_row_is_a_module() {
    let listed: BTreeSet<_> = table("Modules").into_iter().map(|row| row.module()).collect();
    let present: BTreeSet<_> = sources().into_iter().map(|source| source.module).collect();
    assert_eq!(listed, present);
}

#[test]
fn a_module_imports_only_what_its_row_allows() {
    let allowed: BTreeMap<_, _> =
        table("Modules").into_iter().map(|row| (row.module(), row.names(2))).collect();
    for source in sources() {
        let allowed = &allowed[&source.module];
        for import in source.imports() {
            let is_allowed = import == source.module || allowed.contains(&import);
            assert!(is_allowed, "{} imports {import}", source.path.display());
        }
    }
}

#[test]
fn the_table_allows_no_import_from_above() {
    let rows = table("Modules");
    for (index, row) in rows.iter().enumerate() {
        let below: BTreeSet<_> = rows[index + 1..].iter().map(Row::module).collect();
        for import in row.names(2) {
            assert!(below.contains(&import), "{} may import {import}, which is not below it", row.module());
        }
    }
}

#[test]
fn only_the_adapter_and_the_test_network_name_hickory_server() {
    for source in sources() {
        let may = ["request_handler", "testnet"].contains(&source.module.as_str());
        assert!(may || !source.text.contains("hickory_server"), "{}", source.path.display());
    }
}

/// Whoever chooses the keys must not choose collisions. The hasher that `lru` brings has no secret; those of the standard
/// library and of `ahash` have one.
#[test]
fn caches_hash_with_a_secret() {
    for source in sources() {
        let may = source.module == "simulator";
        let is_plain =
            ["LruCache::new(", "LruCache::unbounded("].iter().any(|call| source.text.contains(call));
        assert!(may || !is_plain, "{}", source.path.display());
    }
}

#[test]
fn only_the_http_listeners_name_axum() {
    for source in sources() {
        assert!(source.module == "http" || !source.text.contains("axum"), "{}", source.path.display());
    }
}

#[test]
fn what_the_table_calls_pure_knows_no_runtime_and_no_clock() {
    let resolver = table("Modules").into_iter().find(|row| row.module() == "resolver").expect("a row");
    let pure = resolver.names(1);
    assert!(!pure.is_empty());
    let sources = sources();
    for file in pure {
        let path = manifest("src/resolver").join(file + ".rs");
        let source = sources.iter().find(|source| source.path == path).expect("a source file");
        for impure in ["tokio::", "Instant", "SystemTime", "async "] {
            assert!(!source.text.contains(impure), "{impure} in {}", path.display());
        }
    }
}

#[test]
fn every_limit_is_where_the_table_says() {
    let rows = table("Limits");
    assert!(!rows.is_empty());
    for row in rows {
        let [file] = &row.names(3)[..] else { panic!("{row:?}") };
        let text = fs::read_to_string(manifest("src").join(file)).expect(file);
        for constant in row.names(2) {
            assert!(text.contains(&format!("const {constant}: ")), "{constant} in {file}");
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut long = Vec::new();
    let folders = ["src", "tests", "examples", "benches", "../cli/src", "../cli/tests", "../testing/src"];
    for path in folders.iter().flat_map(|folder| rust_files(&manifest(folder))) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", path.display());
        if lines > LONG {
            long.push(path);
        }
    }
    assert!(long.len() <= FEW, "over {LONG} lines: {long:?}");
}

/// A row of a table, by cells.
#[derive(Debug)]
struct Row(Vec<String>);

impl Row {
    fn module(&self) -> String {
        self.names(0).first().expect("a name in backticks").clone()
    }

    /// What stands in backticks.
    fn names(&self, cell: usize) -> Vec<String> {
        self.0[cell].split('`').skip(1).step_by(2).map(String::from).collect()
    }
}

/// The rows of the first table under a heading.
fn table(heading: &str) -> Vec<Row> {
    let text = fs::read_to_string(manifest("../docs/architecture.md")).unwrap();
    let lines = text.lines().skip_while(|line| *line != format!("## {heading}"));
    let table = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table
        .skip(2)
        .map(|line| Row(line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect()))
        .collect()
}

/// A file of the crate without its comments and tests.
struct Source {
    module: String,
    path: PathBuf,
    text: String,
    /// How other modules are named in it.
    prefixes: &'static [&'static str],
}

impl Source {
    /// Modules that the file names, in `use` or anywhere else.
    fn imports(&self) -> BTreeSet<String> {
        let is_part_of_name = |character: char| character.is_alphanumeric() || character == '_';
        let mut imports = BTreeSet::new();
        for prefix in self.prefixes {
            for (at, _) in self.text.match_indices(prefix) {
                if self.text[..at].ends_with(is_part_of_name) {
                    continue;
                }
                let path = &self.text[at + prefix.len()..];
                let names = match path.strip_prefix('{') {
                    Some(group) => heads(group),
                    None => vec![path],
                };
                for name in names {
                    let end = name.find(|character| !is_part_of_name(character)).unwrap_or(name.len());
                    imports.insert(name[..end].to_string());
                }
            }
        }
        imports
    }
}

/// The first names of the paths in a group whose opening brace has been read.
fn heads(group: &str) -> Vec<&str> {
    let (mut heads, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(group[start..at].trim());
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Every file of the library and of the program, without those that only tests use.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let library = manifest("src/lib.rs");
    for module in submodules(&library) {
        // In the first file of a module, `super` is the crate.
        collect(&child(&library, &module), &module, &["crate::", "super::"], &mut sources);
    }
    collect(&manifest("src/main.rs"), PROGRAM, &["pkdns::"], &mut sources);
    sources
}

fn collect(path: &Path, module: &str, prefixes: &'static [&'static str], sources: &mut Vec<Source>) {
    let (path, text) = (path.to_path_buf(), production(&fs::read_to_string(path).expect(module)));
    for name in submodules(&path) {
        let prefixes: &[_] = if module == PROGRAM { prefixes } else { &["crate::"] };
        collect(&child(&path, &name), module, prefixes, sources);
    }
    sources.push(Source { module: module.to_string(), path, text, prefixes });
}

/// The modules that a file declares in files of their own, but for tests.
fn submodules(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut modules = Vec::new();
    let mut before = "";
    for line in text.lines() {
        if let Some((visibility, name)) = line.strip_suffix(';').and_then(|line| line.split_once("mod "))
            && (visibility.is_empty() || visibility.starts_with("pub"))
            && before != "#[cfg(test)]"
        {
            modules.push(name.to_string());
        }
        before = line;
    }
    modules
}

fn child(parent: &Path, name: &str) -> PathBuf {
    let is_root = parent.ends_with("lib.rs") || parent.ends_with("main.rs") || parent.ends_with("mod.rs");
    let folder = if is_root { parent.parent().unwrap().to_path_buf() } else { parent.with_extension("") };
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { file } else { folder.join(name).join("mod.rs") }
}

fn production(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..tests].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    // Not every package has every folder.
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
