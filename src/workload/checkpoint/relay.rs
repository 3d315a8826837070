//! `checkpoint.restore: broadcast`: what the first copy of the model reads goes to the others by
//! MPI.
//!
//! MPI belongs to the main thread, reading to the I/O threads. A block that was read is lent to the
//! main thread in the buffer it arrived in, sent, and given back to its thread, which reads into it
//! again: so the queue depth bounds what is on its way, and nothing is copied. Receivers hold
//! [`RELAY_BLOCKS`] blocks. Each message of blocks follows a header that says which they are, since
//! reads end in any order.

use super::read_shards::{ReadShards, Source};
use crate::plan::RELAY_BLOCKS;
use crate::storage::IoBuffer;
use crate::workload::compute::now_ns;
use crate::workload::crew::Crew;
use crate::world::{Circle, IoWait, TOLD_AT_ONCE};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

const BLOCKS: usize = RELAY_BLOCKS as usize;
const _: () = assert!(BLOCKS <= TOLD_AT_ONCE);
/// Source, offset and length of a block.
const WORDS_PER_BLOCK: usize = 3;
/// How many blocks follow (0: no more), then the words of each.
const HEADER_WORDS: usize = 1 + BLOCKS * WORDS_PER_BLOCK;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A block that was read, in the buffer it arrived in.
pub struct Block {
    /// Number of its source among those that are sent.
    pub source: u32,
    /// Where it lies in the file.
    pub offset: u64,
    /// Where it begins in the buffer.
    pub start: usize,
    /// Its bytes.
    pub len: usize,
    /// The buffer.
    pub buffer: IoBuffer,
}

enum Word {
    Block(usize, Block),
    /// A thread has no more.
    Done,
}

/// The end of an I/O thread: lends blocks to the main thread.
pub struct Lender {
    thread: usize,
    out: SyncSender<Word>,
    back: Receiver<IoBuffer>,
    lent: usize,
}

impl Lender {
    /// Lends a block.
    pub fn lend(&mut self, block: Block) -> Result<(), String> {
        self.say(Word::Block(self.thread, block))?;
        self.lent += 1;
        Ok(())
    }

    /// A buffer that has come back, if there is one.
    pub fn returned(&mut self) -> Option<IoBuffer> {
        let buffer = self.back.try_recv().ok()?;
        self.lent -= 1;
        Some(buffer)
    }

    /// Waits for a buffer that is lent; None where none is.
    ///
    /// # Errors
    /// Another thread of `crew` failed.
    pub fn wait(&mut self, crew: &Crew) -> Result<Option<IoBuffer>, String> {
        while self.lent > 0 {
            match self.back.recv_timeout(LOOK_EVERY) {
                Ok(buffer) => {
                    self.lent -= 1;
                    return Ok(Some(buffer));
                }
                Err(RecvTimeoutError::Timeout) if !crew.stopped() => {}
                Err(_) => return Err("the main thread stopped sending".into()),
            }
        }
        Ok(None)
    }

    /// Nothing more will be lent.
    pub fn done(&mut self) -> Result<(), String> {
        self.say(Word::Done)
    }

    fn say(&self, word: Word) -> Result<(), String> {
        self.out.send(word).map_err(|_| "the main thread stopped sending".to_string())
    }
}

/// The main thread's end on the rank that reads: sends what is lent and gives it back.
pub struct Desk {
    inbox: Receiver<Word>,
    back: Vec<SyncSender<IoBuffer>>,
    busy: usize,
    ready: Vec<(usize, Block)>,
}

/// A desk, and a lender for each of `threads` threads that have `buffers` buffers each.
pub fn desk(threads: usize, buffers: usize) -> (Desk, Vec<Lender>) {
    let (out, inbox) = sync_channel(threads * (buffers + 1));
    // Giving back never waits: there is room for all buffers.
    let (back, ends): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(buffers)).unzip();
    let lender = |(thread, back)| Lender { thread, out: out.clone(), back, lent: 0 };
    let lenders = ends.into_iter().enumerate().map(lender).collect();
    (Desk { inbox, back, busy: threads, ready: Vec::with_capacity(BLOCKS) }, lenders)
}

impl Desk {
    /// Sends everything that is lent to the circle until all threads are done; `look` is called
    /// again and again, and ends the job where a thread failed. Collective over the circle.
    pub fn send(mut self, circle: &Circle, look: &dyn Fn()) {
        loop {
            self.collect(look);
            let blocks = self
                .ready
                .iter()
                .map(|(_, block)| [u64::from(block.source), block.offset, block.len as u64]);
            let mut header = header_of(blocks);
            circle.tell([&mut header[..]].into_iter(), look);
            if self.ready.is_empty() {
                return;
            }
            let parts = self.ready.iter_mut().map(|(_, block)| {
                let Block { start, len, buffer, .. } = block;
                &mut buffer.as_mut_slice()[*start..][..*len]
            });
            circle.tell(parts, look);
            for (thread, block) in self.ready.drain(..) {
                // A thread that is gone has failed, which `look` sees.
                let _ = self.back[thread].send(block.buffer);
            }
        }
    }

