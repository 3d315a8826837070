//! Starts the real program under `mpirun` for tests: a folder of its own for each test, a hard
//! timeout, and what the job printed.
//!
//! The settings of Open MPI that make many small jobs on one machine quick and possible as root
//! stand here only; users choose theirs. A job that outlives its time is ended by SIGTERM to
//! mpirun, which then ends its ranks: a killed mpirun would leave them behind.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A job that lasts this long hangs.
pub const HARD_LIMIT: Duration = Duration::from_secs(60);
/// A job with an error in it must end long before the hard limit.
pub const PROMPT: Duration = Duration::from_secs(20);

const BINARY: &str = env!("CARGO_BIN_EXE_rankio");

const SETTINGS: &[(&str, &str)] = &[
    ("OMPI_MCA_pml", "ob1"),
    ("OMPI_MCA_btl", "self,vader"),
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("OMPI_MCA_mpi_yield_when_idle", "1"),
];

/// True if `mpirun` can be started; else says that the test is left out.
pub fn mpirun_is_there() -> bool {
    let found = is_there("mpirun");
    if !found {
        eprintln!("skipped: no mpirun on this machine");
    }
    found
}

/// True if `program` can be started.
pub fn is_there(program: &str) -> bool {
    let version = Command::new(program).arg("--version").envs(SETTINGS.iter().copied()).output();
    version.is_ok_and(|output| output.status.success())
}

/// True as root; mounts and other users need it.
pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Folder of reference material beside the project, if there is one.
pub fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("RANKIO_SHARED").map_or(beside, PathBuf::from);
    if !shared.is_dir() {
        eprintln!("skipped: no folder ../shared and no RANKIO_SHARED");
        return None;
    }
    Some(shared)
}

/// A folder for one test, on the disk that cargo builds on.
pub struct Lab {
    folder: TempDir,
}

/// A small dataset that trains in a moment.
pub const TINY: &str = "
model: {name: tiny}
framework: pytorch
workflow: {generate_data: False, train: True}
dataset:
  data_folder: data
  format: npz
  num_files_train: 13
  record_length_bytes: 300000
  record_length_bytes_stdev: 60000
reader: {batch_size: 2, read_threads: 2, file_shuffle: seed, sample_shuffle: seed}
train: {epochs: 2, computation_time: 0.002}
metric: {au: 0.01}
io: {block_size: 128KiB}
";

