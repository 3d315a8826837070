//! The commands: from what the user typed to an exit code. Only this, what is below it and
//! `main.rs` join all rooms.

mod checks;
mod settings;

use crate::cli::{
    CleanArgs, CompletionsArgs, DatagenArgs, DoctorArgs, IoArgs, PlanArgs, RunArgs, ShellArg,
    WorkloadArgs,
};
use crate::config::{self, Config, Loaded, ObjectClient};
use crate::plan::{Plan, WorldShape};
use crate::report::result::Status;
use crate::workload::{self, Comparison, Finished, Request, Search};
use crate::world::{World, launcher_rank, say, set_stall_timeout};
use checks::{check_request, check_task, check_world};
use settings::{lay_over, load, only_generate, parse_memory};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: u8 = 2;
const NOT_VALID: u8 = 3;
const INTERRUPTED: u8 = 130;
/// Of `--compare` without `--repeat`.
const ROUNDS: u64 = 3;
const LET_RANK_0_SPEAK: Duration = Duration::from_millis(500);

/// Prints clap's message once, whatever the number of ranks; help and version are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        if launcher_rank() == 0
            && let Err(what) = error.print()
            && what.kind() != std::io::ErrorKind::BrokenPipe
        {
            return fail(&format!("standard output cannot be written: {what}; send it elsewhere"));
        }
        return ExitCode::SUCCESS;
    }
    // What was typed is no command at all: the list of them is the help that is wanted.
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return refuse_with(|| {
            let _ = error.print();
        });
    }
    refuse(&crate::cli::one_line(&error.to_string()))
}

/// Prints an error of the user's making.
fn refuse(message: &str) -> ExitCode {
    refuse_with(|| say(&format!("rankio: error: {message}")))
}

/// Lets rank 0 speak. A launcher ends all ranks as soon as one fails, so the others fail a little
/// later.
fn refuse_with(speak: impl FnOnce()) -> ExitCode {
    match launcher_rank() {
        0 => speak(),
        _ => std::thread::sleep(LET_RANK_0_SPEAK),
    }
    ExitCode::from(USAGE)
}

fn fail(message: &str) -> ExitCode {
    say(&format!("rankio: error: {message}"));
    ExitCode::FAILURE
}

/// `rankio plan`.
pub fn plan(args: &PlanArgs) -> ExitCode {
    let outcome = load(&args.workload, |_| Ok(())).and_then(|loaded| {
        let memory_per_host_bytes = match &args.memory_per_host {
            Some(text) => parse_memory(text)?,
            None => crate::host::gather(None, "").memory_bytes,
        };
        let (ranks, hosts) = (args.ranks, args.hosts.unwrap_or(1));
        let shape = WorldShape { ranks, hosts, memory_per_host_bytes };
        let plan = Plan::new(&loaded.config, shape).map_err(|error| error.to_string())?;
        // Without --hosts it is not known that there is one only.
        let fullest = if args.hosts.is_some() { ranks.div_ceil(hosts) } else { 0 };
        plan.check_restore(fullest).map_err(|error| error.to_string())?;
        Ok(plan)
    });
    match outcome {
        Err(message) => refuse(&message),
        Ok(_) if launcher_rank() != 0 => ExitCode::SUCCESS,
        Ok(plan) if args.json => print(&format!("{:#}", plan.to_json())),
        Ok(plan) => print(plan.to_text().trim_end()),
    }
}

/// Prints the output of a command, all that it had to do.
fn print(text: &str) -> ExitCode {
    match crate::report::screen::print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

/// `rankio datagen`.
pub fn datagen(args: &DatagenArgs) -> ExitCode {
    execute(&args.workload, &args.io, (args.overwrite, None), Task::Datagen)
}

/// `rankio run`.
pub fn run(args: &RunArgs) -> ExitCode {
    let clients = match args.compare.as_deref().map(ObjectClient::pair).transpose() {
        Ok(clients) => clients,
        Err(what) => return refuse(&format!("--compare: {what}")),
    };
    let task = match (clients, args.repeat, args.find_max_accelerators) {
        (Some(clients), rounds, _) => Task::Compare(Comparison {
            clients,
            warmup_rounds: args.warmup_runs,
            rounds: rounds.unwrap_or(ROUNDS),
        }),
        (_, Some(runs), _) => Task::Repeat([args.warmup_runs, runs]),
        (.., true) => Task::Capacity(Search {
            max_accelerators: args.max_accelerators,
            runs_per_point: args.runs_per_point,
        }),
        _ => Task::Once,
    };
    execute(&args.workload, &args.io, (args.overwrite, args.between.clone()), task)
}

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Datagen,
    Once,
    /// Warm-up and measured runs.
    Repeat([u64; 2]),
    Compare(Comparison),
    Capacity(Search),
}

