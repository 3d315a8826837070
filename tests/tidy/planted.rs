//! Each rule is shown a violation planted for it, and something near it that is allowed.

use super::*;

/// Lines in which `rule` finds something in `text` at `path`.
fn lines(rule: fn(&Source) -> Findings, path: &str, text: &str) -> Vec<usize> {
    let line = |f: String| f.split(':').nth(1).unwrap().parse().unwrap();
    rule(&Source::new(path, text)).into_iter().map(line).collect()
}

#[test]
fn wrong_edges_are_found() {
    let hit = |path: &str, text: &str| lines(wrong_edges, path, text);
    assert_eq!(hit("src/plan/mod.rs", "use crate::config::X;\nuse crate::storage::Y;\n"), [2]);
    assert_eq!(hit("src/plan/a.rs", "fn f() {\n    crate::world::g();\n}\n"), [2]);
    assert_eq!(hit("src/data/mod.rs", "use crate::{data::X, plan::{Y, host}, host};\n"), [1, 1]);
    assert_eq!(hit("src/data/mod.rs", "use crate::{\n    config::X,\n};\n"), [1]);
    assert_eq!(hit("src/data/simd.rs", "use super::super::plan::X;\nuse super::plan;\n"), [1]);
    assert_eq!(hit("src/host.rs", "use super::plan;\n"), [1]);
    assert_eq!(hit("src/cli.rs", "use crate::config::X;\nuse crate::plan::Y;\n"), [2]);
    assert_eq!(hit("src/attic/mod.rs", "fn f() {}\n"), [1]);
    assert!(hit("src/main.rs", "use crate::world::X;\n").is_empty());
    assert!(hit("src/plan/mod.rs", "// use crate::storage::Y;\nuse crate::plan::Z;\n").is_empty());
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::storage::Y;\n}\n";
    assert!(hit("src/plan/mod.rs", tests).is_empty());
}

#[test]
fn foreign_crates_are_found() {
    let uses = "use mpi::topology;\nuse io_uring::IoUring;\nlet io_uring_disabled = 1;\n";
    assert_eq!(lines(foreign_mpi, "src/workload/mod.rs", uses), [1]);
    assert!(lines(foreign_mpi, "src/world.rs", uses).is_empty());
    assert_eq!(lines(foreign_io_uring, "src/workload/mod.rs", uses), [2]);
    assert!(lines(foreign_io_uring, "src/storage/file/uring.rs", uses).is_empty());
    assert_eq!(lines(foreign_mpi, "src/cli.rs", "fn f() { mpi::initialize(); }\n"), [1]);
    assert!(lines(foreign_mpi, "src/cli.rs", "fn f() { facts.mpi = x; }\n").is_empty());
}

#[test]
fn sizes_are_found() {
    assert_eq!(lines(long_files, "src/a.rs", &"\n".repeat(601)), [601]);
    assert!(lines(long_files, "src/a.rs", &"\n".repeat(600)).is_empty());
    let function = |body: usize| format!("\nfn f() {{\n{}}}\n", "    x();\n".repeat(body));
    assert_eq!(lines(long_functions, "src/a.rs", &function(69)), [2]);
    assert!(lines(long_functions, "src/a.rs", &function(68)).is_empty());
    let line = |columns: usize| format!("\n{}\n", "x".repeat(columns));
    assert_eq!(lines(long_lines, "tests/a.rs", &line(101)), [2]);
    assert!(lines(long_lines, "tests/a.rs", &line(100)).is_empty());
}

#[test]
fn leftovers_are_found() {
    let text =
        "// TODO: x\nfn f() { todo!() }\nfn g() { unimplemented!() }\nlet a = dbg!(1);\n// FIXME\n";
    assert_eq!(lines(leftovers, "src/a.rs", text), [1, 2, 3, 4, 5]);
    assert!(lines(leftovers, "src/a.rs", "let a = \"TODO todo!()\"; // a todo list\n").is_empty());
}

#[test]
fn prints_are_found() {
    let text = "fn f() {\n    println!(\"x\");\n    print!(\"x\");\n    eprintln!(\"x\");\n}\n";
    assert_eq!(lines(stray_prints, "src/plan/mod.rs", text), [2, 3]);
    for path in ["src/report/table.rs", "src/main.rs", "src/workload/doctor.rs", "tests/a.rs"] {
        assert!(lines(stray_prints, path, text).is_empty(), "{path}");
    }
}

