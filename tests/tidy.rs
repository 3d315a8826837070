//! The rules of the house, executable: which room may use which, sizes, words that must not be left
//! behind.
//!
//! Every rule is a function from a text to findings `file:line: what`, so that each can be shown a
//! planted violation as well as the real sources. `docs/architecture.md` explains the rooms.

#[path = "tidy/source.rs"]
mod source;

use source::{Source, is_word, words};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms and what each may use. A new room needs a line here and one in `docs/architecture.md`.
const ARROWS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("data", &[]),
    ("host", &[]),
    ("metrics", &[]),
    ("world", &[]),
    ("cli", &["config"]),
    ("format", &["config", "data"]),
    ("storage", &["config"]),
    ("plan", &["config", "format"]),
    ("report", &["config", "plan", "storage", "metrics", "host"]),
    (
        "workload",
        &["config", "plan", "data", "format", "storage", "metrics", "host", "world", "report"],
    ),
];

/// Files that name all rooms because they put them together.
const ASSEMBLY: &[&str] = &["src/main.rs", "src/commands.rs", "src/commands/", "src/lib.rs"];

/// Where a line may be printed to the terminal.
const PRINTERS: &[&str] = &[
    "src/report/",
    "src/cli.rs",
    "src/main.rs",
    "src/workload/doctor.rs",
    "src/workload/clean.rs",
];

/// Where `unsafe` may stand: rings and buffers, MPI, system calls, SIMD.
const UNSAFE_PLACES: &[&str] = &["src/storage/", "src/world", "src/host", "src/data/"];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];

const LINES_PER_FILE: usize = 600;
const LINES_PER_FUNCTION: usize = 70;
const COLUMNS: usize = 100;

type Findings = Vec<String>;

fn at(source: &Source, line: usize, what: impl std::fmt::Display) -> String {
    format!("{}:{line}: {what}", source.path)
}

fn under(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn wrong_edges(source: &Source) -> Findings {
    let Some(room) = source.room() else { return Vec::new() };
    if under(&source.path, ASSEMBLY) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![at(source, 1, format!("room `{room}` has no arrows in tests/tidy.rs"))];
    };
    let mut findings = Vec::new();
    for (line, target) in used_rooms(source) {
        if target != room && !allowed.contains(&target.as_str()) {
            findings.push(at(source, line, format!("`{room}` may not use `{target}`")));
        }
    }
    findings
}

/// `(line, room)` of every path that starts at the crate's root, outside tests: `crate::room`,
/// `crate::{a, b::c}` and as many `super::` as lead there.
fn used_rooms(source: &Source) -> Vec<(usize, String)> {
    let lines: BTreeSet<usize> = source.production().map(|(n, _)| n).collect();
    let code: Vec<char> = source.code.chars().collect();
    let depth = source.path.split('/').filter(|p| *p != "src" && *p != "mod.rs").count();
    let mut used = Vec::new();
    let from_crate = words(&code, "crate").into_iter().map(|i| (i, i + "crate".len()));
    let from_super = words(&code, "super")
        .into_iter()
        .filter_map(|i| Some((i, root_through_super(&code, i, depth)?)));
    for (start, end) in from_crate.chain(from_super) {
        let line = source::line_of(&code, start);
        if lines.contains(&line) {
            used.extend(heads_of_path(&code, end).into_iter().map(|room| (line, room)));
        }
    }
    used
}

/// End of a chain of `super`s that begins at `start` and reaches the crate's root.
fn root_through_super(code: &[char], start: usize, depth: usize) -> Option<usize> {
    let step: Vec<char> = "super".chars().collect();
    let (mut end, mut count) = (start + step.len(), 1);
    while code[end..].starts_with(&[':', ':']) && code[end + 2..].starts_with(&step) {
        (end, count) = (end + 2 + step.len(), count + 1);
    }
    let continues = start >= 2 && code[..start].ends_with(&[':', ':']);
    (!continues && count >= depth).then_some(end)
}

