//! The slow reference pattern: the words of an object are one Pcg64Mcg stream, entered anywhere by
//! a jump of O(log n) multiplications. Ratios skip or repeat stretches of that stream, so they are
//! honoured here too.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

use super::BLOCK_WORDS;
use super::key::ObjectKey;
use super::pattern::{Pattern, Word};

/// The stream of one object.
pub(super) struct Stream {
    object: ObjectKey,
    block: u64,
    rng: Pcg64Mcg,
    /// Index in the stream of the word that `rng` gives next.
    next_word: u64,
}

impl Stream {
    /// Stands at the first word.
    pub fn new(object: ObjectKey) -> Self {
        Self { object, block: 0, rng: Pcg64Mcg::new(object.state()), next_word: 0 }
    }

    /// Makes word `index` of this block the next one; free when it already is.
    #[inline(always)]
    fn seek(&mut self, index: usize) {
        let word = self.block * BLOCK_WORDS as u64 + index as u64;
        if word < self.next_word {
            self.rng = Pcg64Mcg::new(self.object.state());
            self.next_word = 0;
        }
        if word > self.next_word {
            self.rng.advance(u128::from(word - self.next_word));
            self.next_word = word;
        }
    }
}

impl Pattern for Stream {
    #[inline(always)]
    fn enter(&mut self, source: u64) {
        self.block = source;
    }

    #[inline(always)]
    fn motif(&self) -> u64 {
        self.object.block(self.block).motif()
    }

    #[inline(always)]
    fn word(&mut self, index: usize) -> u64 {
        self.seek(index);
        self.next_word += 1;
        self.rng.next_u64()
    }

    #[inline(always)]
    fn fill(&mut self, first: usize, out: &mut [Word]) {
        self.seek(first);
        self.next_word += out.len() as u64;
        out.iter_mut().for_each(|word| *word = self.rng.next_u64().to_le_bytes());
    }

    #[inline(always)]
    fn differs(&mut self, first: usize, found: &[Word]) -> bool {
        self.seek(first);
        self.next_word += found.len() as u64;
        let rng = &mut self.rng;
        let seen =
            found.iter().fold(0, |seen, word| seen | (u64::from_le_bytes(*word) ^ rng.next_u64()));
        seen != 0
    }
}