#[test]
fn unwraps_and_unsafe_are_found() {
    let text = "fn f() {\n    x.unwrap();\n    unsafe { y() }\n}\n\
                #[cfg(test)]\nmod tests {\n    fn t() {\n        x.unwrap();\n    }\n}\n";
    assert_eq!(lines(unwraps, "src/plan/mod.rs", text), [2]);
    assert!(lines(unwraps, "src/plan/tests.rs", text).is_empty());
    assert_eq!(lines(foreign_unsafe, "src/plan/mod.rs", text), [3]);
    for path in ["src/storage/pool.rs", "src/world.rs", "src/host/mod.rs", "src/data/simd.rs"] {
        assert!(lines(foreign_unsafe, path, text).is_empty(), "{path}");
    }
    assert!(lines(foreign_unsafe, "src/lib.rs", "#![deny(unsafe_code)]\n").is_empty());
}

#[test]
fn missing_heads_and_empty_names_are_found() {
    assert_eq!(lines(missing_heads, "src/a.rs", "// x\n//! y\n"), [1]);
    assert!(lines(missing_heads, "src/a.rs", "//! Does y.\n").is_empty());
    assert_eq!(lines(empty_names, "src/plan/utils.rs", ""), [1]);
    assert_eq!(lines(empty_names, "tests/common/mod.rs", ""), [1]);
    assert_eq!(lines(empty_names, "src/a.rs", "mod helpers;\npub struct RingManager;\n"), [1, 2]);
    assert!(lines(empty_names, "src/a.rs", "struct Commons;\nlet manager = 1;\n").is_empty());
}

#[test]
fn foreign_characters_are_found() {
    assert_eq!(non_ascii("a.yaml", "x\ny \u{b5}s\n"), ["a.yaml:2: \\u{b5} is not ASCII"]);
    assert!(pictures("docs/a.md", "5 \u{b5}s \u{2192} x \u{d7} y\n").is_empty());
    assert_eq!(pictures("docs/a.md", "\n\u{1F680}\n").len(), 1);
    assert_eq!(pictures("docs/a.md", "\u{2714} done\n").len(), 1);
}

#[test]
fn machine_paths_are_found() {
    assert_eq!(particular(Path::new("/projects/x/rankio")), "/projects/");
    assert_eq!(particular(Path::new("/home/ada/rankio")), "/home/ada/");
    assert_eq!(particular(Path::new("/tmp/clone")), "/tmp/clone/");
    let hits = |text: &str| machine_paths("docs/a.md", text, "/projects/").len();
    assert_eq!(hits("see `/projects/x`\n"), 1);
    assert_eq!(hits("let p = \"/projects/\";\n"), 1);
    assert_eq!(hits("my/projects/ and $HOME/projects/x and ../projects/\n"), 0);
}

#[test]
fn stray_documents_are_found() {
    assert_eq!(stray_markdown("NOTES.md").len(), 1);
    assert_eq!(stray_markdown("src/plan/README.md").len(), 1);
    for path in ["README.md", "CHANGELOG.md", "docs/guide.md", "src/a.rs"] {
        assert!(stray_markdown(path).is_empty(), "{path}");
    }
}

#[test]
fn unexplained_dependencies_are_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why = no\na = \"1\"\n\
                    b = { version = \"1\" }\n\
                    [dev-dependencies]\nc = \"1\"\n[profile.dev]\ndebug = 1\n";
    assert!(unexplained_dependencies(manifest, "| `a` |\n| `b` | x |\n| `c` |\n").is_empty());
    let found = unexplained_dependencies(manifest, "| `a` | x |\n| `d` | x |\n");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn files_of_test_modules_are_known() {
    let files = |path: &str| test_only_files(&Source::new(path, "#[cfg(test)]\nmod proofs;\n"));
    assert_eq!(files("src/plan/mod.rs"), ["src/plan/proofs.rs"]);
    assert_eq!(files("src/plan/sizes.rs"), ["src/plan/sizes/proofs.rs"]);
    assert_eq!(files("src/lib.rs"), ["src/proofs.rs"]);
}
