//! What all phases of one run share.

use super::devices::DeviceRecorder;
use crate::config::{CheckpointContent, Pattern};
use crate::config::{Config, Io, ObjectOptions};
use crate::data::{ContentSettings, Generator};
use crate::plan::{Plan, WRITE_BUFFERS_EXTRA, write_buffers_bytes};
use crate::report::run_log::RunLog;
use crate::storage::StoreSpec;
use crate::world::World;
use std::path::PathBuf;

/// One run on one rank.
pub struct Session<'a> {
    /// The ranks.
    pub world: &'a World,
    /// Settings.
    pub config: &'a Config,
    /// What will be done.
    pub plan: &'a Plan,
    /// Root of the dataset as a URI.
    pub root: String,
    /// The same as a path, where it is one.
    pub data_path: Option<PathBuf>,
    /// Folder whose device and file system the result tells of: that of the dataset, or of the
    /// checkpoints where there is no dataset.
    pub measured_path: Option<PathBuf>,
    /// Seed of `random` shuffles, the same on all ranks.
    pub run_seed: u64,
    /// No progress lines.
    pub quiet: bool,
    /// Makes and checks content.
    pub generator: Generator,
    /// The same of checkpoints, where theirs is of another kind.
    stamped: Option<Generator>,
    /// Where messages are copied to; to no file on other ranks than 0.
    pub log: RunLog,
    /// Block devices that are recorded; on the first rank of a host only.
    pub devices: Option<DeviceRecorder>,
}

impl<'a> Session<'a> {
    /// A session over the dataset of `config`.
    pub fn new(
        world: &'a World,
        config: &'a Config,
        plan: &'a Plan,
        run_seed: u64,
        quiet: bool,
    ) -> Session<'a> {
        let root = root_of(config);
        let data_path = local_path(&root);
        let workflow = &config.workflow;
        let measured_path = match workflow.uses_dataset() || workflow.object {
            true => data_path.clone(),
            false => local_path(&checkpoint_root_of(config)),
        };
        let generator = Generator::new(content_settings(config));
        let stamped = config.checkpoint.content == CheckpointContent::Stamped;
        let stamped = stamped.then(|| Generator::new(checkpoint_content_settings(config)));
        let (log, devices) = (RunLog::default(), None);
        Session {
            world,
            config,
            plan,
            root,
            data_path,
            measured_path,
            run_seed,
            quiet,
            generator,
            stamped,
            log,
            devices,
        }
    }

    /// Makes and checks the content of checkpoints.
    pub fn checkpoint_generator(&self) -> &Generator {
        self.stamped.as_ref().unwrap_or(&self.generator)
    }

    /// True if no storage is behind this run.
    pub fn is_null(&self) -> bool {
        self.root.starts_with("null:")
    }

    /// How an object store is reached.
    pub fn object(&self) -> &ObjectOptions {
        &self.config.storage.storage_options
    }

    /// How an I/O thread that reads reaches the store.
    pub fn read_store(&self) -> StoreSpec {
        self.read_store_at(&self.root)
    }

    /// The same below another root than the dataset's.
    pub fn read_store_at(&self, root: &str) -> StoreSpec {
        let io = self.config.io.clone();
        let (buffers, buffer_bytes) = (io.queue_depth as usize, io.block_size as usize);
        self.store(root, io, buffers, buffer_bytes)
    }

    /// How an I/O thread that writes reaches the store: the first block of a file is held back, the
    /// next one is being made.
    pub fn write_store(&self) -> StoreSpec {
        self.write_store_at(&self.root)
    }

    /// The same below another root than the dataset's.
    pub fn write_store_at(&self, root: &str) -> StoreSpec {
        let io = self.config.write_io(root);
        let buffers = (io.queue_depth + WRITE_BUFFERS_EXTRA) as usize;
        let buffer_bytes = io.block_size as usize;
        self.store(root, io, buffers, buffer_bytes)
    }

    fn store(&self, root: &str, io: Io, buffers: usize, buffer_bytes: usize) -> StoreSpec {
        let rank = self.world.rank() as u32;
        let object = self.object().clone();
        StoreSpec { root: root.into(), io, object, rank, buffers, buffer_bytes }
    }

    /// Files a rank writes at a time: `reader.write_threads`, or by the CPUs that are this rank's
    /// share.
    pub fn write_threads(&self) -> usize {
        let asked = self.config.reader.write_threads as usize;
        if asked > 1 {
            return asked;
        }
        // The reference's default of 1 means "unset". More threads than CPUs hide create and sync
        // latency.
        let cpus = crate::host::cpus_allowed().div_ceil(self.world.ranks_on_host()) as usize;
        let per_thread = write_buffers_bytes(&self.config.write_io(&self.root)) as usize;
        // A quarter of this rank's share of the host, whatever the cap allows.
        let share = self.plan.world.memory_per_host_bytes / self.world.ranks_on_host() / 4;
        let cap = match share {
            0 => self.config.io.max_buffer_bytes,
            share => self.config.io.max_buffer_bytes.min(share),
        };
        let fits = cap as usize / per_thread;
        (2 * cpus).clamp(2, 16).min(fits).max(1)
    }

    /// `what` as the label of a progress line, which counts what this rank does and no other.
    pub fn progress_label(&self, what: &str) -> String {
        match self.world.size() {
            1 => what.into(),
            ranks => format!("{what} (rank 0 of {ranks})"),
        }
    }

    /// Tells the user something, once, on rank 0.
    pub fn note(&self, text: &str) {
        if self.quiet {
            return self.log.line(text);
        }
        self.log.said(text);
        if self.world.is_root() {
            crate::report::screen::notice(text);
        }
    }

    /// Copies a message to the run's log files that the user does not need to read.
    pub fn log_line(&self, text: &str) {
        self.log.line(text);
    }

    /// Copies the error that ends the run to its log files; whoever ends it says it.
    pub fn log_error(&self, message: &str) {
        self.log.said(&format!("error: {message}"));
    }
}

/// URI of the dataset of `config`.
pub fn root_of(config: &Config) -> String {
    match config.io.engine {
        crate::config::Engine::Null => "null://".into(),
        _ => config.dataset.data_folder.clone(),
    }
}

/// URI of the root of checkpoints of `config`.
pub fn checkpoint_root_of(config: &Config) -> String {
    match config.io.engine {
        crate::config::Engine::Null => "null://".into(),
        _ => config.checkpoint.checkpoint_folder.clone(),
    }
}

/// The path behind a URI of files.
pub fn local_path(root: &str) -> Option<PathBuf> {
    let path = root.strip_prefix("file://").or_else(|| root.strip_prefix("direct://"));
    match path {
        Some(path) => Some(PathBuf::from(path)),
        None if root.contains("://") => None,
        None => Some(PathBuf::from(root)),
    }
}

/// Content settings of checkpoints.
pub fn checkpoint_content_settings(config: &Config) -> ContentSettings {
    let stamped = config.checkpoint.content == CheckpointContent::Stamped;
    ContentSettings { stamped, ..content_settings(config) }
}

/// Content settings of a dataset.
pub fn content_settings(config: &Config) -> ContentSettings {
    ContentSettings {
        seed: config.dataset.seed,
        pcg: config.dataset.pattern == Pattern::Pcg,
        stamped: false,
        compress_ratio: config.dataset.compress_ratio,
        dedup_ratio: config.dataset.dedup_ratio,
    }
}
