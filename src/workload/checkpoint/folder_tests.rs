//! The root of checkpoints without ranks: coming, going, what killed jobs leave, other owners.

use super::super::names::on_the_way;
use super::*;
use crate::config::Config;
use serde_json::json;
use std::path::Path;
use std::sync::LazyLock;

static OBJECT: LazyLock<ObjectOptions> = LazyLock::new(ObjectOptions::default);

fn purpose<'a>(settings: &'a Value, token: &'a str) -> Purpose<'a> {
    let configuration = if settings["layers"] == 1 { "one" } else { "other" };
    let (run_id, object) = ("r", &*OBJECT);
    Purpose { settings, configuration, object, token, run_id, overwrite: false, durable: true }
}

const TOKEN: &str = "00000000000000ab";
const OLDER: &str = "00000000000000aa";

fn plan() -> CheckpointPlan {
    let mut config = Config::default();
    config.workflow.checkpoint = true;
    config.model.model_size_bytes = 100;
    CheckpointPlan::new(&config, 1).unwrap().unwrap()
}

/// A root that is ready to be written into.
fn claimed(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
    let mut folder = Folder::claim(root, purpose)?;
    folder.prepare(purpose).map(|()| folder)
}

/// Writes checkpoint `number` by the steps that a run takes.
fn write(folder: &mut Folder, root: &Path, number: u64, version: u32) -> Option<String> {
    let plan = plan();
    let name = plan.name_of(number);
    write_files(folder, root, &name, version);
    folder.commit(&plan, Manifest::new(&plan, &name, (number, version), "one", "r")).unwrap()
}

fn write_files(folder: &mut Folder, root: &Path, name: &str, version: u32) {
    folder.begin(name).unwrap();
    let partial = root.join(on_the_way(name, TOKEN, State::Partial));
    for file in plan().files_of(0) {
        std::fs::write(partial.join(file.name), version.to_string()).unwrap();
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_comes_is_replaced_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path().join("C"), json!({"layers": 1}));
    let uri = root.to_str().unwrap();
    let mut folder = claimed(uri, &purpose(&settings, TOKEN)).unwrap();
    assert_eq!(write(&mut folder, &root, 1, 1), None);
    assert_eq!(write(&mut folder, &root, 2, 2), None);
    let replaced = write(&mut folder, &root, 1, 3).unwrap();
    assert_eq!(std::fs::read(root.join("global_epoch1_step1/model_states-0.pb")).unwrap(), b"3");
    folder.remove_contents(&replaced).unwrap();
    let versions: Vec<_> = folder.whole().unwrap().iter().map(|found| found.version).collect();
    assert_eq!(versions, [2, 3]);
    folder.remove("global_epoch1_step1").unwrap();
    folder.release();
    assert_eq!(names(&root), [MARKER, "global_epoch1_step2", LATEST]);
    assert!(folder.notes.is_empty(), "{:?}", folder.notes);
    let mut again = Folder::look(uri, &purpose(&settings, OLDER)).unwrap();
    assert_eq!(again.whole().unwrap().len(), 1);
}

#[test]
fn what_a_killed_job_left_goes_or_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path(), json!({"layers": 1}));
    let uri = root.to_str().unwrap();
    let mut folder = claimed(uri, &purpose(&settings, TOKEN)).unwrap();
    write(&mut folder, root, 1, 1);
    write(&mut folder, root, 2, 2);
    folder.release();
    let older = |name: &str, state| root.join(on_the_way(name, OLDER, state));
    // One was pushed aside and its successor never came, one was being written, one removed.
    let aside = older("global_epoch1_step1", State::Replaced);
    std::fs::rename(root.join("global_epoch1_step1"), &aside).unwrap();
    for (name, state) in [("global_epoch1_step3", State::Partial), ("x", State::Removed)] {
        std::fs::create_dir(older(name, state)).unwrap();
        std::fs::write(older(name, state).join("model_states-0.pb"), "half").unwrap();
    }
    // Not of our making: left, and said.
    std::fs::write(older("x", State::Removed).join("notes.txt"), "precious").unwrap();
    let mut folder = claimed(uri, &purpose(&settings, TOKEN)).unwrap();
    assert_eq!(folder.whole().unwrap().len(), 2);
    let left = older("x", State::Removed);
    assert_eq!(names(&left), ["notes.txt"]);
    let said = folder.notes.join("\n");
    for word in ["step1 of a killed job was put back", "step3", "notes.txt"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!older("global_epoch1_step3", State::Partial).exists());
}

#[test]
fn a_root_of_others_is_refused_unless_it_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("C");
    let uri = root.to_str().unwrap();
    let (one, other) = (json!({"layers": 1}), json!({"layers": 2}));
    let said = Folder::look(uri, &purpose(&one, TOKEN)).err().unwrap();
    assert!(said.contains("holds no checkpoints") && !root.exists(), "{said}");
    let mut folder = claimed(uri, &purpose(&one, TOKEN)).unwrap();
    write(&mut folder, &root, 1, 1);
    let busy = claimed(uri, &purpose(&one, OLDER)).err().unwrap();
    assert!(busy.contains("checkpoint r") && busy.contains("--checkpoint-dir"), "{busy}");
    folder.release();
    let said = claimed(uri, &purpose(&other, TOKEN)).err().unwrap();
    assert!(said.contains("layers is 1, wanted 2") && said.contains("--overwrite"), "{said}");
    let overwrite = Purpose { overwrite: true, ..purpose(&other, TOKEN) };
    let mut folder = claimed(uri, &overwrite).unwrap();
    assert!(folder.whole().unwrap().is_empty());
    folder.release();
    assert!(Folder::look(uri, &purpose(&one, TOKEN)).is_err());
    std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
    let said = claimed(dir.path().to_str().unwrap(), &purpose(&one, TOKEN)).err().unwrap();
    assert!(said.contains("rankio did not make"), "{said}");
}

