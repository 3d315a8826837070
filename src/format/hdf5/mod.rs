//! HDF5: datasets `records_0`, `records_1`, ... that share a record's first side among them, and
//! zero `labels`, as the reference lays them out.
//!
//! A small writer of our own: metadata are one block at the start, computed from the shape, and
//! every dataset begins at a multiple of 4096 bytes, so that direct reads need no bytes around it.
//! The sample is the first axis, so a sample is one range in each dataset. Chunks are all there,
//! unfiltered and in order ("implicit" index), so they need no table and a file of any number of
//! chunks is described in constant space; samples that share chunks are read together, as the HDF5
//! library would.

mod lookup3;
mod metadata;
mod space;

use super::table::{Part, Table};
use super::{FileShape, Format, Layout, element_bytes};
use crate::config::Dataset;
use metadata::{Addresses, metadata, metadata_bytes};
use space::{AXES_MAX, Space};
use std::ops::Range;

/// Data begin at multiples of this.
const ALIGN_BYTES: u64 = 4096;
/// Most datasets of a record: each has its own range to read for every sample.
const DATASETS_MAX: u64 = 1024;
/// A chunk has a 32-bit length in the library.
const CHUNK_BYTES_MAX: u128 = u32::MAX as u128;
/// Longest file: below it no sum of places overflows.
const FILE_BYTES_MAX: u128 = 1 << 60;

/// How datasets are divided.
enum Chunking {
    Contiguous,
    /// Sides of a chunk, the sample axis first.
    Sides(Vec<u64>),
    /// About this many elements of one sample: a square over its last two axes, or a run of its
    /// only one.
    Elements(u64),
}

/// Datasets of one record each, and labels.
pub struct Hdf5 {
    suffix: &'static str,
    /// Sides of a dataset's share of a record; empty: rows and columns of the file's shape.
    sides: Vec<u64>,
    datasets: u64,
    chunking: Chunking,
}

impl Hdf5 {
    /// The format with the settings of a dataset, or a sentence why they cannot be.
    pub fn new(dataset: &Dataset, suffix: &'static str) -> Result<Hdf5, String> {
        let datasets = dataset.hdf5.num_dset_per_record;
        let sides = shared_sides(&dataset.record_dims, datasets)?;
        let chunking = chunking(dataset)?;
        let format = Hdf5 { suffix, sides, datasets, chunking };
        format.check_max_shape(&dataset.hdf5.max_shape)?;
        if let Chunking::Sides(chunk) = &format.chunking {
            format.check_chunk(chunk, dataset.num_samples_per_file)?;
        }
        format.check_length(dataset)?;
        Ok(format)
    }

    /// A file's maximum shape is its shape: a larger one would need an index of chunks.
    fn check_max_shape(&self, max_shape: &[u64]) -> Result<(), String> {
        if max_shape.is_empty() || max_shape == self.sides {
            return Ok(());
        }
        let sides =
            if self.sides.is_empty() { String::new() } else { format!(" {:?}", self.sides) };
        Err(format!(
            "dataset.hdf5.max_shape: rankio's hdf5 datasets cannot grow; leave it out, or give \
             each dataset's share{sides} of dataset.record_dims"
        ))
    }

    fn check_chunk(&self, chunk: &[u64], samples: u64) -> Result<(), String> {
        let refuse = |text: String| Err(format!("dataset.hdf5.chunk_dims: {text}"));
        let axes = 1 + if self.sides.is_empty() { 2 } else { self.sides.len() };
        if chunk.len() != axes {
            return refuse(format!(
                "{} sides for a dataset of {axes} axes; give one for the samples of a file and \
                 one for each side of a sample",
                chunk.len()
            ));
        }
        let dims = std::iter::once(&samples).chain(&self.sides);
        if let Some((side, dim)) = chunk.iter().zip(dims).find(|(side, dim)| side > dim) {
            return refuse(format!("a chunk of {side} on a side of {dim}; give at most {dim}"));
        }
        Ok(())
    }

    fn check_length(&self, dataset: &Dataset) -> Result<(), String> {
        let element = u128::from(element_bytes(dataset.record_element_type));
        let product = |sides: &mut dyn Iterator<Item = u64>| {
            sides.fold(element, |bytes, side| bytes.saturating_mul(u128::from(side)))
        };
        let chunk = match &self.chunking {
            Chunking::Contiguous => 0,
            Chunking::Sides(sides) => product(&mut sides.iter().copied()),
            Chunking::Elements(count) => {
                let side = square_side(*count);
                product(&mut [side, side].into_iter())
            }
        };
        if chunk > CHUNK_BYTES_MAX {
            return Err(format!(
                "dataset.hdf5.chunk_dims or dataset.chunk_size: chunks of {chunk} bytes; HDF5 \
                 chunks end at 4 GiB, give smaller ones"
            ));
        }
        // Chunks at an edge at most double each side.
        let doubled = self.sides.iter().map(|side| side.saturating_mul(2));
        let whole = [dataset.num_samples_per_file.saturating_mul(2), self.datasets];
        let file = product(&mut doubled.chain(whole));
        if file > FILE_BYTES_MAX && !matches!(self.chunking, Chunking::Contiguous) {
            return Err("dataset.record_dims: chunks of so many axes may pad a file to more than \
                        2^60 bytes; lower the number of axes or samples"
                .into());
        }
        Ok(())
    }

