//! One thread that writes files of a checkpoint: content is made straight into the I/O buffers
//! while earlier blocks are on their way.

use super::background::header_bytes;
use super::{Shard, content_of};
use crate::data::{Content, Generator};
use crate::format::Filler;
use crate::metrics::{LiveCounters, Recorder};
use crate::storage::{IoBuffer, Storage, StoreFacts, StoreSpec, SyncKind, connect};
use crate::workload::compute::now_ns;
use crate::workload::crew::Crew;
use crate::workload::file_writer::FileWriter;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all threads of a rank share.
pub struct WriteShards<'a> {
    /// Files of this rank, in the order in which they are begun.
    pub files: &'a [Shard],
    /// Folder below the root.
    pub folder: &'a str,
    /// Makes the content.
    pub generator: &'a Generator,
    /// Version of the content.
    pub version: u32,
    /// How to reach the store.
    pub store: StoreSpec,
    /// Bytes of a write.
    pub block_bytes: u64,
    /// How a file is made durable; None: not at all.
    pub sync: Option<SyncKind>,
    /// Next file to be claimed.
    pub cursor: AtomicUsize,
    /// The other threads: once one failed all stop.
    pub crew: &'a Crew,
}

/// What a thread brings home. The times are parts of its own.
pub struct WriteReport {
    /// Everything it counted.
    pub recorder: Recorder,
    /// What its store really used.
    pub facts: StoreFacts,
    /// Files written whole.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Time spent making content.
    pub fill_ns: u64,
    /// Time spent in syncs.
    pub sync_ns: u64,
    /// Time spent creating and closing files.
    pub metadata_ns: u64,
    /// From the first file to the last.
    pub total_ns: u64,
}

/// Opens the store of a thread, before the clock starts.
pub fn open(job: &WriteShards<'_>) -> Result<Box<dyn Storage>, String> {
    let mut store = connect(&job.store).map_err(|error| error.to_string())?;
    store.set_sync(job.sync.unwrap_or_default());
    let content = job.generator.object(0, 0, job.block_bytes);
    if content.is_stamped() {
        // What the buffers keep is there before the clock starts.
        let buffers: Vec<IoBuffer> = std::iter::from_fn(|| store.take_buffer()).collect();
        for mut buffer in buffers {
            content.fill(0, &mut buffer.as_mut_slice()[..job.block_bytes as usize]);
            store.give_buffer(buffer);
        }
    }
    Ok(store)
}

/// Writes files until none is left.
pub fn run(
    job: &WriteShards<'_>,
    store: Box<dyn Storage>,
    live: &LiveCounters,
) -> Result<WriteReport, String> {
    let start = now_ns();
    let mut kept = Kept(vec![true; store.queue_depth()]);
    let mut out = FileWriter::new(store, live);
    let (mut files, mut bytes, mut sync_ns, mut metadata_ns) = (0, 0, 0, 0);
    while let Some(shard) = job.files.get(job.cursor.fetch_add(1, Ordering::Relaxed)) {
        let Some(times) = write_file(job, (&mut out, &mut kept), shard)? else { break };
        files += 1;
        bytes += shard.file.bytes;
        sync_ns += times.sync_ns;
        metadata_ns += times.metadata_ns;
        live.on_samples(1);
    }
    let total_ns = now_ns() - start;
    let facts = out.store().facts();
    let FileWriter { recorder, fill_ns, .. } = out;
    Ok(WriteReport { recorder, facts, files, bytes, fill_ns, sync_ns, metadata_ns, total_ns })
}

/// What a file cost beside its writes.
pub struct FileTimes {
    /// In its sync.
    pub sync_ns: u64,
    /// In creating and closing it.
    pub metadata_ns: u64,
}

/// How a file is written.
pub struct Manner {
    /// Bytes of a write.
    pub block_bytes: u64,
    /// It is made durable.
    pub synced: bool,
}

fn write_file(
    job: &WriteShards<'_>,
    (out, kept): (&mut FileWriter<'_>, &mut Kept),
    shard: &Shard,
) -> Result<Option<FileTimes>, String> {
    let Shard { file, layout } = shard;
    let content = content_of(job.generator, file, job.version);
    let header = header_bytes(shard) as u64;
    let mut filler = Filler::new(layout.as_ref(), content);
    let manner = Manner { block_bytes: job.block_bytes, synced: job.sync.is_some() };
    let stopping = || job.crew.stopped() || crate::world::interrupted();
    let name = format!("{}/{}", job.folder, file.name);
    let mut fill = |offset: u64, number: usize, block: &mut [u8]| {
        if content.is_stamped() && offset >= header {
            kept.fill(&content, (offset, number), block, job.block_bytes);
        } else {
            kept.0[number] = false;
            filler.fill(block);
        }
    };
    write_blocks(out, (&name, file.bytes), &manner, &stopping, &mut fill)
}

/// Which buffers of a thread hold a whole block of stamped content, by number.
struct Kept(Vec<bool>);

impl Kept {
    /// Makes the bytes at `offset` in buffer `number`, of which only the stamps where it can keep
    /// the rest.
    fn fill(
        &mut self,
        content: &Content<'_>,
        (offset, number): (u64, usize),
        block: &mut [u8],
        block_bytes: u64,
    ) {
        if self.0[number] {
            content.restamp(offset, block);
        } else {
            content.fill(offset, block);
        }
        // A store pads what is shorter.
        self.0[number] = block.len() as u64 == block_bytes;
    }
}

/// Writes one file of a name and a length, whose blocks are made by `fill` (offset, number of the
/// buffer, bytes) in order of their offsets; None if the run was stopped before its end.
pub fn write_blocks(
    out: &mut FileWriter<'_>,
    (name, bytes): (&str, u64),
    manner: &Manner,
    stopping: &dyn Fn() -> bool,
    fill: &mut dyn FnMut(u64, usize, &mut [u8]),
) -> Result<Option<FileTimes>, String> {
    if stopping() {
        return Ok(None);
    }
    let begin = now_ns();
    let handle = out.create(name, bytes)?;
    let mut metadata_ns = now_ns() - begin;
    let mut offset = 0;
    while offset < bytes {
        if stopping() {
            out.drain()?;
            return out.close(handle).map(|()| None);
        }
        let len = (bytes - offset).min(manner.block_bytes) as usize;
        let buffer = out.filled(len, |number, block| fill(offset, number, block))?;
        out.write(handle, offset, len, buffer)?;
        offset += len as u64;
    }
    out.drain()?;
    let written = now_ns();
    if manner.synced {
        out.sync(handle)?;
    }
    let synced = now_ns();
    out.close(handle)?;
    metadata_ns += now_ns() - synced;
    Ok(Some(FileTimes { sync_ns: synced - written, metadata_ns }))
}
