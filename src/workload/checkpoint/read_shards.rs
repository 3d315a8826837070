//! One thread that reads files of a checkpoint. Threads claim segments, so that several of them
//! share a long file; each keeps its queue full and drops (after checking) what arrives.

use super::content_of;
use super::relay::{Block, Lender};
use crate::config::VerifyMode;
use crate::data::Generator;
use crate::format::{Layout, check_range};
use crate::metrics::{LiveCounters, Recorder};
use crate::plan::{RestorePiece, ShardFile};
use crate::storage::{Completion, Handle, IoBuffer, Op, OpenMode, Storage, StoreFacts, StoreSpec};
use crate::workload::compute::now_ns;
use crate::workload::crew::Crew;
use crate::world::interrupted;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a thread claims at a time.
const SEGMENT_BYTES: u64 = 64 << 20;

/// A range of a file to read.
pub struct Source {
    /// The range, and who wrote the file.
    pub piece: RestorePiece,
    /// What lies over the file's content.
    pub layout: Box<dyn Layout>,
    /// Its number among those that are sent to other copies of the model.
    pub shared: Option<u32>,
}

/// What all threads of a rank share.
pub struct ReadShards<'a> {
    /// What to read, in order.
    pub sources: &'a [Source],
    /// Folder of the checkpoint below the root.
    pub folder: &'a str,
    /// Makes the content to compare with.
    pub generator: &'a Generator,
    /// Version that the content has.
    pub version: u32,
    /// How much is compared.
    pub verify: VerifyMode,
    /// Share of requests that `sample` compares.
    pub verify_fraction: f64,
    /// How to reach the store.
    pub store: StoreSpec,
    /// Bytes of a read.
    pub block_bytes: u64,
    /// Next segment to be claimed.
    pub cursor: AtomicU64,
    /// The other threads: once one failed all stop.
    pub crew: &'a Crew,
}

impl ReadShards<'_> {
    /// The block at `offset` of `file` is to be compared; the same on every rank.
    pub fn is_checked(&self, file: &ShardFile, offset: u64) -> bool {
        match self.verify {
            VerifyMode::None | VerifyMode::Size => false,
            VerifyMode::Full => true,
            VerifyMode::Sample => {
                let place = file.object_id.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ offset;
                let hash = place.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 11;
                (hash as f64) < self.verify_fraction * (1u64 << 53) as f64
            }
        }
    }

    /// Compares what was found at `offset` of a file; gives the bytes compared.
    ///
    /// # Errors
    /// What is wrong, and at which byte.
    pub fn check(&self, source: &Source, offset: u64, found: &[u8]) -> Result<u64, String> {
        let content = content_of(self.generator, &source.piece.file, self.version);
        check_range(source.layout.as_ref(), content, offset, found)
            .map_err(|mismatch| mismatch.to_string())
    }
}

/// What a thread brings home. The times are parts of its own.
pub struct ReadReport {
    /// Everything it counted.
    pub recorder: Recorder,
    /// What its store really used.
    pub facts: StoreFacts,
    /// Bytes read.
    pub bytes: u64,
    /// Time spent comparing content.
    pub verify_ns: u64,
    /// Time spent opening and closing files.
    pub metadata_ns: u64,
    /// From the first segment to the last.
    pub total_ns: u64,
}

/// A stretch of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    source: usize,
    start: u64,
    end: u64,
}

/// Segment number `number` of all pieces, None after the last.
fn segment(sources: &[Source], mut number: u64) -> Option<Segment> {
    for (source, Source { piece, .. }) in sources.iter().enumerate() {
        let range = &piece.range;
        let segments = (range.end - range.start).div_ceil(SEGMENT_BYTES);
        if number < segments {
            let start = range.start + number * SEGMENT_BYTES;
            return Some(Segment { source, start, end: segment_end(range, start) });
        }
        number -= segments;
    }
    None
}

/// Where the segment ends that `offset` of a piece lies in.
fn segment_end(range: &Range<u64>, offset: u64) -> u64 {
    let number = (offset - range.start) / SEGMENT_BYTES;
    range.end.min(range.start + (number + 1) * SEGMENT_BYTES)
}

