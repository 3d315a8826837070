//! The memory that a rank needs for a run. It follows from the reader's settings and from nothing
//! else: not from the number or size of files, not from the number of ranks.

use super::object::{object_block_bytes, state_bytes_per_object};
use super::show::binary;
use super::{CheckpointPlan, PlanError, WorldShape};
use crate::config::{CheckpointOrder, Config, Io, Restore};

/// Room that direct I/O may need around a request: its ends are moved out to the device's block
/// borders, which are at most 4096 bytes away on either side.
const ALIGNMENT_SLACK_BYTES: u64 = 8192;
/// Buffers are whole pages.
const PAGE_BYTES: u64 = 4096;
/// The buffers of a thread are whole huge pages, where `io.huge_pages` asks for them.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// What a reader keeps for each sample of a batch that it was handed: identity, extent, state.
const BYTES_PER_SAMPLE: u64 = 64;

/// Buffers that a writing thread has beside its queue: the first block of a file is held back, the
/// next one is being made.
pub const WRITE_BUFFERS_EXTRA: u64 = 2;

/// One buffer: a block and its slack, bytes.
fn buffer_bytes(io: &Io) -> u128 {
    (u128::from(io.block_size) + u128::from(ALIGNMENT_SLACK_BYTES))
        .next_multiple_of(u128::from(PAGE_BYTES))
}

/// So many buffers of one thread, in whole pages, bytes.
fn thread_bytes(io: &Io, buffers: u128) -> u128 {
    let pages = u128::from(if io.huge_pages { HUGE_PAGE_BYTES } else { PAGE_BYTES });
    let bytes = buffers.saturating_mul(buffer_bytes(io));
    bytes.checked_next_multiple_of(pages).unwrap_or(u128::MAX)
}

/// Buffers of one writing thread, bytes.
pub fn write_buffers_bytes(io: &Io) -> u128 {
    thread_bytes(io, u128::from(io.queue_depth) + u128::from(WRITE_BUFFERS_EXTRA))
}

/// Buffers that a rank uses for a checkpoint of any size, bytes at most, unless one file in flight
/// needs more.
pub const CHECKPOINT_BUFFERS_MAX: u64 = 256 << 20;

/// Blocks that a rank receives at a time with `checkpoint.restore: broadcast`.
pub const RELAY_BLOCKS: u64 = 4;

/// Buffers of a rank for what it receives from another, bytes; the one that reads sends from the
/// buffers it read into.
pub fn relay_bytes(config: &Config) -> u64 {
    match config.checkpoint.restore {
        Restore::Broadcast => config.io.block_size.saturating_mul(RELAY_BLOCKS),
        _ => 0,
    }
}

/// I/O threads of a rank for checkpoints: `checkpoint.files_in_flight`, or as many as the buffers
/// allow; at least one.
pub fn checkpoint_threads(config: &Config) -> u64 {
    let (checkpoint, io) = (&config.checkpoint, &config.io);
    if checkpoint.order == CheckpointOrder::Reference {
        return 1;
    }
    let cap = CHECKPOINT_BUFFERS_MAX.min(io.max_buffer_bytes);
    let cap = u128::from(cap.saturating_sub(relay_bytes(config)));
    let fit = cap / checkpoint_buffers_bytes(config).max(1);
    checkpoint.files_in_flight.min(u64::try_from(fit).unwrap_or(u64::MAX)).max(1)
}

/// Buffers of one thread that writes a checkpoint, bytes.
fn checkpoint_buffers_bytes(config: &Config) -> u128 {
    write_buffers_bytes(&config.write_io(&config.checkpoint.checkpoint_folder))
}

/// What a user should know whose blocks and queue make a rank's buffers for checkpoints larger than
/// 256 MiB; None: they are not.
pub fn large_checkpoint_buffers(config: &Config) -> Option<String> {
    let bytes = checkpoint_bytes(config);
    (bytes > u128::from(CHECKPOINT_BUFFERS_MAX)).then(|| {
        format!(
            "the buffers of a rank for checkpoints are {}, more than the usual limit of {}, \
             because one file in flight needs so much; lower io.queue_depth or io.block_size",
            binary(bytes as f64),
            binary(CHECKPOINT_BUFFERS_MAX as f64)
        )
    })
}

