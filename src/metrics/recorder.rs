//! What one I/O thread counts while bytes move.
//!
//! One recorder belongs to one thread, so nothing is shared or locked; all memory (about 1 MiB) is
//! there before the clock starts. Threads are added up after a phase, ranks by one integer MPI_SUM
//! over [`Recorder::words`].

use super::{ByteCounts, Histogram, OpCounts};

/// Words that do not have the length of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a recorder has {expected} words, found {found}: all ranks must run the same program")]
pub struct WordCountError {
    /// Length that was needed.
    pub expected: usize,
    /// Length that came.
    pub found: usize,
}

/// Histograms and counters of one thread, of one rank, or of the world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorder {
    /// Durations of reads.
    pub read: Histogram,
    /// Durations of writes.
    pub write: Histogram,
    /// Durations of syncs.
    pub sync: Histogram,
    /// Durations of opens and creates.
    pub open: Histogram,
    /// Bytes of reads and writes together.
    pub bytes: ByteCounts,
    /// Operations.
    pub ops: OpCounts,
    /// Bytes compared with what they should be.
    pub verify_bytes: u64,
}

impl Recorder {
    /// Length of [`Recorder::words`].
    pub const WORDS: usize = 4 * Histogram::WORDS + ByteCounts::WORDS + OpCounts::WORDS + 1;

    /// An empty recorder; the only allocation.
    pub fn new() -> Self {
        Self::default()
    }

    /// One read that ended: its duration, bytes asked for, bytes the store moved.
    #[inline]
    pub fn on_read(&mut self, latency_ns: u64, requested_bytes: u64, transferred_bytes: u64) {
        self.read.record(latency_ns);
        self.ops.read += 1;
        self.bytes.requested += requested_bytes;
        self.bytes.transferred += transferred_bytes;
    }

    /// One write that ended: its duration, bytes asked for, bytes the store moved.
    #[inline]
    pub fn on_write(&mut self, latency_ns: u64, requested_bytes: u64, transferred_bytes: u64) {
        self.write.record(latency_ns);
        self.ops.write += 1;
        self.bytes.requested += requested_bytes;
        self.bytes.transferred += transferred_bytes;
    }

    /// One sync that ended.
    #[inline]
    pub fn on_sync(&mut self, latency_ns: u64) {
        self.sync.record(latency_ns);
        self.ops.sync += 1;
    }

    /// One open or create that ended.
    #[inline]
    pub fn on_open(&mut self, latency_ns: u64) {
        self.open.record(latency_ns);
        self.ops.open += 1;
    }

    /// Samples (or their equivalent) of this many configured bytes were moved.
    #[inline]
    pub fn on_nominal(&mut self, nominal_bytes: u64) {
        self.bytes.nominal += nominal_bytes;
    }

    /// Bytes of a request were checked and are right.
    #[inline]
    pub fn on_verified(&mut self, checked_bytes: u64) {
        self.verify_bytes += checked_bytes;
    }

    /// Adds another recorder.
    pub fn add(&mut self, other: &Recorder) {
        for (mine, theirs) in self.histograms_mut().into_iter().zip(other.histograms()) {
            mine.add(theirs);
        }
        self.bytes.add(&other.bytes);
        self.ops.add(&other.ops);
        self.verify_bytes += other.verify_bytes;
    }

    /// Everything as words; their sum over ranks is the world's recorder. Allocates: not for the
    /// measured window.
    pub fn words(&self) -> Vec<u64> {
        let mut words = Vec::with_capacity(Self::WORDS);
        self.histograms().into_iter().for_each(|h| words.extend_from_slice(h.words()));
        words.extend_from_slice(&self.bytes.to_words());
        words.extend_from_slice(&self.ops.to_words());
        words.push(self.verify_bytes);
        words
    }