    fn space(&self, shape: &FileShape) -> Space {
        let element = element_bytes(shape.element);
        let space = if self.sides.is_empty() {
            Space::new(shape.samples, &[shape.rows, shape.columns], element)
        } else {
            Space::new(shape.samples, &self.sides, element)
        };
        match &self.chunking {
            Chunking::Contiguous => space,
            Chunking::Sides(sides) => space.chunked(|axis| sides[axis]),
            Chunking::Elements(count) => {
                let (axes, side) = (space.dims().len(), square_side(*count));
                space.chunked(|axis| match axis {
                    1 if axes == 2 => *count,
                    _ if axis > 0 && axis + 2 >= axes => side,
                    _ => 1,
                })
            }
        }
    }

    fn addresses(&self, space: &Space, shape: &FileShape) -> Addresses {
        let datasets = self.datasets;
        let head = metadata_bytes(space, shape.element, datasets);
        let data = head.next_multiple_of(ALIGN_BYTES);
        let stride = space.bytes().next_multiple_of(ALIGN_BYTES);
        let labels = data + datasets * stride;
        Addresses { data, stride, datasets, labels, file_bytes: labels + space.labels().bytes() }
    }
}

/// Sides of one dataset's share of a record: the first is divided, and left out where 1 remains of
/// it, as the reference does.
fn shared_sides(record: &[u64], datasets: u64) -> Result<Vec<u64>, String> {
    let mut sides = record.to_vec();
    if datasets > DATASETS_MAX {
        return Err(format!(
            "dataset.hdf5.num_dset_per_record: {datasets} ranges to read for each sample; give at \
             most {DATASETS_MAX}"
        ));
    }
    if datasets > 1 {
        match sides.first_mut() {
            Some(first) if first.is_multiple_of(datasets) => *first /= datasets,
            _ => {
                return Err(format!(
                    "dataset.hdf5.num_dset_per_record: the datasets share the first side of \
                     dataset.record_dims; give dataset.record_dims with a first side that \
                     {datasets} divides"
                ));
            }
        }
    }
    if sides.len() > 1 && sides[0] == 1 {
        sides.remove(0);
    }
    if sides.len() >= AXES_MAX {
        return Err(format!(
            "dataset.record_dims: {} sides; an HDF5 dataset has at most {AXES_MAX} axes, one of \
             them for the samples",
            sides.len()
        ));
    }
    Ok(sides)
}

fn chunking(dataset: &Dataset) -> Result<Chunking, String> {
    if !dataset.hdf5.chunk_dims.is_empty() {
        return Ok(Chunking::Sides(dataset.hdf5.chunk_dims.clone()));
    }
    if !dataset.enable_chunking {
        return Ok(Chunking::Contiguous);
    }
    if dataset.chunk_size == 0 {
        return Err("dataset.enable_chunking: needs dataset.chunk_size, the bytes of a chunk, or \
                    dataset.hdf5.chunk_dims; give one of them"
            .into());
    }
    let element = element_bytes(dataset.record_element_type);
    Ok(Chunking::Elements(dataset.chunk_size.div_ceil(element)))
}

/// Side of the smallest square of at least `elements` elements.
fn square_side(elements: u64) -> u64 {
    let root = elements.isqrt();
    if root.saturating_mul(root) < elements { root + 1 } else { root }
}

impl Format for Hdf5 {
    fn suffix(&self) -> &'static str {
        self.suffix
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        self.addresses(&self.space(shape), shape).file_bytes
    }

    /// The sample, or the row of chunks that holds it; from the first dataset's range to the
    /// last's where there are several.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64> {
        let space = self.space(shape);
        let at = self.addresses(&space, shape);
        let start = sample / space.row_samples() * space.row_bytes();
        let last = at.data + (at.datasets - 1) * at.stride;
        at.data + start..last + start + space.row_bytes()
    }

    /// Samples that share chunks.
    fn group_samples(&self, shape: &FileShape) -> u64 {
        self.space(shape).row_samples()
    }

    /// One range in each dataset.
    fn extents(&self, shape: &FileShape, first: u64, count: u64, out: &mut Vec<Range<u64>>) {
        let space = self.space(shape);
        let at = self.addresses(&space, shape);
        let rows = first / space.row_samples()..(first + count).div_ceil(space.row_samples());
        let within = rows.start * space.row_bytes()..rows.end * space.row_bytes();
        out.extend((0..at.datasets).map(|dataset| {
            let base = at.data + dataset * at.stride;
            base + within.start..base + within.end
        }));
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        let space = self.space(shape);
        let at = self.addresses(&space, shape);
        let head = metadata(&space, shape.element, &at);
        let gap = at.data - head.len() as u64;
        let mut table = Table::new(None).push(Part::Fixed(head), 0).push(Part::Zeros(gap), 0);
        for _ in 0..at.datasets {
            table = table.push(Part::Content(space.bytes()), 0);
            table = table.push(Part::Zeros(at.stride - space.bytes()), 0);
        }
        let table = table.push(Part::Zeros(space.labels().bytes()), 0);
        debug_assert_eq!(table.file_bytes(), at.file_bytes);
        Box::new(table)
    }
}