/// All buffers of a rank for checkpoints, bytes; 0 where it has none.
fn checkpoint_bytes(config: &Config) -> u128 {
    if !config.workflow.checkpoint {
        return 0;
    }
    let threads = u128::from(checkpoint_threads(config));
    threads * checkpoint_buffers_bytes(config) + u128::from(relay_bytes(config))
}

/// Buffers of the object micro-benchmark and what it keeps of each object, bytes.
fn object_bytes(config: &Config) -> Result<(u128, u128), PlanError> {
    let block_size = object_block_bytes(config);
    let io = Io { block_size, ..config.io.clone() };
    let kept =
        u128::from(config.object.objects) * u128::from(state_bytes_per_object(&config.object));
    let buffers = thread_bytes(&io, u128::from(config.object.in_flight));
    if buffers + kept <= u128::from(config.io.max_buffer_bytes) {
        return Ok((buffers, kept));
    }
    Err(PlanError(format!(
        "a rank needs {} of buffers ({} operations in flight x requests of {}, and {} for its \
         objects), but io.max_buffer_bytes is {}; lower object.in_flight, object.objects or \
         io.block_size, or raise io.max_buffer_bytes",
        binary((buffers + kept) as f64),
        config.object.in_flight,
        binary(block_size as f64),
        binary(kept as f64),
        binary(config.io.max_buffer_bytes as f64),
    )))
}

/// Threads that were asked for must fit below the cap; without a number they are chosen to.
fn check_writers(config: &Config) -> Result<(), PlanError> {
    let threads = config.reader.write_threads;
    let io = &config.write_io(&config.dataset.data_folder);
    let each = write_buffers_bytes(io);
    let need = u128::from(threads).saturating_mul(each);
    if !config.workflow.generate_data || threads < 2 || need <= u128::from(io.max_buffer_bytes) {
        return Ok(());
    }
    Err(PlanError(format!(
        "reader.write_threads is {threads}, whose buffers need {} ({} each), but \
         io.max_buffer_bytes is {}; give at most {}, 0 for a number that fits, or a larger \
         io.max_buffer_bytes",
        binary(need as f64),
        binary(each as f64),
        binary(io.max_buffer_bytes as f64),
        u128::from(io.max_buffer_bytes) / each,
    )))
}

/// Memory of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// I/O buffers in bytes: `read_threads * queue_depth` of a block and its slack, in whole huge
    /// pages for each thread; twice that with evaluations, whose threads come while those of the
    /// training keep theirs. Checkpoints have their own beside them: [`checkpoint_threads`] times
    /// the buffers of a writing thread.
    pub buffers_bytes: u64,
    /// Bookkeeping of the batches read ahead and of the one in use, bytes.
    pub bookkeeping_bytes: u64,
    /// What is held to be decoded, and its values: for each thread twice what is read of a row
    /// group, as planned; 0 without `io.decode`.
    pub decode_bytes: u64,
    /// The largest shard of a checkpoint, which `checkpoint.async` holds while it is written; 0
    /// without it. Not held to `io.max_buffer_bytes`: it follows from the model.
    pub snapshot_bytes: u64,
}

