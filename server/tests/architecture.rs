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

/// The row of what is in the room of the program and in no other row.
const PROGRAM: &str = "main";

#[test]
fn every_module_is_in_the_table_and_every_row_is_a_module() {
    let rooms = Rooms::of_the_table();
    let present: BTreeSet<_> = sources().into_iter().map(|source| source.module).collect();
    assert_eq!(rooms.rows.iter().map(|(_, module)| module.clone()).collect::<BTreeSet<_>>(), present);
    // A module that a room declares is not taken for a part of the room's own.
    for room in ["edge", "sources", "base"] {
        let declared = submodules(&manifest("src").join(room).join("mod.rs"));
        let declared: BTreeSet<_> = declared.into_iter().filter(|name| !name.starts_with("no_")).collect();
        let listed: BTreeSet<_> =
            rooms.rows.iter().filter(|row| row.0 == room).map(|row| row.1.clone()).collect();
        assert_eq!(declared, listed, "{room}");
    }
}

#[test]
fn every_module_of_the_dht_client_is_in_its_table() {
    let listed: BTreeSet<_> = table("The DHT client").iter().flat_map(|row| row.names(0)).collect();
    let mut present: BTreeSet<_> = submodules(&manifest("../dht/src/lib.rs")).into_iter().collect();
    // For tests alone.
    present.extend(["simulator".to_string()]);
    present.remove("testing");
    assert_eq!(listed, present);
}

#[test]
fn a_module_imports_only_what_its_row_allows() {
    let allowed: BTreeMap<_, _> =
        table("Modules").into_iter().map(|row| (row.module(), row.names(3))).collect();
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
        for import in row.names(3) {
            assert!(below.contains(&import), "{} may import {import}, which is not below it", row.module());
        }
    }
}

#[test]
fn the_rooms_are_in_the_order_in_which_a_query_goes_down_through_them() {
    let mut rooms: Vec<_> = Rooms::of_the_table().rows.into_iter().map(|(room, _)| room).collect();
    rooms.dedup();
    assert_eq!(rooms, ["program", "edge", "service", "resolver", "sources", "base"]);
}

#[test]
fn a_stranger_opens_at_most_two_files_for_a_question() {
    let rows = table("Where to look");
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let places = row.names(1);
        assert!((1..=2).contains(&places.len()), "{row:?}");
    }
}