impl Lab {
    /// With `tiny.yaml` in it.
    pub fn new() -> Lab {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(folder.path().join("tiny.yaml"), TINY).unwrap();
        Lab { folder }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the folder as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    /// `command` (`datagen` or `run`) of `tiny.yaml` on the dataset folder `data` with the run name
    /// `id`; `extra` is added.
    pub fn job(&self, ranks: usize, command: &str, id: &str, extra: &[&str]) -> Job {
        let mut arguments = vec![command.to_string(), self.arg("tiny.yaml")];
        for (option, value) in [
            ("--data-dir", self.arg("data")),
            ("--results-dir", self.arg("results")),
            ("--run-id", id.to_string()),
        ] {
            // A test may give its own.
            if !extra.contains(&option) {
                arguments.extend([option.to_string(), value]);
            }
        }
        arguments.extend(extra.iter().map(|text| text.to_string()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.command(ranks, &arguments)
    }

    /// Any command line.
    pub fn command(&self, ranks: usize, arguments: &[&str]) -> Job {
        let mut words = vec![BINARY.to_string()];
        words.extend(arguments.iter().map(|text| text.to_string()));
        self.program(ranks, words)
    }

    /// Any program; `words` holds it and its arguments.
    pub fn program(&self, ranks: usize, words: Vec<String>) -> Job {
        let mut launcher: Vec<String> = ["mpirun", "--bind-to", "none"].map(String::from).into();
        launcher.extend(["-n".to_string(), ranks.to_string()]);
        launcher.extend(words);
        self.raw(launcher)
    }

    /// A whole command line, launcher included.
    pub fn raw(&self, words: Vec<String>) -> Job {
        let (out, err) = (self.log("out"), self.log("err"));
        let environment = Vec::new();
        Job { folder: self.folder.path().to_path_buf(), words, environment, out, err }
    }

    fn log(&self, name: &str) -> PathBuf {
        let mut builder = tempfile::Builder::new();
        builder.prefix(name).suffix(".log").disable_cleanup(true);
        builder.tempfile_in(self.folder.path()).unwrap().path().to_path_buf()
    }

    /// `result.json` of a run.
    pub fn result(&self, id: &str) -> serde_json::Value {
        let path = self.path("results").join(id).join("result.json");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    /// The phase `kind` of a run.
    pub fn phase(&self, id: &str, kind: &str) -> serde_json::Value {
        let result = self.result(id);
        let phases = result["phases"].as_array().unwrap();
        let found = phases.iter().find(|phase| phase["kind"] == kind);
        found.unwrap_or_else(|| panic!("no phase {kind} in {result:#}")).clone()
    }
}

/// A command that was not started yet.
pub struct Job {
    folder: PathBuf,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    out: PathBuf,
    err: PathBuf,
}

/// A command that runs.
pub struct Running {
    child: Child,
    job: Job,
    start: Instant,
}

/// A command that ended.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Job {
    /// The same without a launcher.
    pub fn plain(mut self) -> Job {
        let program = self.words.iter().position(|word| word == BINARY);
        self.words.drain(..program.expect("a command line of rankio"));
        self
    }

    /// The same with more in its environment.
    pub fn with(mut self, environment: &[(&str, String)]) -> Job {
        let more = environment.iter().map(|(name, value)| (name.to_string(), value.clone()));
        self.environment.extend(more);
        self
    }

    /// The whole command line, to be wrapped into another one.
    pub fn words(self) -> Vec<String> {
        self.words
    }

    /// Starts it. Its folder is the working folder.
    pub fn start(self) -> Running {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).current_dir(&self.folder).stdin(Stdio::null());
        command.envs(SETTINGS.iter().copied()).env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Apart from the test's group, as under a job manager.
        command.process_group(0);
        command.stdout(File::create(&self.out).unwrap());
        command.stderr(File::create(&self.err).unwrap());
        let child = command.spawn().unwrap();
        Running { child, job: self, start: Instant::now() }
    }

    /// Runs it to its end.
    pub fn end(self) -> Ended {
        self.start().end()
    }

    /// Runs it and expects success.
    pub fn succeed(self) -> Ended {
        let words = self.words.join(" ");
        let ended = self.end();
        assert!(ended.status.success(), "{words}\n{ended}");
        ended
    }

    /// Runs it and expects a prompt end with this exit code.
    pub fn fail_with(self, code: i32) -> Ended {
        let words = self.words.join(" ");
        let ended = self.end();
        assert_eq!(ended.status.code(), Some(code), "{words}\n{ended}");
        assert!(ended.elapsed < PROMPT, "took {:?}: {words}\n{ended}", ended.elapsed);
        ended
    }
}

impl Running {
    /// Process of the launcher.
    pub fn launcher(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends the launcher a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.launcher());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits until `ready` holds.
    pub fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        while !ready() {
            if self.start.elapsed() > HARD_LIMIT || self.child.try_wait().unwrap().is_some() {
                let text = self.job.texts();
                panic!("the job ended or hangs before: {what}\n{}\n{}", text.0, text.1);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Processes of the ranks: in the order of their ranks.
    pub fn ranks(&self) -> Vec<i32> {
        let mut ranks: Vec<(u64, i32)> = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let file = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let stat = String::from_utf8_lossy(&file("stat")).into_owned();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2));
            if parent != Some(self.launcher().to_string().as_str()) {
                continue;
            }
            let environment = file("environ");
            let rank = environment
                .split(|byte| *byte == 0)
                .filter_map(|entry| std::str::from_utf8(entry).ok())
                .find_map(|entry| entry.strip_prefix("OMPI_COMM_WORLD_RANK=")?.parse().ok());
            ranks.extend(rank.map(|rank| (rank, pid)));
        }
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Some process below the launcher, at any depth, whose command is `name`.
    pub fn descendant(&self, name: &str) -> Option<i32> {
        let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let parent = |pid: i32| -> Option<i32> {
            stat(pid)?.rsplit(')').next()?.split(' ').nth(2)?.parse().ok()
        };
        let below = |pid: i32| {
            let mut ancestors = std::iter::successors(Some(pid), |pid| parent(*pid));
            ancestors.any(|ancestor| ancestor == self.launcher())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid: &i32| {
            stat(*pid).is_some_and(|text| text.contains(&format!("({name})"))) && below(*pid)
        })
    }

    /// Waits for the end; a job that hangs is ended and fails the test.
    pub fn end(mut self) -> Ended {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let elapsed = self.start.elapsed();
                let (out, err) = self.job.texts();
                return Ended { status, out, err, elapsed };
            }
            if self.start.elapsed() > HARD_LIMIT {
                self.give_up();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn give_up(&mut self) -> ! {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let asked = Instant::now();
        while self.child.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (out, err) = self.job.texts();
        panic!("still running after {HARD_LIMIT:?}: {}\n{out}\n{err}", self.job.words.join(" "));
    }
}

impl Job {
    fn texts(&self) -> (String, String) {
        let read = |path: &Path| {
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        };
        (read(&self.out), read(&self.err))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ended { status, out, err, elapsed } = self;
        write!(f, "{status} after {elapsed:?}\n--- output\n{out}\n--- error\n{err}")
    }
}

impl Ended {
    /// The error lines of rankio.
    pub fn errors(&self) -> Vec<&str> {
        self.err.lines().filter(|line| line.starts_with("rankio: error: ")).collect()
    }

    /// The one error line, which must hold all of `parts`.
    pub fn one_error(&self, parts: &[&str]) -> &str {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "one line of error wanted\n{self}");
        for part in parts {
            assert!(errors[0].contains(part), "`{part}` is missing\n{self}");
        }
        errors[0]
    }

    /// An error line that names a rank and its host, and holds all of `parts`.
    pub fn error_of_a_rank(&self, parts: &[&str]) -> &str {
        let host = nix::unistd::gethostname().unwrap();
        let host = format!(" ({}): ", host.to_str().unwrap());
        let fits = |line: &&str| {
            let rest = line.strip_prefix("rankio: error: rank ").unwrap_or_default();
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            digits > 0
                && rest[digits..].starts_with(&host)
                && parts.iter().all(|part| rest.contains(part))
        };
        let errors = self.errors();
        errors.into_iter().find(fits).unwrap_or_else(|| panic!("no line with {parts:?}\n{self}"))
    }
}

/// Expects that none of these processes is still at work soon after their launcher ended.
pub fn all_gone(processes: &[i32]) {
    let start = Instant::now();
    let at_work = |process: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        // A zombie waits for its parent only.
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    };
    while processes.iter().any(at_work) {
        assert!(start.elapsed() < PROMPT, "ranks are left behind: {processes:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Files below a folder that hold `text`.
pub fn holds(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holds(&path, text));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Every file under `root` with the SHA-256 of its content, by relative path.
pub fn fingerprint(root: &Path) -> std::collections::BTreeMap<String, String> {
    use sha2::Digest;
    let mut files = std::collections::BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            let hash = sha2::Sha256::digest(std::fs::read(&path).unwrap());
            let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            files.insert(name, hash);
        }
    }
    files
}

/// A workload of two checkpoints of a sharded model, whose optimizer files go up in parts of
/// `part_size`; sizes are of the vocabulary, hidden and feed-forward.
pub fn sharded_model([vocabulary, hidden, feed_forward]: [u64; 3], part_size: &str) -> String {
    format!(
        "
model:
  name: small
  type: transformer
  num_layers: 2
  model_datatype: fp16
  optimizer_datatype: fp32
  parallelism: {{tensor: 1, pipeline: 1, zero_stage: 3}}
  transformer: {{vocab_size: {vocabulary}, hidden_size: {hidden},
                ffn_hidden_size: {feed_forward}, num_attention_heads: 4, num_kv_heads: 2}}
framework: pytorch
workflow: {{generate_data: False, train: False, checkpoint: True}}
checkpoint: {{num_checkpoints_write: 2, num_checkpoints_read: 2, time_between_checkpoints: 0}}
io: {{block_size: 64KiB, queue_depth: 4}}
storage: {{storage_options: {{part_size: {part_size}}}}}
"
    )
}

/// The object micro-benchmark with every operation in its mix.
pub fn object_mix(objects: u64, operations: u64) -> String {
    format!(
        "
workflow: {{object: True, train: False}}
model: {{name: object}}
object:
  mix: {{put: 20, get: 40, range: 15, head: 15, list: 3, delete: 7}}
  size: 20000
  range_size: 3000
  objects: {objects}
  in_flight: 8
  operations: {operations}
  duration_s: 0
verify: {{mode: full}}
"
    )
}