impl Memory {
    /// What `config` needs. Refuses settings of zero, and a need above `io.max_buffer_bytes`.
    pub fn new(config: &Config) -> Result<Memory, PlanError> {
        let (reader, io) = (&config.reader, &config.io);
        for (key, value) in [
            ("reader.read_threads", reader.read_threads),
            ("reader.batch_size", reader.batch_size),
            ("reader.batch_size_eval", reader.batch_size_eval),
            ("io.queue_depth", io.queue_depth),
            ("io.block_size", io.block_size),
        ] {
            if value == 0 {
                return Err(PlanError(format!("{key} is 0; give at least 1")));
            }
        }
        let buffer = buffer_bytes(io);
        let sets = if config.workflow.evaluation { 2 } else { 1 };
        let thread = thread_bytes(io, u128::from(io.queue_depth));
        let buffers = u128::from(reader.read_threads).saturating_mul(thread).saturating_mul(sets);
        let batch = u128::from(reader.batch_size.max(reader.batch_size_eval))
            * u128::from(config.train.accelerators_per_rank);
        let batches = u128::from(reader.prefetch_size) + 1;
        let bookkeeping =
            batches.saturating_mul(batch).saturating_mul(sets * u128::from(BYTES_PER_SAMPLE));
        let (buffers, bookkeeping) = match config.workflow.uses_dataset() {
            true => (buffers, bookkeeping),
            false => (0, 0),
        };
        let checkpoint = checkpoint_bytes(config);
        let (objects, bookkeeping) = match config.workflow.object {
            true => object_bytes(config)?,
            false => (0, bookkeeping),
        };
        let buffers = buffers.saturating_add(checkpoint).saturating_add(objects);
        let need = buffers.saturating_add(bookkeeping);
        if need > u128::from(io.max_buffer_bytes) {
            return Err(PlanError(format!(
                "a rank needs {} of buffers ({} threads x {} requests of {}{}, and {} for \
                 batches read ahead), but io.max_buffer_bytes is {}; lower reader.read_threads, \
                 io.queue_depth, io.block_size or reader.prefetch_size, or raise \
                 io.max_buffer_bytes",
                binary(need as f64),
                reader.read_threads,
                io.queue_depth,
                binary(buffer as f64),
                match (sets, checkpoint) {
                    (2, _) => ", for training and evaluation",
                    (_, 0) => "",
                    _ => ", and those of checkpoints",
                },
                binary(bookkeeping as f64),
                binary(io.max_buffer_bytes as f64),
            )));
        }
        check_writers(config)?;
        // Both are below the cap, which has 64 bits.
        let (buffers_bytes, bookkeeping_bytes) = (buffers as u64, bookkeeping as u64);
        Ok(Memory { buffers_bytes, bookkeeping_bytes, decode_bytes: 0, snapshot_bytes: 0 })
    }

    /// The same with what decoding needs where `group_bytes` are read of a row group. Refuses a
    /// need above `io.max_buffer_bytes`.
    pub fn with_decoding(
        self,
        config: &Config,
        group_bytes: impl FnOnce() -> u64,
    ) -> Result<Memory, PlanError> {
        if !config.io.decode {
            return Ok(self);
        }
        let group_bytes = group_bytes();
        let sets = if config.workflow.evaluation { 2 } else { 1 };
        let threads = u128::from(config.reader.read_threads) * sets;
        let decode = threads.saturating_mul(2 * u128::from(group_bytes));
        let need = decode.saturating_add(u128::from(self.bytes_per_rank()));
        let most = config.io.max_buffer_bytes;
        if need > u128::from(most) {
            return Err(PlanError(format!(
                "a rank needs {} with io.decode, which holds a row group's columns ({}) and their \
                 values for each of {threads} threads, but io.max_buffer_bytes is {}; lower \
                 reader.read_threads, select fewer columns, or raise io.max_buffer_bytes",
                binary(need as f64),
                binary(group_bytes as f64),
                binary(most as f64),
            )));
        }
        Ok(Memory { decode_bytes: decode as u64, ..self })
    }

    /// The same with a snapshot of the largest shard of `checkpoint` where `checkpoint.async` takes
    /// one. Refuses a need beyond the memory of the hosts of `world`, where that is known.
    pub fn with_snapshot(
        self,
        config: &Config,
        checkpoint: Option<&CheckpointPlan>,
        world: WorldShape,
    ) -> Result<Memory, PlanError> {
        let Some(plan) = checkpoint.filter(|_| config.checkpoint.is_async) else {
            return Ok(self);
        };
        let snapshot_bytes = plan.classes().iter().map(|class| class.bytes).max().unwrap_or(0);
        let memory = Memory { snapshot_bytes, ..self };
        let ranks = world.ranks.div_ceil(world.hosts.max(1));
        let (need, have) =
            (memory.bytes_per_rank().saturating_mul(ranks), world.memory_per_host_bytes);
        if have > 0 && need > have {
            return Err(PlanError(format!(
                "checkpoint.async: True holds a snapshot of {} on a rank; with their buffers the \
                 {ranks} rank(s) of a host need {}, and it has {}; use more hosts, or set it to \
                 False",
                binary(snapshot_bytes as f64),
                binary(need as f64),
                binary(have as f64),
            )));
        }
        Ok(memory)
    }

