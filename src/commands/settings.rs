//! The settings of a command: workload files, and the command line laid over them.

use crate::cli::{EngineArg, IoArgs, VerifyArg, WorkloadArgs};
use crate::config::{self, CacheMode, Config, Engine, Loaded, VerifyMode};

/// The workload files with the command line laid over them, `options` last.
pub fn load(
    files: &WorkloadArgs,
    options: impl FnOnce(&mut Config) -> Result<(), String>,
) -> Result<Loaded, String> {
    let mut loaded = config::load_for(&files.files, &files.overrides, files.accelerator.as_deref())
        .map_err(|error| error.to_string())?;
    let config = &mut loaded.config;
    if let Some(root) = &files.data_dir {
        config.dataset.data_folder = root.clone();
    }
    if config.dataset.data_folder.starts_with("null://") {
        config.io.engine = Engine::Null;
    }
    if let Some(root) = &files.checkpoint_dir {
        config.checkpoint.checkpoint_folder = root.clone();
        if config.io.engine == Engine::Null && !root.starts_with("null://") {
            return Err(format!(
                "--checkpoint-dir {root}: with the null engine nothing is written anywhere; give \
                 null:// here too, or a real --data-dir"
            ));
        }
    }
    let object = &config.storage.storage_options;
    for root in [&config.dataset.data_folder, &config.checkpoint.checkpoint_folder] {
        crate::storage::check_object_uri(root, object)?;
    }
    options(config)?;
    take_scheme(config)?;
    loaded.notes.extend(config.object_notes());
    loaded.effective_yaml =
        config::effective_yaml(&loaded.config).map_err(|error| error.to_string())?;
    Ok(loaded)
}

/// Memory of a host as the user gave it, bytes.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    match config::units::parse_bytes(text) {
        Ok(0) => Err(format!(
            "--memory-per-host {text}: no host has no memory; give a size such as 256GiB, or leave \
             it out for this host's"
        )),
        Ok(bytes) => Ok(bytes),
        Err(what) => Err(format!("--memory-per-host {text}: {what}")),
    }
}

/// `rankio datagen` of a training file: what training needs of the dataset does not matter.
pub fn only_generate(config: &mut Config) {
    // Objects of the object benchmark are no dataset.
    config.workflow.generate_data = !config.workflow.object;
    config.workflow.train = false;
    config.workflow.evaluation = false;
}

pub fn lay_over(config: &mut Config, args: &IoArgs, overrides: &[String]) -> Result<(), String> {
    match args.engine {
        Some(EngineArg::Uring) => config.io.engine = Engine::Uring,
        Some(EngineArg::Sync) => config.io.engine = Engine::Sync,
        Some(EngineArg::Mmap) => config.io.engine = Engine::Mmap,
        Some(EngineArg::Null) => config.io.engine = Engine::Null,
        None => {}
    }
    lay_over_cache(config, args, overrides)?;
    match args.verify {
        Some(VerifyArg::None) => config.verify.mode = VerifyMode::None,
        Some(VerifyArg::Size) => config.verify.mode = VerifyMode::Size,
        Some(VerifyArg::Sample) => config.verify.mode = VerifyMode::Sample,
        Some(VerifyArg::Full) => config.verify.mode = VerifyMode::Full,
        None => {}
    }
    Ok(())
}

/// `--direct`, `--buffered` and what an engine by name implies; they go before the file, but not
/// against an `io.cache` of the same command line.
fn lay_over_cache(config: &mut Config, args: &IoArgs, overrides: &[String]) -> Result<(), String> {
    let io = &mut config.io;
    let named = |text: &&String| text.split('=').next().is_some_and(|k| k.ends_with("io.cache"));
    let options = [("--direct", args.direct, true), ("--buffered", args.buffered, false)];
    for (option, _, direct) in options.into_iter().filter(|(_, given, _)| *given) {
        if let Some(text) = overrides.iter().find(named)
            && io.direct != direct
        {
            return Err(format!("{option} contradicts --set {text}; give one of them"));
        }
        if io.direct != direct {
            io.set_cache(if direct { CacheMode::Direct } else { CacheMode::Keep });
        }
    }
    if io.engine == Engine::Mmap && io.direct {
        if args.direct {
            return Err("--direct cannot be had with io.engine mmap; give one of them".into());
        }
        io.set_cache(CacheMode::Keep);
    }
    Ok(())
}

/// `direct://` asks for O_DIRECT whatever the file says, but not against a page cache that is to be
/// emptied.
fn take_scheme(config: &mut Config) -> Result<(), String> {
    let (io, root) = (&mut config.io, &config.dataset.data_folder);
    if !root.starts_with("direct://") || io.direct || io.engine == Engine::Mmap {
        return Ok(());
    }
    if io.cache.empties() {
        return Err(format!(
            "{root}: direct:// contradicts io.cache {}; give a plain path or io.cache direct",
            io.cache.name()
        ));
    }
    io.set_cache(CacheMode::Direct);
    Ok(())
}
