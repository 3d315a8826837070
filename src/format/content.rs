//! Making and checking the bytes of a file: a layout's overlay over generated content.
//!
//! [`Filler`] makes a file in order and keeps the checksums running as it goes; sums that stand
//! before their data are handed out at the end as patches. [`Checker`] is its mirror image for
//! reading, and [`check_range`] is a checker of one range that begins anywhere. All three walk the
//! segments of the layout, allocate nothing, and touch a byte twice at most while it is in cache.

use super::sums::Registers;
use super::{Bytes, Layout, computed};
use crate::data::{Content, Damage, Mismatch};

/// Content by file offset: what lies under a layout.
pub trait Source {
    /// Writes the bytes of `[offset, offset + out.len())` into `out`.
    fn fill(&self, offset: u64, out: &mut [u8]);
    /// Compares `found` with the bytes at `offset`; the error's offset is one in the file.
    fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch>;
}

impl Source for Content<'_> {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        Content::fill(self, offset, out);
    }

    fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        Content::verify(self, offset, found)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        (**self).fill(offset, out);
    }

    fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        (**self).verify(offset, found)
    }
}

/// No content at all: zeros, for files that are structure only.
#[derive(Debug, Clone, Copy)]
pub struct NoContent;

impl Source for NoContent {
    fn fill(&self, _offset: u64, out: &mut [u8]) {
        out.fill(0);
    }

    fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        match found.iter().position(|byte| *byte != 0) {
            Some(at) => Err(Mismatch { offset: offset + at as u64, damage: Damage::Garbage }),
            None => Ok(()),
        }
    }
}

/// Content is made in pieces of this many bytes, on the grid of the file offset: few enough to
/// stay in the first-level cache until the checksums have passed over them, enough to make calls
/// rare.
const PIECE_BYTES: u64 = 32 << 10;

/// Checksums that stand before their data: the most a layout may have.
const DEFERRED_MAX: usize = 2;

/// Makes the bytes of one file in order.
pub struct Filler<'a, S = Content<'a>> {
    layout: &'a dyn Layout,
    source: S,
    registers: Registers,
    position: u64,
    patches: [(u64, [u8; 4]); DEFERRED_MAX],
    patch_registers: [u8; DEFERRED_MAX],
    patch_count: usize,
}