    /// Waits for blocks and takes those that are there; none once all threads are done.
    fn collect(&mut self, look: &dyn Fn()) {
        let mut io = IoWait::default();
        while self.ready.len() < BLOCKS && self.busy > 0 {
            let word = match self.ready.is_empty() {
                true => self.inbox.recv_timeout(LOOK_EVERY).ok(),
                false => match self.inbox.try_recv() {
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
                    Ok(word) => Some(word),
                },
            };
            match word {
                Some(Word::Block(thread, block)) => self.ready.push((thread, block)),
                Some(Word::Done) => self.busy -= 1,
                None => {
                    look();
                    io.look_or_end(0);
                }
            }
        }
    }
}

fn header_of(blocks: impl Iterator<Item = [u64; WORDS_PER_BLOCK]>) -> [u8; 8 * HEADER_WORDS] {
    let mut header = [0; 8 * HEADER_WORDS];
    let mut count = 0u64;
    let words = header[8..].chunks_exact_mut(8 * WORDS_PER_BLOCK);
    for (place, block) in words.zip(blocks) {
        let words = block.iter().flat_map(|word| word.to_le_bytes());
        place.iter_mut().zip(words).for_each(|(byte, word)| *byte = word);
        count += 1;
    }
    header[..8].copy_from_slice(&count.to_le_bytes());
    header
}

/// The blocks that a header announces.
fn announced(
    header: &[u8; 8 * HEADER_WORDS],
) -> impl ExactSizeIterator<Item = [u64; WORDS_PER_BLOCK]> + Clone {
    let words = header.as_chunks::<8>().0;
    let word = |index: usize| u64::from_le_bytes(words[index]);
    let count = word(0) as usize;
    (0..count)
        .map(move |block| std::array::from_fn(|part| word(1 + block * WORDS_PER_BLOCK + part)))
}

/// The main thread's end on a rank that receives.
pub struct Seat {
    /// Rank that sends.
    sender: u64,
    /// What it sends, in the order in which headers number it.
    sources: Vec<Source>,
    slots: Vec<Vec<u8>>,
}

/// What was received of a checkpoint.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Bytes that were compared.
    pub checked_bytes: u64,
    /// Time spent comparing.
    pub verify_ns: u64,
}

impl Seat {
    /// For blocks of at most `block_bytes` of `sources` from `sender`.
    pub fn new(sender: u64, sources: Vec<Source>, block_bytes: u64) -> Seat {
        // Written to, so that the pages are there before the clock starts.
        let slots = (0..BLOCKS).map(|_| vec![1; block_bytes as usize]).collect();
        Seat { sender, sources, slots }
    }

    /// Bytes of a whole checkpoint that come this way.
    pub fn expected_bytes(&self) -> u64 {
        self.sources.iter().map(|one| one.piece.range.end - one.piece.range.start).sum()
    }

    /// Receives until the sender has no more, comparing as `job` says. Collective over the circle.
    ///
    /// # Errors
    /// One line: the file and byte that is not as it was written.
    pub fn receive(
        &mut self,
        job: &ReadShards<'_>,
        circle: &Circle,
        look: &dyn Fn(),
    ) -> Result<Received, String> {
        let mut received = Received::default();
        loop {
            let mut header = [0; 8 * HEADER_WORDS];
            circle.tell([&mut header[..]].into_iter(), look);
            let blocks = announced(&header);
            if blocks.len() == 0 {
                return Ok(received);
            }
            let parts = self.slots.iter_mut().zip(blocks.clone());
            circle.tell(parts.map(|(slot, [_, _, len])| &mut slot[..len as usize]), look);
            for (slot, block) in self.slots.iter().zip(blocks) {
                self.accept(job, block, slot, &mut received)?;
            }
        }
    }