fn execute(
    files: &WorkloadArgs,
    io: &IoArgs,
    (overwrite, between): (bool, Option<String>),
    task: Task,
) -> ExitCode {
    let datagen_only = task == Task::Datagen;
    // Before MPI starts, so that a slow or missing file cannot hold up a collective.
    let prepared = load(files, |config| {
        lay_over(config, io, &files.overrides)?;
        if datagen_only {
            only_generate(config);
        }
        Ok(())
    })
    .and_then(|loaded| {
        check_request(&loaded.config, io)?;
        check_task(&loaded.config, task)?;
        Ok(loaded)
    });
    set_stall_timeout(io.stall_timeout);
    let world = match World::start() {
        Ok(world) => world,
        Err(message) => return fail(&message),
    };
    let shape = shape_of(&world);
    let prepared = take_row_groups(&world, prepared, datagen_only);
    let fullest = fullest_host(&world);
    let planned = prepared.and_then(|loaded| checked_plan(loaded, &world, (shape, fullest), task));
    let (loaded, plan) = match world.agree(planned) {
        Ok(both) => both,
        Err((message, speaks)) => {
            if speaks {
                // The file may be wrong on one host only.
                let label = if world.is_root() { String::new() } else { world.label() };
                say(&format!("rankio: error: {label}{message}"));
            }
            return ExitCode::from(USAGE);
        }
    };
    let request = Request {
        datagen_only,
        overwrite,
        between,
        quiet: io.quiet,
        results_root: io.results_dir.clone(),
        run_id: io.run_id.clone(),
        command: std::env::args().map(without_secret).collect::<Vec<_>>().join(" "),
        brief: false,
        shape,
        ranks_on_fullest_host: fullest,
    };
    let outcome = match task {
        Task::Datagen | Task::Once => workload::execute(&world, &loaded, &plan, &request),
        Task::Repeat(runs) => workload::repeat(&world, &loaded, &plan, &request, runs),
        Task::Compare(comparison) => {
            workload::compare(&world, &loaded, &plan, &request, &comparison)
        }
        Task::Capacity(search) => workload::find(&world, &loaded, &plan, &request, search),
    };
    match outcome {
        Ok(finished) => exit_code(finished, io.strict),
        Err(message) => world.fail(&message),
    }
}

/// The plan of `loaded`, if this world can carry it out.
fn checked_plan(
    loaded: Loaded,
    world: &World,
    (shape, fullest): (WorldShape, u64),
    task: Task,
) -> Result<(Loaded, Plan), String> {
    let plan = Plan::new(&loaded.config, shape).map_err(|error| error.to_string())?;
    if task != Task::Datagen {
        plan.check_runnable().map_err(|error| error.to_string())?;
        plan.check_restore(fullest).map_err(|error| error.to_string())?;
    }
    check_world(&loaded.config, &plan, world.ranks_on_host(), task)?;
    workload::devices::check(&loaded.config)?;
    Ok((loaded, plan))
}

/// A run reads the row groups of a dataset as they are. Rank 0 looks and tells the others.
fn take_row_groups(
    world: &World,
    prepared: Result<Loaded, String>,
    datagen_only: bool,
) -> Result<Loaded, String> {
    let reads_only = |config: &Config| !datagen_only && !config.workflow.generate_data;
    let mut made = None;
    if world.is_root()
        && let Ok(loaded) = &prepared
        && reads_only(&loaded.config)
    {
        made = workload::dataset::made_parquet(&loaded.config);
    }
    let made = made.map(|made| serde_json::to_vec(&made).expect("settings are plain data"));
    // Unconditional: ranks that read other files must not wait for each other.
    let told = world.broadcast(made.unwrap_or_default());
    let mut loaded = prepared?;
    if told.is_empty() || !reads_only(&loaded.config) {
        return Ok(loaded);
    }
    let made = serde_json::from_slice(&told).map_err(|error| error.to_string())?;
    if let Some(note) = loaded.config.dataset.parquet.take_row_groups(&made) {
        loaded.notes.push(note);
        loaded.effective_yaml =
            config::effective_yaml(&loaded.config).map_err(|error| error.to_string())?;
    }
    Ok(loaded)
}