impl<'a, S: Source> Filler<'a, S> {
    /// A filler at offset 0.
    pub fn new(layout: &'a dyn Layout, content: S) -> Self {
        Filler {
            layout,
            source: content,
            registers: Registers::new(layout, true),
            position: 0,
            patches: Default::default(),
            patch_registers: [0; DEFERRED_MAX],
            patch_count: 0,
        }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Makes the next `out.len()` bytes. Panics beyond the end of the file.
    pub fn fill(&mut self, out: &mut [u8]) {
        let end = self.position + out.len() as u64;
        assert!(end <= self.layout.file_bytes(), "a filler stays inside its file");
        let mut rest = out;
        while !rest.is_empty() {
            let to_grid = PIECE_BYTES - self.position % PIECE_BYTES;
            let len = to_grid.min(rest.len() as u64) as usize;
            let (piece, after) = rest.split_at_mut(len);
            self.fill_piece(piece);
            rest = after;
        }
        if end == self.layout.file_bytes() {
            for (index, patch) in self.patches[..self.patch_count].iter_mut().enumerate() {
                let value = self.registers.value(self.patch_registers[index]);
                patch.1 = value.expect("registers of a walk from the start are certain");
            }
        }
    }

    /// The sums that stand before their data: file offset and bytes, to be written over the
    /// zeros that `fill` left there. Final once the whole file has been filled.
    pub fn patches(&self) -> &[(u64, [u8; 4])] {
        &self.patches[..self.patch_count]
    }

    /// Lays content first and the overlay over it: structure is rare, and content is made fastest
    /// in one run.
    fn fill_piece(&mut self, piece: &mut [u8]) {
        self.source.fill(self.position, piece);
        let layout = self.layout;
        let mut rest = piece;
        while !rest.is_empty() {
            let segment = layout.segment_at(self.position);
            let skip = self.position - segment.start;
            let len = (segment.len - skip).min(rest.len() as u64) as usize;
            let (run, after) = rest.split_at_mut(len);
            if skip == 0 && segment.resets != 0 {
                self.registers.reset(segment.resets);
            }
            match segment.bytes {
                Bytes::Content => {}
                Bytes::Fixed(bytes) => run.copy_from_slice(&bytes[skip as usize..][..len]),
                Bytes::Numbers | Bytes::Text { .. } | Bytes::Words { .. } => {
                    computed::lay(&self.source, &segment, skip, run);
                }
                Bytes::Sum { register, before } => {
                    let value = if before {
                        let value = self.registers.value(register);
                        value.expect("registers of a walk from the start are certain")
                    } else {
                        self.note_patch(segment.start, register);
                        [0; 4]
                    };
                    run.copy_from_slice(&value[skip as usize..][..len]);
                }
            }
            if segment.feeds != 0 {
                self.registers.feed(segment.feeds, run);
            }
            self.position += len as u64;
            rest = after;
        }
    }

    /// Notes a sum that is known at the end only; once, however it is cut.
    fn note_patch(&mut self, start: u64, register: u8) {
        let known = &self.patches[..self.patch_count];
        if known.last().is_none_or(|patch| patch.0 != start) {
            assert!(self.patch_count < DEFERRED_MAX, "a layout defers at most two sums");
            self.patches[self.patch_count] = (start, [0; 4]);
            self.patch_registers[self.patch_count] = register;
            self.patch_count += 1;
        }
    }
}

/// A sum that was read before its data.
#[derive(Clone, Copy, Default)]
struct Deferred {
    start: u64,
    register: u8,
    found: [u8; 4],
    /// Which bytes of the sum have been seen: from, to.
    seen: (usize, usize),
}

/// Checks the bytes of one file in order, all checksums included.
pub struct Checker<'a, S = Content<'a>> {
    layout: &'a dyn Layout,
    source: S,
    registers: Registers,
    position: u64,
    checked_bytes: u64,
    deferred: [Deferred; DEFERRED_MAX],
    deferred_count: usize,
}

impl<'a, S: Source> Checker<'a, S> {
    /// A checker at offset 0.
    pub fn new(layout: &'a dyn Layout, content: S) -> Self {
        Self::starting_at(layout, content, 0)
    }

    fn starting_at(layout: &'a dyn Layout, source: S, position: u64) -> Self {
        Checker {
            layout,
            source,
            registers: Registers::new(layout, position == 0),
            position,
            checked_bytes: 0,
            deferred: Default::default(),
            deferred_count: 0,
        }
    }

    /// Bytes compared so far; sums that could not be known are not among them.
    pub fn checked_bytes(&self) -> u64 {
        self.checked_bytes
    }

