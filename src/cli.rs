//! What the user typed. Self-contained: the build script reads this file too, for completions and
//! the man page.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// MPI-native storage benchmark for AI: training reads as an accelerator would make them.
///
/// One rank stands for one accelerator. Start it with mpirun or srun; a plain start is a run with
/// one rank.
#[derive(Debug, Parser)]
#[command(name = "rankio", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  rankio plan unet3d_h100.yaml --ranks 64 --hosts 8 --memory-per-host 256GiB
  mpirun -n 2 --bind-to none rankio run workloads/quick.yaml --data-dir /mnt/fast/quick
  srun --mpi=pmix rankio run unet3d_h100.yaml --data-dir /mnt/fast/unet3d --set train.epochs=3
  mpirun -n 2 rankio run workloads/object.yaml --data-dir s3://bench/object --compare sdk,raw

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 done but not VALID (with --strict),
130 interrupted.";

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what a run would do: files, bytes, steps, memory, demand. Needs no data and no MPI
    /// launch.
    Plan(PlanArgs),
    /// Generate the dataset of a workload file, or finish an interrupted generation.
    Datagen(DatagenArgs),
    /// Do what the file's `workflow` section asks for: generate, train, evaluate, write and read
    /// checkpoints.
    Run(RunArgs),
    /// Say what this host can do: MPI, direct I/O, io_uring, memory limits, generator speed.
    Doctor(DoctorArgs),
    /// Remove a dataset that rankio generated or checkpoints that it wrote, and nothing else.
    Clean(CleanArgs),
    /// Print a shell completion script.
    Completions(CompletionsArgs),
}

/// The workload and what is laid over it.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs {
    /// Workload file (MLPerf/DLIO YAML or one of ours); a later file wins key by key.
    #[arg(required = true, value_name = "WORKLOAD.yaml")]
    pub files: Vec<PathBuf>,

    /// Override one key, e.g. `dataset.num_files_train=14` or `io.block_size=4MiB`. May be
    /// repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// Batch and compute time of this accelerator for the workload's model, e.g. h100; --set wins.
    #[arg(long, value_name = "NAME")]
    pub accelerator: Option<String>,

    /// Dataset root (holds train/ and valid/): a path, s3://BUCKET/PREFIX (or az://, gs://), or
    /// null://. Replaces dataset.data_folder.
    #[arg(long, value_name = "URI")]
    pub data_dir: Option<String>,

    /// Root of checkpoints: a path, s3://BUCKET/PREFIX (or az://, gs://), or null://. Replaces
    /// checkpoint.checkpoint_folder.
    #[arg(long, value_name = "URI")]
    pub checkpoint_dir: Option<String>,
}

/// Options of commands that move bytes.
#[derive(Debug, Clone, Args)]
pub struct IoArgs {
    /// Where results go: DIR/RUN-ID/ is made.
    #[arg(long, value_name = "DIR")]
    pub results_dir: Option<PathBuf>,

    /// Name of this run; default: date and time.
    #[arg(long, value_name = "NAME")]
    pub run_id: Option<String>,

    /// How files are read and written.
    #[arg(long, value_enum)]
    pub engine: Option<EngineArg>,

    /// O_DIRECT (the default): io.cache direct.
    #[arg(long, conflicts_with = "buffered")]
    pub direct: bool,

    /// Through the page cache; the verdict will say so. io.cache keep, unless the file has drop or
    /// evict.
    #[arg(long)]
    pub buffered: bool,

    /// How much of what is read is compared with what was written.
    #[arg(long, value_enum)]
    pub verify: Option<VerifyArg>,

    /// No progress lines.
    #[arg(long)]
    pub quiet: bool,

    /// End the job when a rank gives no sign of life, or storage ends no operation, for so many
    /// seconds while the job waits for it; 0: never. There is a note after 30 s.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0, value_parser = seconds)]
    pub stall_timeout: f64,

    /// Exit with 3 when the verdict is not VALID.
    #[arg(long)]
    pub strict: bool,
}

/// `rankio plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Workload.
    #[command(flatten)]
    pub workload: WorkloadArgs,

    /// Ranks (accelerators).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub ranks: u64,

    /// Hosts; default: 1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub hosts: Option<u64>,

    /// Memory of a host, e.g. 256GiB; default: this host's.
    #[arg(long, value_name = "BYTES")]
    pub memory_per_host: Option<String>,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `rankio datagen`.