/// First names after `::` at `end`: one, or those of a `{...}` group. `self`, `*` and other
/// non-rooms are left out.
fn heads_of_path(code: &[char], end: usize) -> Vec<String> {
    if !code[end..].starts_with(&[':', ':']) {
        return Vec::new();
    }
    let rest = &code[end + 2..];
    let name = |chars: &[char]| -> String {
        chars.iter().skip_while(|c| c.is_whitespace()).take_while(|c| is_word(**c)).collect()
    };
    let heads = if rest.first() == Some(&'{') { group_members(rest) } else { vec![name(rest)] };
    heads.into_iter().filter(|head| ARROWS.iter().any(|(room, _)| room == head)).collect()
}

/// First names of the members of `{a::b, c::{d, e}}`.
fn group_members(group: &[char]) -> Vec<String> {
    let (mut members, mut member, mut depth) = (Vec::new(), String::new(), 0);
    for c in group {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => members.push(std::mem::take(&mut member)),
            c if depth == 1 => member.push(*c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    members.push(member);
    let head = |m: String| m.trim().chars().take_while(|c| is_word(*c)).collect();
    members.into_iter().map(head).collect()
}

/// Findings for crates that only one place may name.
fn named_elsewhere(source: &Source, krate: &str, places: &[&str]) -> Findings {
    if !source.path.starts_with("src/") || under(&source.path, places) {
        return Vec::new();
    }
    let code: Vec<char> = source.code.chars().collect();
    let named = |i: &usize| {
        let after = i + krate.len();
        let before: String = code[..*i].iter().rev().take(8).rev().collect();
        let path = code[after..].starts_with(&[':', ':']) && !before.ends_with("::");
        path || before.ends_with("use ") || before.ends_with("use ::")
    };
    let hits = words(&code, krate).into_iter().filter(named);
    hits.map(|i| at(source, source::line_of(&code, i), format!("names `{krate}`"))).collect()
}

fn foreign_mpi(source: &Source) -> Findings {
    named_elsewhere(source, "mpi", &["src/world"])
}

fn foreign_io_uring(source: &Source) -> Findings {
    named_elsewhere(source, "io_uring", &["src/storage/file/uring"])
}

fn long_files(source: &Source) -> Findings {
    let lines = source.text.lines().count();
    match lines > LINES_PER_FILE {
        true => vec![at(source, lines, format!("{lines} lines, at most {LINES_PER_FILE}"))],
        false => Vec::new(),
    }
}

fn long_functions(source: &Source) -> Findings {
    let too_long = |(first, last, name): (usize, usize, String)| {
        let lines = last - first + 1;
        let what = format!("`{name}` has {lines} lines, at most {LINES_PER_FUNCTION}");
        (lines > LINES_PER_FUNCTION).then(|| at(source, first, what))
    };
    source.functions().into_iter().filter_map(too_long).collect()
}

fn long_lines(source: &Source) -> Findings {
    let lengths = source.text.lines().map(|line| line.chars().count()).enumerate();
    let wide = lengths.filter(|(_, columns)| *columns > COLUMNS);
    wide.map(|(n, columns)| at(source, n + 1, format!("{columns} columns, at most {COLUMNS}")))
        .collect()
}

fn leftovers(source: &Source) -> Findings {
    let mut findings = Vec::new();
    for (n, (code, comment)) in source.code.lines().zip(source.comments.lines()).enumerate() {
        let called = ["todo!", "unimplemented!", "dbg!"].into_iter().filter(|m| calls(code, m));
        let noted = ["TODO", "FIXME", "XXX"].into_iter().filter(|m| {
            let chars: Vec<char> = comment.chars().collect();
            !words(&chars, m).is_empty()
        });
        findings.extend(called.chain(noted).map(|m| at(source, n + 1, format!("left over: {m}"))));
    }
    findings
}

fn stray_prints(source: &Source) -> Findings {
    if !source.path.starts_with("src/") || under(&source.path, PRINTERS) {
        return Vec::new();
    }
    let prints = |line: &str| ["println!", "print!"].into_iter().find(|m| calls(line, m));
    let found = source.production().filter_map(|(n, line)| Some((n, prints(line)?)));
    found.map(|(n, m)| at(source, n, format!("{m} belongs into report/"))).collect()
}

/// True if `line` holds the macro call `name` (with its `!`) as a word of its own.
fn calls(line: &str, name: &str) -> bool {
    let whole = |i: usize| !line[..i].chars().next_back().is_some_and(is_word);
    line.match_indices(name).any(|(i, _)| whole(i))
}

fn unwraps(source: &Source) -> Findings {
    let found = source.production().filter(|(_, line)| line.contains(".unwrap()"));
    found.map(|(n, _)| at(source, n, "`.unwrap()` outside tests")).collect()
}

fn foreign_unsafe(source: &Source) -> Findings {
    if !source.path.starts_with("src/") || under(&source.path, UNSAFE_PLACES) {
        return Vec::new();
    }
    let code: Vec<char> = source.code.chars().collect();
    let found = words(&code, "unsafe").into_iter();
    found.map(|i| at(source, source::line_of(&code, i), "`unsafe` has no place here")).collect()
}

fn missing_heads(source: &Source) -> Findings {
    match source.text.starts_with("//! ") {
        true => Vec::new(),
        false => vec![at(source, 1, "no `//!` that says what the file is for")],
    }
}

fn empty_names(source: &Source) -> Findings {
    let says_nothing = |name: &str| EMPTY_NAMES.contains(&name);
    let mut findings = Vec::new();
    if source.path.trim_end_matches(".rs").split(['/', '_']).any(says_nothing) {
        findings.push(at(source, 1, "a file name that says nothing"));
    }
    for (n, line) in source.production() {
        let tokens: Vec<&str> = line.split(|c| !is_word(c)).filter(|t| !t.is_empty()).collect();
        for pair in tokens.windows(2) {
            let declares = ["mod", "struct", "enum", "trait", "type"].contains(&pair[0]);
            if declares && snake(pair[1]).split('_').any(says_nothing) {
                findings.push(at(source, n, format!("`{}` says nothing", pair[1])));
            }
        }
    }
    findings
}

/// `BufferManager` as `buffer_manager`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn non_ascii(path: &str, text: &str) -> Findings {
    let foreign = |line: &str| line.chars().find(|c| !c.is_ascii());
    let found = text.lines().enumerate().filter_map(|(n, line)| Some((n, foreign(line)?)));
    found.map(|(n, c)| format!("{path}:{}: {} is not ASCII", n + 1, c.escape_unicode())).collect()
}

/// Prose may use letters of any script, but no pictures.
fn pictures(path: &str, text: &str) -> Findings {
    let picture = |c: char| matches!(u32::from(c), 0x2600..=0x27BF | 0x2B00..=0x2BFF | 0x1F000..);
    let found = text.lines().enumerate().filter(|(_, line)| line.contains(picture));
    found.map(|(n, _)| format!("{path}:{}: a picture", n + 1)).collect()
}

/// Findings for texts that name the place where the repository happens to be checked out.
fn machine_paths(path: &str, text: &str, place: &str) -> Findings {
    let starts = |line: &str, i: usize| {
        let before = line[..i].chars().next_back();
        !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '/' | '-' | '}'))
    };
    let named = |line: &str| line.match_indices(place).any(|(i, _)| starts(line, i));
    let found = text.lines().enumerate().filter(|(_, line)| named(line));
    found.map(|(n, _)| format!("{path}:{}: names the path {place} of one machine", n + 1)).collect()
}

