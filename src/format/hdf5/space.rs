//! The shape of one dataset in a file and how its elements lie: contiguous, or in chunks.
//!
//! The first axis is the sample in both, and chunks follow each other in row-major order, so the
//! samples of one row of chunks are one range of bytes.

/// Most axes of an HDF5 dataset.
pub const AXES_MAX: usize = 32;

/// Sides of a dataset. Plain data on the stack, for arithmetic that allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    axes: usize,
    dims: [u64; AXES_MAX],
    chunk: Option<[u64; AXES_MAX]>,
    element_bytes: u64,
}

impl Space {
    /// A contiguous dataset of `samples` records with the sides `record` (at most 31).
    pub fn new(samples: u64, record: &[u64], element_bytes: u64) -> Space {
        let mut dims = [1; AXES_MAX];
        dims[0] = samples;
        dims[1..][..record.len()].copy_from_slice(record);
        Space { axes: record.len() + 1, dims, chunk: None, element_bytes }
    }

    /// The same dataset in chunks whose side on axis `i` is `side(i)`, at least 1 and cut to the
    /// dataset's.
    pub fn chunked(mut self, side: impl Fn(usize) -> u64) -> Space {
        let mut chunk = [1; AXES_MAX];
        for (axis, length) in chunk[..self.axes].iter_mut().enumerate() {
            *length = side(axis).clamp(1, self.dims[axis]);
        }
        self.chunk = Some(chunk);
        self
    }

    /// The labels that go with it: one 8-byte integer for each sample.
    pub fn labels(&self) -> Space {
        Space::new(self.dims[0], &[], 8)
    }

    /// Sides of the dataset.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.axes]
    }

    /// Sides of a chunk.
    pub fn chunk(&self) -> Option<&[u64]> {
        self.chunk.as_ref().map(|chunk| &chunk[..self.axes])
    }

    /// Bytes of an element.
    pub fn element_bytes(&self) -> u64 {
        self.element_bytes
    }

    /// Samples that share chunks; 1 without chunks.
    pub fn row_samples(&self) -> u64 {
        self.chunk.map_or(1, |chunk| chunk[0])
    }

    /// Bytes of one row: a sample, or a row of chunks with what those at the edges have too much.
    pub fn row_bytes(&self) -> u64 {
        let chunk = self.chunk();
        let padded = self.dims().iter().enumerate().skip(1).map(|(axis, side)| {
            chunk.map_or(*side, |chunk| side.div_ceil(chunk[axis]) * chunk[axis])
        });
        padded.product::<u64>() * self.row_samples() * self.element_bytes
    }

    /// Bytes of the whole dataset in the file.
    pub fn bytes(&self) -> u64 {
        self.dims[0].div_ceil(self.row_samples()) * self.row_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_chunks_are_padded() {
        let plain = Space::new(5, &[4, 6], 2);
        assert_eq!((plain.row_samples(), plain.row_bytes(), plain.bytes()), (1, 48, 240));
        let chunks = plain.chunked(|axis| [2, 3, 4][axis]);
        // Two samples, two chunks of 3 and two of 4 a side.
        assert_eq!((chunks.row_samples(), chunks.row_bytes()), (2, 2 * 6 * 8 * 2));
        assert_eq!(chunks.bytes(), 3 * chunks.row_bytes());
        let cut = plain.chunked(|_| 100);
        assert_eq!((cut.chunk(), cut.bytes()), (Some(&[5, 4, 6][..]), 240));
        assert_eq!(cut.labels().bytes(), 40);
    }
}