    fn accept(
        &self,
        job: &ReadShards<'_>,
        [source, offset, len]: [u64; WORDS_PER_BLOCK],
        slot: &[u8],
        received: &mut Received,
    ) -> Result<(), String> {
        received.bytes += len;
        let source = &self.sources[source as usize];
        if !job.is_checked(&source.piece.file, offset) {
            return Ok(());
        }
        let begin = now_ns();
        let checked = job.check(source, offset, &slot[..len as usize]).map_err(|what| {
            let name = &source.piece.file.name;
            format!(
                "{}/{name} as received by MPI: {what}; rank {} compared it before sending, so \
                 check the network and the memory of both hosts",
                job.folder, self.sender
            )
        })?;
        received.checked_bytes += checked;
        received.verify_ns += now_ns() - begin;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::VerifyMode;
    use crate::data::{ContentSettings, Generator};
    use crate::plan::{RestorePiece, ShardFile, ShardKind};
    use crate::storage::{BufferPool, StoreSpec};
    use crate::world::World;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU64;

    fn alone() -> Circle {
        World::solo("here".into()).circle(0)
    }

    proptest! {
        #[test]
        fn a_header_says_what_follows(
            blocks in prop::collection::vec(any::<[u64; WORDS_PER_BLOCK]>(), 0..=BLOCKS)
        ) {
            let header = header_of(blocks.iter().copied());
            let found: Vec<_> = announced(&header).collect();
            prop_assert_eq!(found, blocks);
        }
    }

    #[test]
    fn every_buffer_that_is_lent_comes_back() {
        let (threads, buffers) = (3, 2);
        let (desk, lenders) = desk(threads, buffers);
        let crew = Crew::new(threads);
        std::thread::scope(|scope| {
            for mut lender in lenders {
                let crew = &crew;
                scope.spawn(move || {
                    let mut pool = BufferPool::new(buffers, 4096, false).unwrap();
                    for offset in 0..50 {
                        while let Some(buffer) = lender.returned() {
                            pool.give(buffer);
                        }
                        let buffer = pool.take();
                        let buffer = buffer.unwrap_or_else(|| lender.wait(crew).unwrap().unwrap());
                        let block = Block { source: 0, offset, start: 0, len: 1, buffer };
                        lender.lend(block).unwrap();
                    }
                    lender.done().unwrap();
                    while let Some(buffer) = lender.wait(crew).unwrap() {
                        pool.give(buffer);
                    }
                    assert!((0..buffers).all(|_| pool.take().is_some()));
                });
            }
            desk.send(&alone(), &|| ());
        });
    }

    #[test]
    fn a_failed_thread_ends_the_wait_for_lent_buffers() {
        let (desk, mut lenders) = desk(1, 1);
        let buffer = BufferPool::new(1, 4096, false).unwrap().take().unwrap();
        lenders[0].lend(Block { source: 0, offset: 0, start: 0, len: 1, buffer }).unwrap();
        drop(desk);
        assert!(lenders[0].wait(&Crew::new(1)).is_err());
    }

    #[test]
    fn what_arrives_damaged_is_found_and_named() {
        let (compress_ratio, dedup_ratio) = (1.0, 1.0);
        let settings =
            ContentSettings { seed: 1, pcg: false, stamped: false, compress_ratio, dedup_ratio };
        let generator = Generator::new(settings);
        let bytes = 20_000;
        let file = ShardFile { name: "f.pt".into(), bytes, kind: ShardKind::Model, object_id: 7 };
        let layout = crate::format::safetensors::plain(bytes);
        // A plain layout lays nothing over the content.
        let mut good = vec![0; 8192];
        super::super::content_of(&generator, &file, 3).fill(4096, &mut good);
        let piece = RestorePiece { writer: 0, range: 0..bytes, file };
        let seat = Seat::new(0, vec![Source { piece, layout, shared: None }], 8192);
        let crew = Crew::new(1);
        let io = crate::config::Config::default().io;
        let root = "/nowhere".into();
        let store = StoreSpec {
            root,
            io,
            rank: 1,
            buffers: 1,
            buffer_bytes: 8192,
            object: Default::default(),
        };
        let mut job = ReadShards {
            sources: &[],
            folder: "step1",
            generator: &generator,
            version: 3,
            verify: VerifyMode::Full,
            verify_fraction: 0.0,
            store,
            block_bytes: 8192,
            cursor: AtomicU64::new(0),
            crew: &crew,
        };
        let mut received = Received::default();
        let accept = |job: &ReadShards<'_>, slot: &[u8], received: &mut Received| {
            seat.accept(job, [0, 4096, 8192], slot, received)
        };
        accept(&job, &good, &mut received).unwrap();
        assert_eq!((received.bytes, received.checked_bytes), (8192, 8192));
        good[5000] ^= 1;
        let error = accept(&job, &good, &mut received).unwrap_err();
        for part in ["step1/f.pt as received by MPI", "byte 9096", "rank 0 compared it"] {
            assert!(error.contains(part), "{error}");
        }
        job.verify = VerifyMode::None;
        accept(&job, &good, &mut received).unwrap();
        assert_eq!((received.bytes, received.checked_bytes), (3 * 8192, 8192));
    }
}