/// An argument as it may stand in a result: what is given for a credential is left out.
fn without_secret(argument: String) -> String {
    let named = ["access_key", "secret"].iter().find_map(|word| argument.find(word));
    match named.and_then(|at| Some(at + argument[at..].find('=')?)) {
        Some(equals) => format!("{}=(left out)", &argument[..equals]),
        // A URI that may hold one, whether its key is used or not.
        None => match argument.split_once("://") {
            Some((scheme, rest)) if rest.contains(['@', '?', '#']) => {
                format!("{scheme}://(left out)")
            }
            _ => argument,
        },
    }
}

/// Ranks of the host that has most of them.
fn fullest_host(world: &World) -> u64 {
    let mut ranks = [world.ranks_on_host()];
    world.max(&mut ranks);
    ranks[0]
}

/// All ranks must plan with the same figure, so the smallest host's memory counts. Collective.
fn shape_of(world: &World) -> WorldShape {
    let mut memory = [crate::host::gather(None, "").memory_bytes];
    world.min(&mut memory);
    let (ranks, hosts, [memory_per_host_bytes]) = (world.size(), world.hosts(), memory);
    WorldShape { ranks, hosts, memory_per_host_bytes }
}

fn exit_code(finished: Finished, strict: bool) -> ExitCode {
    match finished {
        Finished { partial: true, .. } => ExitCode::from(INTERRUPTED),
        Finished { status: Status::Valid, .. } => ExitCode::SUCCESS,
        _ if strict => ExitCode::from(NOT_VALID),
        _ => ExitCode::SUCCESS,
    }
}

/// `rankio doctor`.
pub fn doctor(args: &DoctorArgs) -> ExitCode {
    let world = match World::start() {
        Ok(world) => world,
        Err(message) => return fail(&message),
    };
    match workload::doctor::run(&world, &args.path, args.json) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => world.fail(&message),
    }
}

/// `rankio clean`.
pub fn clean(args: &CleanArgs) -> ExitCode {
    if launcher_rank() != 0 {
        return ExitCode::SUCCESS;
    }
    match workload::clean::run(&args.data_dir, &Default::default(), args.dry_run) {
        Ok(cleaned) => print(&cleaned.line(args.dry_run)),
        Err(message) => fail(&message),
    }
}

/// `rankio completions`.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let text = match args.shell {
        ShellArg::Bash => include_str!(concat!(env!("OUT_DIR"), "/completions/rankio.bash")),
        ShellArg::Zsh => include_str!(concat!(env!("OUT_DIR"), "/completions/_rankio")),
        ShellArg::Fish => include_str!(concat!(env!("OUT_DIR"), "/completions/rankio.fish")),
        ShellArg::Man => include_str!(concat!(env!("OUT_DIR"), "/man/rankio.1")),
    };
    if launcher_rank() == 0 { print(text.trim_end()) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_among_the_arguments_does_not_reach_the_result() {
        let shown = |text: &str| without_secret(text.into());
        let secret = "storage.storage_options.secret_access_key=abc=def";
        assert_eq!(shown(secret), "storage.storage_options.secret_access_key=(left out)");
        assert!(!shown("--set=storage.storage_options.access_key_id=abc").contains("id=abc"));
        assert_eq!(shown("dataset.seed=7"), "dataset.seed=7");
        // Bug: a URI that the run did not use stood there whole.
        let uri = "storage.storage_root=s3://key:hunter2@bench";
        assert_eq!(shown(uri), "storage.storage_root=s3://(left out)");
        assert_eq!(shown("s3://bench/x"), "s3://bench/x");
        assert_eq!(shown("run"), "run");
    }
}
