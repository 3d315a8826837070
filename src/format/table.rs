//! A layout made of a handful of parts, found by binary search: for files whose structure does
//! not repeat (npy, npz, plain content). Long runs of zeros are described, not stored.

use super::{Bytes, Layout, Segment, SumKind};

/// Zeros that segments of long fixed runs point at.
static ZEROS: [u8; 4096] = [0; 4096];

/// The segment at `offset` of a run of `len` zeros that begins at `start`: the run is cut into
/// pieces, since a fixed segment is as long as its slice.
pub fn zeros_at(start: u64, len: u64, offset: u64, feeds: u8) -> Segment<'static> {
    let piece_bytes = ZEROS.len() as u64;
    let first = (offset - start) / piece_bytes * piece_bytes;
    let piece = (len - first).min(piece_bytes);
    let bytes = Bytes::Fixed(&ZEROS[..piece as usize]);
    Segment { start: start + first, len: piece, bytes, resets: 0, feeds }
}

/// What a part holds.
pub enum Part {
    /// Generator content of this many bytes.
    Content(u64),
    /// These bytes.
    Fixed(Vec<u8>),
    /// This many zeros. Never the first part that feeds a register.
    Zeros(u64),
    /// Register 0; see [`Bytes::Sum`].
    Sum {
        /// See [`Bytes::Sum`].
        before: bool,
    },
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Part::Content(len) | Part::Zeros(len) => *len,
            Part::Fixed(bytes) => bytes.len() as u64,
            Part::Sum { .. } => 4,
        }
    }
}

/// A part with its place.
struct Placed {
    start: u64,
    part: Part,
    resets: u8,
    feeds: u8,
}

/// A layout of few parts and at most one checksum register.
pub struct Table {
    parts: Vec<Placed>,
    file_bytes: u64,
    register: Option<SumKind>,
}

impl Table {
    /// An empty file whose register 0 is of this kind.
    pub fn new(register: Option<SumKind>) -> Self {
        Table { parts: Vec::with_capacity(9), file_bytes: 0, register }
    }

    /// Appends a part (dropped when empty) that feeds the registers of the bit set `feeds`. The
    /// first part that feeds also resets, so that a walk may begin there.
    pub fn push(mut self, part: Part, feeds: u8) -> Self {
        let len = part.len();
        if len > 0 {
            let first = self.parts.iter().all(|placed| placed.feeds == 0);
            let resets = if first { feeds } else { 0 };
            self.parts.push(Placed { start: self.file_bytes, part, resets, feeds });
            self.file_bytes += len;
        }
        self
    }
}

impl Layout for Table {
    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn segment_at(&self, offset: u64) -> Segment<'_> {
        let after = self.parts.partition_point(|placed| placed.start <= offset);
        let Placed { start, part, resets, feeds } = &self.parts[after - 1];
        let bytes = match part {
            Part::Zeros(len) => return zeros_at(*start, *len, offset, *feeds),
            Part::Content(_) => Bytes::Content,
            Part::Fixed(bytes) => Bytes::Fixed(bytes),
            Part::Sum { before } => Bytes::Sum { register: 0, before: *before },
        };
        Segment { start: *start, len: part.len(), bytes, resets: *resets, feeds: *feeds }
    }

    fn registers(&self) -> [Option<SumKind>; 2] {
        [self.register, None]
    }
}