    /// The reverse of [`Recorder::words`].
    ///
    /// # Errors
    /// If `words` does not have the length [`Recorder::WORDS`].
    pub fn from_words(words: &[u64]) -> Result<Self, WordCountError> {
        if words.len() != Self::WORDS {
            return Err(WordCountError { expected: Self::WORDS, found: words.len() });
        }
        let mut recorder = Recorder::new();
        let (histograms, counters) = words.split_at(4 * Histogram::WORDS);
        let parts = histograms.chunks_exact(Histogram::WORDS);
        for (histogram, part) in recorder.histograms_mut().into_iter().zip(parts) {
            histogram.words_mut().copy_from_slice(part);
        }
        let (bytes, counters) = counters.split_at(ByteCounts::WORDS);
        let (ops, verify) = counters.split_at(OpCounts::WORDS);
        recorder.bytes = ByteCounts::from_words(std::array::from_fn(|word| bytes[word]));
        recorder.ops = OpCounts::from_words(std::array::from_fn(|word| ops[word]));
        recorder.verify_bytes = verify[0];
        Ok(recorder)
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.histograms_mut().into_iter().for_each(Histogram::clear);
        self.bytes = ByteCounts::default();
        self.ops = OpCounts::default();
        self.verify_bytes = 0;
    }

    fn histograms(&self) -> [&Histogram; 4] {
        [&self.read, &self.write, &self.sync, &self.open]
    }

    fn histograms_mut(&mut self) -> [&mut Histogram; 4] {
        [&mut self.read, &mut self.write, &mut self.sync, &mut self.open]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Event {
        Read(u64, u64, u64),
        Write(u64, u64, u64),
        Sync(u64),
        Open(u64),
        Nominal(u64),
        Verified(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let bytes = 0u64..1 << 30;
        prop_oneof![
            (any::<u64>(), bytes.clone(), bytes.clone()).prop_map(|(l, r, t)| Event::Read(l, r, t)),
            (0u64..1 << 33, bytes.clone(), bytes.clone())
                .prop_map(|(l, r, t)| Event::Write(l, r, t)),
            (0u64..1 << 33).prop_map(Event::Sync),
            (0u64..1 << 33).prop_map(Event::Open),
            bytes.clone().prop_map(Event::Nominal),
            bytes.prop_map(Event::Verified),
        ]
    }

    fn replay(events: &[Event]) -> Recorder {
        let mut recorder = Recorder::new();
        for event in events {
            match *event {
                Event::Read(l, r, t) => recorder.on_read(l, r, t),
                Event::Write(l, r, t) => recorder.on_write(l, r, t),
                Event::Sync(l) => recorder.on_sync(l),
                Event::Open(l) => recorder.on_open(l),
                Event::Nominal(b) => recorder.on_nominal(b),
                Event::Verified(b) => recorder.on_verified(b),
            }
        }
        recorder
    }

    #[test]
    fn words_of_another_length_are_refused() {
        let error = Recorder::from_words(&[0; 7]).unwrap_err();
        assert_eq!(error, WordCountError { expected: Recorder::WORDS, found: 7 });
    }

    #[test]
    fn every_counter_has_its_event() {
        let recorder = replay(&[
            Event::Read(10, 100, 512),
            Event::Write(10, 200, 512),
            Event::Sync(5),
            Event::Open(5),
            Event::Nominal(90),
            Event::Verified(100),
        ]);
        assert_eq!(recorder.ops.to_words(), [1, 1, 1, 1, 0]);
        assert_eq!(recorder.bytes.to_words(), [90, 300, 1024]);
        assert_eq!(recorder.verify_bytes, 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_sum_of_words_is_the_world(
            ranks in proptest::collection::vec(proptest::collection::vec(event(), 0..60), 1..4),
        ) {
            let mut sum = vec![0u64; Recorder::WORDS];
            let mut added = Recorder::new();
            for events in &ranks {
                let recorder = replay(events);
                sum.iter_mut().zip(recorder.words()).for_each(|(total, word)| *total += word);
                added.add(&recorder);
            }
            let all = replay(&ranks.concat());
            let world = Recorder::from_words(&sum).unwrap();
            prop_assert_eq!(world.read.summary(), all.read.summary());
            prop_assert_eq!(world.open.summary(), all.open.summary());
            prop_assert_eq!((world.bytes, world.ops), (all.bytes, all.ops));
            prop_assert_eq!(world.verify_bytes, all.verify_bytes);
            prop_assert_eq!(&added, &all);
            added.clear();
            prop_assert_eq!(added, Recorder::new());
        }
    }
}