/// A file that this thread has open.
struct Current {
    source: usize,
    handle: Handle,
}

struct Reader<'a> {
    job: &'a ReadShards<'a>,
    live: &'a LiveCounters,
    store: Box<dyn Storage>,
    lender: Option<Lender>,
    recorder: Recorder,
    completions: Vec<Completion>,
    in_flight: usize,
    current: Option<Current>,
    bytes: u64,
    verify_ns: u64,
    metadata_ns: u64,
}

/// Reads segments until none is left; what is shared goes through `lender`.
pub fn run(
    job: &ReadShards<'_>,
    (store, lender): (Box<dyn Storage>, Option<Lender>),
    live: &LiveCounters,
) -> Result<ReadReport, String> {
    let start = now_ns();
    let completions = Vec::with_capacity(2 * store.queue_depth());
    let mut reader = Reader {
        job,
        live,
        store,
        lender,
        recorder: Recorder::new(),
        completions,
        in_flight: 0,
        current: None,
        bytes: 0,
        verify_ns: 0,
        metadata_ns: 0,
    };
    while let Some(next) = segment(job.sources, job.cursor.fetch_add(1, Ordering::Relaxed)) {
        if reader.is_stopped() {
            break;
        }
        reader.segment(next)?;
    }
    reader.close()?;
    reader.take_back()?;
    let total_ns = now_ns() - start;
    let facts = reader.store.facts();
    let Reader { recorder, bytes, verify_ns, metadata_ns, .. } = reader;
    Ok(ReadReport { recorder, facts, bytes, verify_ns, metadata_ns, total_ns })
}