    /// Checks the next `found.len()` bytes. After an error the checker is of no further use.
    ///
    /// Errors: the first byte found wrong; bytes beyond the end of the file are garbage.
    pub fn check_next(&mut self, found: &[u8]) -> Result<(), Mismatch> {
        let layout = self.layout;
        let mut rest = found;
        while !rest.is_empty() {
            if self.position >= layout.file_bytes() {
                return Err(Mismatch { offset: self.position, damage: Damage::Garbage });
            }
            let segment = layout.segment_at(self.position);
            let skip = self.position - segment.start;
            let to_grid = PIECE_BYTES - self.position % PIECE_BYTES;
            let len = (segment.len - skip).min(to_grid).min(rest.len() as u64) as usize;
            let (run, after) = rest.split_at(len);
            if skip == 0 && segment.resets != 0 {
                self.registers.reset(segment.resets);
            }
            let from = skip as usize;
            let mut checked = true;
            match segment.bytes {
                Bytes::Content => self.source.verify(self.position, run)?,
                Bytes::Fixed(bytes) => compare(self.position, &bytes[from..][..len], run)?,
                Bytes::Numbers | Bytes::Text { .. } | Bytes::Words { .. } => {
                    computed::check(&self.source, &segment, skip, run)?;
                }
                Bytes::Sum { register, before: true } => match self.registers.value(register) {
                    Some(value) => compare(self.position, &value[from..][..len], run)?,
                    None => checked = false,
                },
                Bytes::Sum { register, before: false } => {
                    self.defer(segment.start, register, from, run);
                    checked = false;
                }
            }
            if segment.feeds != 0 {
                self.registers.feed(segment.feeds, run);
            }
            self.position += len as u64;
            self.checked_bytes += if checked { len as u64 } else { 0 };
            rest = after;
        }
        Ok(())
    }

    /// Ends the file: compares the sums that stood before their data.
    ///
    /// Errors: a wrong sum; a file that ended early counts as torn at its end.
    pub fn finish(mut self) -> Result<(), Mismatch> {
        if self.position != self.layout.file_bytes() {
            return Err(Mismatch { offset: self.position, damage: Damage::Torn });
        }
        self.check_deferred()
    }

    fn check_deferred(&mut self) -> Result<(), Mismatch> {
        for sum in &self.deferred[..self.deferred_count] {
            if let Some(value) = self.registers.value(sum.register) {
                let (from, to) = sum.seen;
                compare(sum.start + from as u64, &value[from..to], &sum.found[from..to])?;
                self.checked_bytes += (to - from) as u64;
            }
        }
        Ok(())
    }

    fn defer(&mut self, start: u64, register: u8, from: usize, run: &[u8]) {
        let count = self.deferred_count;
        if count == 0 || self.deferred[count - 1].start != start {
            assert!(count < DEFERRED_MAX, "a layout defers at most two sums");
            self.deferred[count] = Deferred { start, register, found: [0; 4], seen: (from, from) };
            self.deferred_count += 1;
        }
        let sum = &mut self.deferred[self.deferred_count - 1];
        sum.found[from..from + run.len()].copy_from_slice(run);
        sum.seen.1 = from + run.len();
    }
}

/// Checks any range of a file: content, fixed bytes, and those checksums whose whole range lies
/// inside. Returns the number of bytes compared; sums that cannot be known are not counted.
///
/// Errors: the first byte found wrong; bytes beyond the end of the file are garbage.
pub fn check_range<S: Source>(
    layout: &dyn Layout,
    content: S,
    offset: u64,
    found: &[u8],
) -> Result<u64, Mismatch> {
    let mut checker = Checker::starting_at(layout, content, offset);
    checker.check_next(found)?;
    if checker.position == layout.file_bytes() {
        checker.check_deferred()?;
    }
    Ok(checker.checked_bytes)
}

/// Compares structure bytes at `offset`.
pub(super) fn compare(offset: u64, expected: &[u8], found: &[u8]) -> Result<(), Mismatch> {
    if expected == found {
        return Ok(());
    }
    Err(classify(offset, expected, found))
}

/// Describes a difference in structure bytes: few enough wrong bits are called flipped.
#[cold]
fn classify(offset: u64, expected: &[u8], found: &[u8]) -> Mismatch {
    let pairs = expected.iter().zip(found);
    let same = pairs.clone().take_while(|(a, b)| a == b).count();
    let wrong_bits: u32 = pairs.map(|(a, b)| (a ^ b).count_ones()).sum();
    let damage = if wrong_bits <= 2 {
        Damage::Flipped
    } else if found.iter().all(|byte| *byte == 0) {
        Damage::Zeros
    } else {
        Damage::Garbage
    };
    Mismatch { offset: offset + same as u64, damage }
}