    /// All of it, bytes.
    pub fn bytes_per_rank(&self) -> u64 {
        let buffers = self.buffers_bytes + self.bookkeeping_bytes + self.decode_bytes;
        buffers.saturating_add(self.snapshot_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: it was said that they are never more than 256 MiB, and nothing told that they were.
    #[test]
    fn large_buffers_for_checkpoints_are_told() {
        let mut config = Config::default();
        (config.workflow.checkpoint, config.workflow.train) = (true, false);
        assert_eq!(large_checkpoint_buffers(&config), None);
        config.io.block_size = 64 << 20;
        let bytes = Memory::new(&config).unwrap().buffers_bytes;
        assert!(bytes > CHECKPOINT_BUFFERS_MAX);
        let said = large_checkpoint_buffers(&config).unwrap();
        assert!(said.contains(&binary(bytes as f64)) && said.contains("io.block_size"), "{said}");
        config.workflow.checkpoint = false;
        assert_eq!(large_checkpoint_buffers(&config), None);
    }

    #[test]
    fn a_checkpoint_of_any_model_needs_at_most_256_mib() {
        let mut config = Config::default();
        (config.workflow.checkpoint, config.workflow.train) = (true, false);
        let each = write_buffers_bytes(&config.io) as u64;
        let memory = |config: &Config| Memory::new(config).unwrap();
        assert_eq!(memory(&config).bytes_per_rank(), 4 * each);
        config.model.num_layers = 1000;
        assert_eq!(memory(&config).bytes_per_rank(), 4 * each);
        config.checkpoint.files_in_flight = 4096;
        assert_eq!(checkpoint_threads(&config), CHECKPOINT_BUFFERS_MAX / each);
        assert!(memory(&config).bytes_per_rank() <= CHECKPOINT_BUFFERS_MAX);
        // What is received by MPI lies beside what is read, within the same bound.
        config.checkpoint.restore = Restore::Broadcast;
        let received = RELAY_BLOCKS * config.io.block_size;
        assert_eq!(checkpoint_threads(&config), (CHECKPOINT_BUFFERS_MAX - received) / each);
        let threads = checkpoint_threads(&config);
        assert_eq!(memory(&config).bytes_per_rank(), threads * each + received);
        config.checkpoint.restore = Restore::Same;
        // Parts of objects are larger than blocks, so fewer files are in flight.
        let mut objects = config.clone();
        objects.checkpoint.checkpoint_folder = "s3://bench/c".into();
        assert_eq!(checkpoint_threads(&objects), 3);
        assert!(memory(&objects).bytes_per_rank() <= CHECKPOINT_BUFFERS_MAX);
        assert!(memory(&objects).bytes_per_rank() > 3 * (8 << 20) * 10);
        config.checkpoint.order = CheckpointOrder::Reference;
        assert_eq!(memory(&config).bytes_per_rank(), each);
        // A training has its own beside them.
        config.workflow.train = true;
        let training = Config::default();
        let own = memory(&training).bytes_per_rank();
        assert_eq!(memory(&config).bytes_per_rank(), own + each);
    }

    #[test]
    fn need_follows_from_the_settings() {
        let mut config = Config::default();
        config.reader.read_threads = 4;
        config.reader.batch_size = 7;
        let memory = Memory::new(&config).unwrap();
        assert_eq!(memory.buffers_bytes, 4 * (10 << 20), "8 x (1 MiB + 8 KiB) in pages of 2 MiB");
        assert_eq!(memory.bookkeeping_bytes, 3 * 7 * 64);
        config.io.huge_pages = false;
        assert_eq!(Memory::new(&config).unwrap().buffers_bytes, 4 * 8 * ((1 << 20) + 8192));
        config.io.block_size = 4097;
        assert_eq!(Memory::new(&config).unwrap().buffers_bytes, 4 * 8 * 16384);
        config.dataset.num_files_train = 1 << 40;
        assert_eq!(Memory::new(&config).unwrap().buffers_bytes, 4 * 8 * 16384);
    }

    #[test]
    fn evaluation_has_its_own_buffers_beside_those_of_training() {
        let mut config = Config::default();
        let one = Memory::new(&config).unwrap();
        config.io.max_buffer_bytes = 2 * one.bytes_per_rank() - 1;
        assert_eq!(Memory::new(&config).unwrap(), one);
        config.workflow.evaluation = true;
        let error = Memory::new(&config).unwrap_err().0;
        assert!(error.contains("for training and evaluation"), "{error}");
        config.io.max_buffer_bytes += 1;
        let both = Memory::new(&config).unwrap();
        assert_eq!(both.buffers_bytes, 2 * one.buffers_bytes);
    }

    #[test]
    fn write_threads_that_were_asked_for_are_held_to_the_cap() {
        let mut config = Config::default();
        config.workflow.generate_data = true;
        let each = write_buffers_bytes(&config.io) as u64;
        config.io.max_buffer_bytes = 20 * each;
        config.reader.write_threads = 20;
        assert!(Memory::new(&config).is_ok());
        config.reader.write_threads = 21;
        let error = Memory::new(&config).unwrap_err().0;
        assert!(error.contains("reader.write_threads is 21"), "{error}");
        assert!(error.contains("give at most 20"), "{error}");
        // Nothing is written, or the number is left to us.
        config.workflow.generate_data = false;
        assert!(Memory::new(&config).is_ok());
        (config.workflow.generate_data, config.reader.write_threads) = (true, 1);
        assert!(Memory::new(&config).is_ok());
    }

    #[test]
    fn decoding_holds_a_row_group_twice_for_each_thread() {
        let mut config = Config::default();
        config.reader.read_threads = 3;
        let plain = Memory::new(&config).unwrap();
        assert_eq!(plain.with_decoding(&config, || 1000), Ok(plain));
        config.io.decode = true;
        let decoding = plain.with_decoding(&config, || 1000).unwrap();
        assert_eq!(decoding.bytes_per_rank(), plain.bytes_per_rank() + 3 * 2 * 1000);
        config.workflow.evaluation = true;
        assert_eq!(plain.with_decoding(&config, || 1000).unwrap().decode_bytes, 12_000);
        let error = plain.with_decoding(&config, || u64::MAX).unwrap_err().0;
        assert!(error.contains("io.decode") && error.contains("io.max_buffer_bytes"), "{error}");
    }

    #[test]
    fn a_snapshot_of_the_largest_shard_must_fit_into_a_host() {
        let mut config = Config::default();
        config.workflow.checkpoint = true;
        config.model.model_size_bytes = 1 << 30;
        let plan = CheckpointPlan::new(&config, 4).unwrap();
        let plain = Memory::new(&config).unwrap();
        let mut world = WorldShape { ranks: 4, hosts: 2, memory_per_host_bytes: 0 };
        let with = |config: &Config, world| plain.with_snapshot(config, plan.as_ref(), world);
        assert_eq!(with(&config, world), Ok(plain));
        config.checkpoint.is_async = true;
        let memory = with(&config, world).unwrap();
        let largest = plan.as_ref().unwrap().bytes_of(0);
        assert!(largest >= 1 << 30);
        assert_eq!(memory.bytes_per_rank(), plain.bytes_per_rank() + largest);
        world.memory_per_host_bytes = 2 * memory.bytes_per_rank();
        assert_eq!(with(&config, world), Ok(memory));
        world.memory_per_host_bytes -= 1;
        let error = with(&config, world).unwrap_err().0;
        assert!(error.contains("checkpoint.async: True") && error.contains("2 rank(s)"), "{error}");
    }

    #[test]
    fn the_cap_is_kept() {
        let mut config = Config::default();
        config.io.max_buffer_bytes = Memory::new(&config).unwrap().bytes_per_rank();
        assert!(Memory::new(&config).is_ok());
        config.io.max_buffer_bytes -= 1;
        let error = Memory::new(&config).unwrap_err();
        for key in ["io.max_buffer_bytes", "reader.read_threads", "io.queue_depth"] {
            assert!(error.0.contains(key), "{error}");
        }
        config.io.queue_depth = u64::MAX;
        config.io.block_size = u64::MAX;
        assert!(Memory::new(&config).is_err());
        config.io.queue_depth = 0;
        assert_eq!(Memory::new(&config).unwrap_err().0, "io.queue_depth is 0; give at least 1");
    }
}