/// What is particular in the path of a checkout: its top folder, or two levels where the top is on
/// every machine.
fn particular(root: &Path) -> String {
    let everywhere = ["home", "root", "tmp", "usr", "var", "mnt", "opt", "srv", "run", "Users"];
    let parts: Vec<_> = root.iter().skip(1).map(|p| p.to_string_lossy()).collect();
    let general = parts.first().is_some_and(|top| everywhere.contains(&top.as_ref()));
    format!("/{}/", parts[..if general { 2 } else { 1 }.min(parts.len())].join("/"))
}

fn stray_markdown(path: &str) -> Findings {
    let known = ["README.md", "CHANGELOG.md"].contains(&path) || path.starts_with("docs/");
    match path.ends_with(".md") && !known {
        true => vec![format!("{path}:1: documents live in docs/")],
        false => Vec::new(),
    }
}

/// Dependencies of `manifest` that have no row in `table`, and rows without a dependency.
fn unexplained_dependencies(manifest: &str, table: &str) -> Findings {
    let mut used = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if let (true, false, Some((name, _))) =
            (inside, line.starts_with('#'), line.split_once('='))
        {
            used.insert(name.trim().to_string());
        }
    }
    let row = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_string());
    let rows: BTreeSet<String> = table.lines().filter_map(row).collect();
    let missing = used.difference(&rows).map(|d| format!("docs/dependencies.md:1: no row for {d}"));
    let unused = rows.difference(&used).map(|d| format!("docs/dependencies.md:1: {d} is not used"));
    missing.chain(unused).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `(path, text)` of every text file of the project: what a build, a run or a tool leaves behind is