#[derive(Debug, Clone, Args)]
pub struct DatagenArgs {
    /// Workload.
    #[command(flatten)]
    pub workload: WorkloadArgs,

    /// Input and output.
    #[command(flatten)]
    pub io: IoArgs,

    /// Remove a rankio dataset of another configuration that stands in the way.
    #[arg(long)]
    pub overwrite: bool,
}

/// `rankio run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Workload.
    #[command(flatten)]
    pub workload: WorkloadArgs,

    /// Input and output.
    #[command(flatten)]
    pub io: IoArgs,

    /// Remove a rankio dataset (if the file generates data) or rankio checkpoints of another
    /// configuration that stand in the way.
    #[arg(long)]
    pub overwrite: bool,

    /// Shell command that the first rank of each host runs after checkpoints were written and
    /// before they are read, for example to empty caches.
    #[arg(long, value_name = "COMMAND")]
    pub between: Option<String>,

    /// So many measured runs in this job, each with a results folder and a shuffle seed of its own.
    #[arg(long, value_name = "RUNS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub repeat: Option<u64>,

    /// Runs before those, which count for nothing.
    #[arg(long, value_name = "RUNS", default_value_t = 0, requires = "repeat",
          value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub warmup_runs: u64,

    /// Run with each of two clients of object stores in turn, e.g. sdk,raw: one and the other, then
    /// the other and the one, and so on; print the ratio of their figures. --repeat says how many
    /// such rounds (3), --warmup-runs how many come before them.
    #[arg(long, value_name = "CLIENT,CLIENT", conflicts_with = "find_max_accelerators")]
    pub compare: Option<String>,

    /// Raise the accelerators of each rank until AU falls below metric.au, and report the curve.
    #[arg(long, conflicts_with = "repeat")]
    pub find_max_accelerators: bool,

    /// No more accelerators than these, all ranks together.
    #[arg(long, value_name = "NUMBER", requires = "find_max_accelerators",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_accelerators: Option<u64>,

    /// Runs for each number of accelerators.
    #[arg(long, value_name = "RUNS", default_value_t = 3, requires = "find_max_accelerators",
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub runs_per_point: u64,
}

/// `rankio doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Folder to probe for direct I/O (a small file is made there and removed).
    #[arg(default_value = ".")]
    pub path: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `rankio clean`.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    /// Root of a dataset or of checkpoints, as given to --data-dir or --checkpoint-dir.
    pub data_dir: String,

    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
}

/// `rankio completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Shell, or `man` for the manual page.
    #[arg(value_enum)]
    pub shell: ShellArg,
}

/// `--engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// io_uring, an error where the kernel refuses it.
    Uring,
    /// pread and pwrite.
    Sync,
    /// Memory mapping (buffered).
    Mmap,
    /// No storage: measures the client itself, needs no data.
    Null,
}

/// `--verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    /// Nothing.
    None,
    /// The size of every object, asked for when it is opened (HEAD).
    Size,
    /// A share of the requests.
    Sample,
    /// Every byte.
    Full,
}

/// Targets of `completions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShellArg {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// Manual page (roff).
    Man,
}

/// A time limit: 0 to a year.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=31_536_000.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds, at most 31536000, or 0 for no limit".into()),
    }
}

/// The message of a wrong command line in one line: what, what it may have meant, where help is.
///
/// `text` has the paragraphs of clap: `error: ...` with a list below it, `tip: ...`, `Usage: ...`.
pub fn one_line(text: &str) -> String {
    let (mut parts, mut command) = (Vec::<String>::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(usage) = line.strip_prefix("Usage: rankio") {
            let words = usage.split(' ').skip(1);
            let is_name = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
            command = words.take_while(is_name).map(|word| format!(" {word}")).collect();
        } else if let Some(tip) = line.strip_prefix("tip: ") {
            // A name that is like none of ours is no value either.
            if !tip.contains("as a value") {
                parts.push(tip.to_string());
            }
        } else if !line.starts_with("For more information") {
            let line = line.strip_prefix("error: ").unwrap_or(line);
            match parts.last_mut() {
                Some(last) if last.ends_with(':') => *last += &format!(" {line}"),
                Some(last) if line.starts_with('[') || line.starts_with('<') => {
                    *last += &format!(" {line}");
                }
                _ => parts.push(line.to_string()),
            }
        }
    }
    parts.push(format!("see rankio{command} --help"));
    parts.join("; ")
}
