//! What cannot be done, found before anything is: by the settings alone, with this many ranks, in a
//! series of runs.

use super::Task;
use crate::cli::IoArgs;
use crate::config::{self, CacheMode, Config, Engine, VerifyMode};
use crate::plan::Plan;
use crate::workload::{self, Search};

/// What cannot be done, whatever the world.
pub fn check_request(config: &Config, io: &IoArgs) -> Result<(), String> {
    if let Some(name) = &io.run_id
        && (name.is_empty() || name.contains('/') || name.starts_with('.'))
    {
        return Err(format!("--run-id `{name}`: give a name of one folder, not hidden"));
    }
    if let Some((key, text)) = config::contradiction(config) {
        return Err(format!("{key}: {text}"));
    }
    let root = &config.dataset.data_folder;
    let uses_root = config.workflow.uses_dataset() || config.workflow.object;
    match config::is_object_root(root) && uses_root {
        true if config.io.engine == Engine::Null => {}
        true => crate::storage::check_object_root(root, &config.storage.storage_options)?,
        false => check_root("--data-dir", root)?,
    }
    if config.workflow.checkpoint {
        check_checkpoints(config)?;
    }
    let workflow = &config.workflow;
    let asks = [workflow.train, workflow.generate_data, workflow.checkpoint, workflow.object];
    if !asks.contains(&true) {
        return Err("workflow: neither train, generate_data, checkpoint nor object is True, so \
                    there is nothing to do; set one of them"
            .into());
    }
    if config.verify.mode != VerifyMode::None && config.io.engine == Engine::Null {
        return Err("verify: the null store has no content to check; use --verify none or a real \
                    --data-dir"
            .into());
    }
    Ok(())
}

/// What cannot be done about checkpoints.
fn check_checkpoints(config: &Config) -> Result<(), String> {
    let checkpoint = &config.checkpoint;
    let root = &checkpoint.checkpoint_folder;
    match config::is_object_root(root) {
        true if config.io.engine == Engine::Null => {}
        true => crate::storage::check_object_root(root, &config.storage.storage_options)
            .map_err(|message| message.replace("--data-dir", "--checkpoint-dir"))?,
        false => check_root("--checkpoint-dir", root)?,
    }
    if config.io.cache == CacheMode::Drop && checkpoint.num_checkpoints_read > 0 {
        return Err("io.cache: drop empties the cache before epochs, not before checkpoints are \
                    read; give direct, evict or keep"
            .into());
    }
    if root.starts_with("null://") && config.verify.mode != VerifyMode::None {
        return Err("verify: the null store has no content to check; use --verify none or a real \
                    --checkpoint-dir"
            .into());
    }
    Ok(())
}

fn check_root(option: &str, root: &str) -> Result<(), String> {
    if root.is_empty() {
        return Err(format!(
            "{option} is empty; give a path, file://PATH, direct://PATH, s3://BUCKET/PREFIX, \
             az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or null://"
        ));
    }
    if let Some((scheme, _)) = root.split_once("://")
        && !matches!(scheme, "file" | "direct" | "null")
    {
        // The rest of it may hold a secret.
        return match scheme {
            // It is looked at where it is used.
            "s3" | "az" | "gs" => Ok(()),
            _ => Err(format!(
                "{option}: stores of kind {scheme}:// are not available in this version; give a \
                 path, file://PATH, direct://PATH, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, \
                 gs://BUCKET/PREFIX or null://"
            )),
        };
    }
    Ok(())
}

/// What cannot be done with this many ranks on these hosts.
pub fn check_world(
    config: &Config,
    plan: &Plan,
    ranks_on_host: u64,
    task: Task,
) -> Result<(), String> {
    let ranks = plan.world.ranks;
    let delayed = config.io.delay.iter().filter_map(|delay| delay.rank);
    let faulty = config.io.fault.iter().filter_map(|fault| fault.rank);
    if let Some(rank) = delayed.chain(faulty).find(|rank| u64::from(*rank) >= ranks) {
        return Err(format!(
            "io.delay or io.fault names rank {rank}, but there are {ranks} ranks (0 to {})",
            ranks - 1
        ));
    }
    if let Task::Capacity(Search { max_accelerators: Some(most), .. }) = task
        && most < ranks
    {
        return Err(format!(
            "--max-accelerators {most}: each of the {ranks} ranks is one; give at least {ranks}"
        ));
    }
    workload::memory_shortage(plan, ranks_on_host).map_or(Ok(()), Err)
}

/// What a series of runs cannot do.
pub fn check_task(config: &Config, task: Task) -> Result<(), String> {
    workload::check_source(config, task == Task::Datagen)?;
    let option = match task {
        Task::Datagen | Task::Once => return Ok(()),
        Task::Compare(comparison) => return workload::check_comparison(config, &comparison),
        Task::Repeat(_) => "--repeat",
        Task::Capacity(_) => "--find-max-accelerators",
    };
    if !config.workflow.train {
        return Err(format!("{option} needs a training: set workflow.train to True"));
    }
    if matches!(task, Task::Capacity(_)) && config.train.accelerators_per_rank > 1 {
        return Err(format!("{option} chooses train.accelerators_per_rank itself; leave it out"));
    }
    Ok(())
}