/// Everything in backticks on the page that looks like a path is one: of the repository, of `server/src`, or of a crate.
#[test]
fn every_path_on_the_page_exists() {
    let page = fs::read_to_string(manifest("../docs/architecture.md")).unwrap();
    let mut seen = 0;
    for name in page.split('`').skip(1).step_by(2) {
        let is_path = (name.ends_with(".rs") || name.ends_with('/'))
            && !name.contains(char::is_whitespace)
            && !name.starts_with(['/', '.']);
        if is_path {
            seen += 1;
            let places =
                ["src", "..", ".", "../dht/src", "../cli/src"].map(|place| manifest(place).join(name));
            assert!(places.iter().any(|path| path.exists()), "`{name}` is nowhere");
        }
    }
    assert!(seen > 50, "{seen}");
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

/// What a row says of purity, in its part with that word: of the named files, of all but the named ones, or of all.
#[test]
fn what_the_table_calls_pure_knows_no_runtime_and_no_clock() {
    let sources = sources();
    let (mut checked, mut faults) = (0, Vec::new());
    for row in table("Modules") {
        let Some(part) = row.0[2].split(';').find(|part| part.contains("pure")) else { continue };
        let names: Vec<_> = part.split('`').skip(1).step_by(2).collect();
        let all_but = part.contains("but");
        for source in sources.iter().filter(|source| source.module == row.module()) {
            let is_named = names.iter().any(|name| {
                source.path.ends_with(format!("{name}.rs")) || source.path.ends_with(format!("{name}/mod.rs"))
            });
            if names.is_empty() || is_named != all_but {
                checked += 1;
                let text = source.text.replace("tokio::time::Instant", "");
                for impure in ["tokio::", "Instant::now", "SystemTime::now", "async ", "fs::"] {
                    if text.contains(impure) {
                        faults.push(format!("{impure} in {}", source.path.display()));
                    }
                }
            }
        }
    }
    assert!(checked > 20, "{checked}");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_limit_is_where_the_table_says() {
    let rows = table("Limits");
    assert!(!rows.is_empty());
    for row in rows {
        let [file] = &row.names(3)[..] else { panic!("{row:?}") };
        let places = [manifest("src").join(file), manifest("..").join(file)];
        let text = places.iter().find_map(|path| fs::read_to_string(path).ok()).expect(file);
        for constant in row.names(2) {
            assert!(text.contains(&format!("const {constant}: ")), "{constant} in {file}");
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut long = Vec::new();
    let folders =
        ["src", "tests", "examples", "benches", "../cli/src", "../cli/tests", "../dht/src", "../testing/src"];
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
        self.names(1).first().expect("a name in backticks").clone()
    }

    /// What stands in backticks.
    fn names(&self, cell: usize) -> Vec<String> {
        self.0[cell].split('`').skip(1).step_by(2).map(String::from).collect()
    }
}

/// The rows of the first table under a heading.
fn table(heading: &str) -> Vec<Row> {
    let text = fs::read_to_string(manifest("../docs/architecture.md")).unwrap();
    let lines = text.lines().skip_while(|line| line.trim_start_matches('#') != format!(" {heading}"));
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
    /// The room, in the first file of a module: `super` is the room there.
    above: Option<String>,
}

impl Source {
    /// Modules that the file names, in `use` or anywhere else.
    fn imports(&self) -> BTreeSet<String> {
        let rooms = Rooms::of_the_table();
        let mut imports = BTreeSet::new();
        for at in self.places_of("crate::") {
            imports.extend(heads(&self.text[at..], 2).iter().map(|path| rooms.module(path)));
        }
        if let Some(room) = &self.above {
            for at in self.places_of("super::") {
                let inside =
                    heads(&self.text[at..], 1).into_iter().map(|path| [vec![room.clone()], path].concat());
                imports.extend(inside.map(|path| rooms.module(&path)));
            }
        }
        imports
    }

    /// Where the paths begin that have this before them.
    fn places_of(&self, prefix: &str) -> Vec<usize> {
        let is_part_of_name =
            |character: char| character.is_alphanumeric() || character == '_' || character == ':';
        let places =
            self.text.match_indices(prefix).filter(|(at, _)| !self.text[..*at].ends_with(is_part_of_name));
        places.map(|(at, _)| at + prefix.len()).collect()
    }
}

/// The first names, up to `depth`, of all paths of a tree of them that the text begins with.
fn heads(text: &str, depth: usize) -> Vec<Vec<String>> {
    let Some(group) = text.strip_prefix('{') else {
        let end = text
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(text.len());
        let (name, rest) = (text[..end].to_string(), &text[end..]);
        return match rest.strip_prefix("::") {
            Some(below) if depth > 1 => {
                let below = heads(below, depth - 1).into_iter();
                below.map(|path| [vec![name.clone()], path].concat()).collect()
            }
            _ => vec![vec![name]],
        };
    };
    let (mut all, mut open, mut start) = (Vec::new(), 0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => open += 1,
            '}' if open > 0 => open -= 1,
            ',' | '}' if open == 0 => {
                let path = group[start..at].trim();
                if !path.is_empty() {
                    all.extend(heads(path, depth));
                }
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    all
}

/// The rows of the table: rooms and modules.
struct Rooms {
    rows: Vec<(String, String)>,
}

impl Rooms {
    fn of_the_table() -> Self {
        let room = |row: &Row| row.names(0).first().expect("a room in backticks").clone();
        Self { rows: table("Modules").iter().map(|row| (room(row), row.module())).collect() }
    }

    /// The row that a path of names from the root of the crate belongs to.
    fn module(&self, path: &[String]) -> String {
        let [room, rest @ ..] = path else { panic!("an empty path") };
        let is_row = |name: &&str| self.rows.iter().any(|row| row.0 == *room && row.1 == *name);
        // What stands in for a module that a feature leaves out is a part of it.
        let name = rest.first().map(|name| name.strip_prefix("no_").unwrap_or(name));
        match name.filter(is_row) {
            Some(name) => name.to_string(),
            None if room == "program" => PROGRAM.to_string(),
            None => room.clone(),
        }
    }
}

/// Every file of the library, which is all of the program but for a call, without those that only tests use and those of modules alone.
fn sources() -> Vec<Source> {
    let rooms = Rooms::of_the_table();
    let mut sources = Vec::new();
    let library = manifest("src/lib.rs");
    // Each is declared twice: for our own programs, and for others, who do not see it.
    for room in BTreeSet::from_iter(submodules(&library)) {
        let root = child(&library, &room);
        let has_code = rooms.rows.contains(&(room.clone(), room.clone()));
        if has_code {
            let text = production(&fs::read_to_string(&root).unwrap());
            sources.push(Source { module: room.clone(), path: root.clone(), text, above: None });
        }
        for name in submodules(&root) {
            collect(&child(&root, &name), &rooms.module(&[room.clone(), name]), Some(&room), &mut sources);
        }
    }
    sources
}

fn collect(path: &Path, module: &str, above: Option<&str>, sources: &mut Vec<Source>) {
    let (path, text) = (path.to_path_buf(), production(&fs::read_to_string(path).expect(module)));
    for name in submodules(&path) {
        collect(&child(&path, &name), module, None, sources);
    }
    sources.push(Source { module: module.to_string(), path, text, above: above.map(String::from) });
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