/// Bug: a job that only reads was told to remove what it wanted to read.
#[test]
fn a_job_that_reads_is_not_told_to_overwrite() {
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().to_str().unwrap();
    let written = json!({"layers": 1, "ranks": 6});
    claimed(uri, &purpose(&written, TOKEN)).unwrap().release();
    let refusal = |settings: &Value| {
        let purpose = Purpose { configuration: "another", ..purpose(settings, TOKEN) };
        Folder::look(uri, &purpose).err().unwrap()
    };
    let said = refusal(&json!({"layers": 1, "ranks": 12}));
    assert!(said.contains("ranks is 6, wanted 12") && !said.contains("--overwrite"), "{said}");
    for key in ["checkpoint.restore=reshard", "checkpoint.reshard.written_ranks=6"] {
        assert!(said.contains(key), "{said}");
    }
    let said = refusal(&json!({"layers": 2, "ranks": 12}));
    assert!(!said.contains("reshard") && !said.contains("--overwrite"), "{said}");
}

#[test]
fn a_folder_with_the_name_of_a_checkpoint_and_no_manifest_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path(), json!({"layers": 1}));
    let mut folder = claimed(root.to_str().unwrap(), &purpose(&settings, TOKEN)).unwrap();
    std::fs::create_dir(root.join("global_epoch1_step1")).unwrap();
    let plan = plan();
    let name = plan.name_of(1);
    write_files(&mut folder, root, &name, 1);
    let manifest = Manifest::new(&plan, &name, (1, 1), "one", "r");
    let said = folder.commit(&plan, manifest).unwrap_err();
    assert!(said.contains("without a manifest"), "{said}");
}

/// Bug: what another host had written elsewhere was committed with the rest.
#[test]
fn a_checkpoint_that_lacks_a_file_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path(), json!({"layers": 1}));
    let mut folder = claimed(root.to_str().unwrap(), &purpose(&settings, TOKEN)).unwrap();
    let plan = plan();
    let name = plan.name_of(1);
    write_files(&mut folder, root, &name, 1);
    let partial = root.join(on_the_way(&name, TOKEN, State::Partial));
    let lost = plan.files_of(0).remove(0).name;
    std::fs::remove_file(partial.join(lost)).unwrap();
    let said = folder.commit(&plan, Manifest::new(&plan, &name, (1, 1), "one", "r")).unwrap_err();
    let wanted = plan.total_files() + 1;
    assert!(said.contains(&format!("holds {} files, {wanted} were written", wanted - 1)), "{said}");
    assert!(!root.join(&name).exists() && folder.whole().unwrap().is_empty());
}

#[test]
fn what_hosts_left_that_looked_for_each_other_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path(), json!({"layers": 1}));
    std::fs::write(root.join(format!(".rankio-shared.{OLDER}.3")), "").unwrap();
    claimed(root.to_str().unwrap(), &purpose(&settings, TOKEN)).unwrap().release();
    assert_eq!(names(root), [MARKER]);
}

#[test]
fn a_list_that_was_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path(), json!({"layers": 1}));
    let mut folder = claimed(root.to_str().unwrap(), &purpose(&settings, TOKEN)).unwrap();
    write(&mut folder, root, 1, 1);
    let manifest = folder.manifest("global_epoch1_step1").unwrap().unwrap();
    assert_eq!(folder.check_list(&manifest), Ok(()));
    let list = root.join("global_epoch1_step1/files.jsonl");
    std::fs::write(&list, "").unwrap();
    let said = folder.check_list(&manifest).unwrap_err();
    assert!(said.contains("files.jsonl") && said.contains("truncated or damaged"), "{said}");
    std::fs::remove_file(&list).unwrap();
    let said = folder.check_list(&manifest).unwrap_err();
    assert!(said.contains("files.jsonl: is missing"), "{said}");
}

#[test]
fn a_manifest_of_an_object_store_is_refused_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (root, settings) = (dir.path(), json!({"layers": 1}));
    let mut folder = claimed(root.to_str().unwrap(), &purpose(&settings, TOKEN)).unwrap();
    write(&mut folder, root, 1, 1);
    let path = root.join("global_epoch1_step1/manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let elsewhere = on_the_way("global_epoch1_step1", TOKEN, State::Version);
    let folder_key = "\"folder\": \"";
    let text = text
        .replace(&format!("{folder_key}global_epoch1_step1"), &format!("{folder_key}{elsewhere}"));
    std::fs::write(&path, text).unwrap();
    let said = folder.whole().unwrap_err();
    assert!(said.contains(&elsewhere) && said.contains("copied from another kind"), "{said}");
}