impl Reader<'_> {
    fn segment(&mut self, segment: Segment) -> Result<(), String> {
        let handle = self.open(segment.source)?;
        let mut offset = segment.start;
        while offset < segment.end {
            // Here too: a segment lasts long on a slow store.
            if self.is_stopped() {
                return Ok(());
            }
            let Some(buffer) = self.buffer()? else { continue };
            let len = (segment.end - offset).min(self.job.block_bytes) as usize;
            let op = Op::Read { offset, len, buffer };
            self.store.submit(handle, op, offset).map_err(|error| error.to_string())?;
            self.in_flight += 1;
            offset += len as u64;
        }
        if segment.end == self.job.sources[segment.source].piece.range.end {
            self.live.on_samples(1);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.job.crew.stopped() || interrupted()
    }

    /// A free buffer; None after something was done to get one.
    fn buffer(&mut self) -> Result<Option<IoBuffer>, String> {
        while let Some(buffer) = self.lender.as_mut().and_then(Lender::returned) {
            self.store.give_buffer(buffer);
        }
        if let Some(buffer) = self.store.take_buffer() {
            return Ok(Some(buffer));
        }
        match &mut self.lender {
            Some(lender) if self.in_flight == 0 => lender.wait(self.job.crew),
            _ => self.reap().map(|()| None),
        }
    }

    /// Waits for everything that is lent.
    fn take_back(&mut self) -> Result<(), String> {
        let Some(lender) = &mut self.lender else { return Ok(()) };
        lender.done()?;
        while let Some(buffer) = lender.wait(self.job.crew)? {
            self.store.give_buffer(buffer);
        }
        Ok(())
    }

    /// The file of a segment; the one before is closed when it is another.
    fn open(&mut self, source: usize) -> Result<Handle, String> {
        if let Some(current) = &self.current
            && current.source == source
        {
            return Ok(current.handle);
        }
        self.close()?;
        let file = &self.job.sources[source].piece.file;
        let begin = now_ns();
        let mode = OpenMode::Read { expected_bytes: file.bytes };
        let name = format!("{}/{}", self.job.folder, file.name);
        let opened = self.store.open(&name, mode).map_err(|error| match error.errno {
            libc::ENOENT => self.damage(source, "is missing"),
            _ => error.to_string(),
        })?;
        let took = now_ns() - begin;
        self.metadata_ns += took;
        if opened.was_asked {
            self.recorder.on_open(took);
        }
        if opened.size_bytes != file.bytes {
            let what = match opened.size_bytes < file.bytes {
                true => "truncated",
                false => "something was written behind its end",
            };
            let what = format!(
                "is {} bytes long, the plan says {}: {what}",
                opened.size_bytes, file.bytes
            );
            return Err(self.damage(source, &what));
        }
        self.current = Some(Current { source, handle: opened.handle });
        Ok(opened.handle)
    }

    fn close(&mut self) -> Result<(), String> {
        while self.in_flight > 0 {
            self.reap()?;
        }
        let Some(current) = self.current.take() else { return Ok(()) };
        let begin = now_ns();
        self.store.close(current.handle).map_err(|error| error.to_string())?;
        self.metadata_ns += now_ns() - begin;
        Ok(())
    }

    fn reap(&mut self) -> Result<(), String> {
        let mut completions = std::mem::take(&mut self.completions);
        self.store.reap(1, None, &mut completions).map_err(|error| error.to_string())?;
        for completion in completions.drain(..) {
            self.complete(completion)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<(), String> {
        self.in_flight -= 1;
        if let Some(error) = completion.error {
            return Err(error.to_string());
        }
        // Everything in flight belongs to the file that is open.
        let source = self.current.as_ref().map_or(0, |current| current.source);
        let RestorePiece { file, range, .. } = &self.job.sources[source].piece;
        let (offset, bytes) = (completion.tag, completion.bytes);
        let wanted = (segment_end(range, offset) - offset).min(self.job.block_bytes);
        if (bytes as u64) < wanted {
            let what = format!("ends at byte {}: truncated", offset + bytes as u64);
            return Err(self.damage(source, &what));
        }
        self.recorder.on_read(completion.latency_ns, bytes as u64, completion.transferred as u64);
        self.live.on_read(bytes as u64);
        self.bytes += bytes as u64;
        let buffer = completion.buffer.expect("a read brings its buffer back");
        let start = completion.data_start;
        if self.job.is_checked(file, offset) {
            let begin = now_ns();
            let found = &buffer.as_slice()[start..][..bytes];
            let checked = self.job.check(&self.job.sources[source], offset, found);
            let checked = checked.map_err(|what| self.damage(source, &what))?;
            self.recorder.on_verified(checked);
            self.verify_ns += now_ns() - begin;
        }
        match (self.job.sources[source].shared, &mut self.lender) {
            (Some(source), Some(lender)) => {
                lender.lend(Block { source, offset, start, len: bytes, buffer })?;
            }
            _ => self.store.give_buffer(buffer),
        }
        Ok(())
    }

    #[cold]
    fn damage(&self, source: usize, what: &str) -> String {
        let RestorePiece { file, writer, .. } = &self.job.sources[source].piece;
        format!(
            "{}/{}/{} of rank {writer}: {what}; this checkpoint is damaged, restore another one",
            self.job.store.root.trim_end_matches('/'),
            self.job.folder,
            file.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ShardKind;
    use proptest::prelude::*;

    fn piece(range: Range<u64>) -> Source {
        let (name, bytes) = (String::new(), range.end + 1);
        let file = ShardFile { name, bytes, kind: ShardKind::Model, object_id: bytes };
        let layout = crate::format::safetensors::plain(bytes);
        Source { piece: RestorePiece { file, writer: 0, range }, layout, shared: None }
    }

    proptest! {
        #[test]
        fn segments_cover_every_byte_once(
            sizes in prop::collection::vec((0u64..1 << 40, 0..5 * SEGMENT_BYTES), 0..6)
        ) {
            let ranges: Vec<_> = sizes.iter().map(|(at, len)| *at..at + len).collect();
            let sources: Vec<_> = ranges.iter().cloned().map(piece).collect();
            let mut seen: Vec<u64> = ranges.iter().map(|range| range.start).collect();
            for next in (0..).map_while(|number| segment(&sources, number)) {
                prop_assert_eq!(next.start, seen[next.source]);
                prop_assert!(next.end > next.start && next.end - next.start <= SEGMENT_BYTES);
                seen[next.source] = next.end;
            }
            let ends: Vec<u64> = ranges.iter().map(|range| range.end).collect();
            prop_assert_eq!(seen, ends);
        }
    }
}