/// not part of it.
fn project_files() -> Vec<(String, String)> {
    let left_behind = ["target", ".git", "data", "results", "__pycache__", ".venv"];
    let (mut folders, mut files) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap()) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            // At the top `data` is a folder of runs; `src/data` is a room.
            let is_room = folder != root() && name == "data";
            if left_behind.contains(&name.as_str()) && !is_room {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}

/// All Rust files, files of test-only modules marked as such.
fn sources() -> Vec<Source> {
    let rust = |(path, _): &(String, String)| path.ends_with(".rs");
    let files = project_files();
    let mut all: Vec<_> =
        files.iter().filter(|f| rust(f)).map(|(p, t)| Source::new(p, t)).collect();
    let test_files: BTreeSet<String> = all.iter().flat_map(test_only_files).collect();
    all.iter_mut().filter(|s| test_files.contains(&s.path)).for_each(Source::mark_as_test);
    assert!(!all.is_empty());
    all
}

fn test_only_files(source: &Source) -> Vec<String> {
    let folder = match source.path.strip_suffix("/mod.rs") {
        Some(folder) => folder.to_string(),
        None => source.path.trim_end_matches(".rs").replace("src/lib", "src"),
    };
    source.test_modules().iter().map(|name| format!("{folder}/{name}.rs")).collect()
}

/// Shows the real sources to a rule.
fn expect_none(rule: &str, findings: Findings) {
    assert!(findings.is_empty(), "{rule}:\n{}\n", findings.join("\n"));
}

fn check(rule: &str, of: fn(&Source) -> Findings) {
    expect_none(rule, sources().iter().flat_map(of).collect());
}

#[path = "tidy/planted.rs"]
mod planted;

#[test]
fn rooms_keep_to_their_arrows() {
    check("use only the rooms that docs/architecture.md allows", wrong_edges);
}

#[test]
fn only_world_names_mpi() {
    check("MPI is named in src/world.rs only", foreign_mpi);
}

#[test]
fn only_the_ring_names_io_uring() {
    check("io_uring is named in src/storage/file/uring* only", foreign_io_uring);
}

#[test]
fn files_are_short() {
    check("split files that are too long", long_files);
}

#[test]
fn functions_fit_a_screen() {
    check("split functions that are too long", long_functions);
}

#[test]
fn lines_are_short() {
    check("break lines that are too long", long_lines);
}

#[test]
fn nothing_is_left_over() {
    check("finish what is marked as unfinished", leftovers);
}

#[test]
fn only_the_report_prints() {
    check("results are structs; report/ prints them", stray_prints);
}

#[test]
fn nothing_is_unwrapped() {
    check("handle the error, or `expect` with the invariant as text", unwraps);
}

#[test]
fn unsafe_keeps_to_its_places() {
    check("move the unsafe code to where it belongs", foreign_unsafe);
}

#[test]
fn every_file_says_what_it_is_for() {
    check("begin each file with `//!`", missing_heads);
}

#[test]
fn names_say_something() {
    check("name things by what they do", empty_names);
}

#[test]
fn sources_are_ascii_and_prose_has_no_pictures() {
    let prose = |path: &str| path.ends_with(".md");
    let findings = project_files().into_iter().flat_map(|(path, text)| match prose(&path) {
        true => pictures(&path, &text),
        false => non_ascii(&path, &text),
    });
    expect_none("write ASCII", findings.collect());
}

#[test]
fn no_file_names_one_machine() {
    let place = particular(&root());
    let found =
        project_files().into_iter().flat_map(|(path, text)| machine_paths(&path, &text, &place));
    expect_none("use relative paths", found.collect());
}

#[test]
fn documents_live_in_docs() {
    let found = project_files().iter().flat_map(|(path, _)| stray_markdown(path)).collect();
    expect_none("move the document to docs/", found);
}

#[test]
fn every_dependency_has_a_reason() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let found = unexplained_dependencies(&read("Cargo.toml"), &read("docs/dependencies.md"));
    expect_none("give each dependency its row", found);
}
