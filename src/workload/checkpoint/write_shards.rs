//! One thread that writes files of a checkpoint: content is made straight into the I/O buffers
//! while earlier blocks are on their way.

use super::{Shard, content_of};
use crate::data::Generator;
use crate::format::Filler;
use crate::metrics::{LiveCounters, Recorder};
use crate::storage::{Storage, StoreFacts, StoreSpec, SyncKind, connect};
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
    Ok(store)
}

/// Writes files until none is left.
pub fn run(
    job: &WriteShards<'_>,
    store: Box<dyn Storage>,
    live: &LiveCounters,
) -> Result<WriteReport, String> {
    let start = now_ns();
    let mut out = FileWriter::new(store, live);
    let (mut files, mut bytes, mut sync_ns, mut metadata_ns) = (0, 0, 0, 0);
    while let Some(shard) = job.files.get(job.cursor.fetch_add(1, Ordering::Relaxed)) {
        let Some(times) = write_file(job, &mut out, shard)? else { break };
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
    out: &mut FileWriter<'_>,
    Shard { file, layout }: &Shard,
) -> Result<Option<FileTimes>, String> {
    let content = content_of(job.generator, file, job.version);
    let mut filler = Filler::new(layout.as_ref(), content);
    let manner = Manner { block_bytes: job.block_bytes, synced: job.sync.is_some() };
    let stopping = || job.crew.stopped() || crate::world::interrupted();
    let name = format!("{}/{}", job.folder, file.name);
    write_blocks(out, (&name, file.bytes), &manner, &stopping, &mut |_, block| filler.fill(block))
}

/// Writes one file of a name and a length, whose blocks are made by `fill` in order of their
/// offsets; None if the run was stopped before its end.
pub fn write_blocks(
    out: &mut FileWriter<'_>,
    (name, bytes): (&str, u64),
    manner: &Manner,
    stopping: &dyn Fn() -> bool,
    fill: &mut dyn FnMut(u64, &mut [u8]),
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
        let buffer = out.filled(len, |block| fill(offset, block))?;
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
