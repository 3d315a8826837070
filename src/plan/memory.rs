//! The memory that a rank needs for a run. It follows from the reader's settings and from nothing
//! else: not from the number or size of files, not from the number of ranks.

use super::PlanError;
use super::show::binary;
use crate::config::{Config, Io};

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

/// Buffers of one writing thread, bytes.
pub fn write_buffers_bytes(io: &Io) -> u128 {
    let buffer = (u128::from(io.block_size) + u128::from(ALIGNMENT_SLACK_BYTES))
        .next_multiple_of(u128::from(PAGE_BYTES));
    (u128::from(io.queue_depth) + u128::from(WRITE_BUFFERS_EXTRA)).saturating_mul(buffer)
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
    /// training keep theirs.
    pub buffers_bytes: u64,
    /// Bookkeeping of the batches read ahead and of the one in use, bytes.
    pub bookkeeping_bytes: u64,
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
        let buffer = (u128::from(io.block_size) + u128::from(ALIGNMENT_SLACK_BYTES))
            .next_multiple_of(u128::from(PAGE_BYTES));
        let sets = if config.workflow.evaluation { 2 } else { 1 };
        let pages = u128::from(if io.huge_pages { HUGE_PAGE_BYTES } else { PAGE_BYTES });
        let thread = u128::from(io.queue_depth).saturating_mul(buffer);
        let thread = thread.checked_next_multiple_of(pages).unwrap_or(u128::MAX);
        let buffers = u128::from(reader.read_threads).saturating_mul(thread).saturating_mul(sets);
        let batch = reader.batch_size.max(reader.batch_size_eval);
        let batches = u128::from(reader.prefetch_size) + 1;
        let bookkeeping =
            (batches * u128::from(batch)).saturating_mul(sets * u128::from(BYTES_PER_SAMPLE));
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
                if sets == 2 { ", for training and evaluation" } else { "" },
                binary(bookkeeping as f64),
                binary(io.max_buffer_bytes as f64),
            )));
        }
        check_writers(config)?;
        // Both are below the cap, which has 64 bits.
        Ok(Memory { buffers_bytes: buffers as u64, bookkeeping_bytes: bookkeeping as u64 })
    }

    /// All of it, bytes.
    pub fn bytes_per_rank(&self) -> u64 {
        self.buffers_bytes + self.bookkeeping_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
