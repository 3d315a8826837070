//! Sizes of files: a table of at most 1024 levels and a keyed dealing of levels to files.
//!
//! The total of 10^9 files of random size has to be exact and free, so sizes are not drawn one by
//! one. The distribution is cut into K = min(files, 1024) equally likely strata, one file size for
//! each; the files are taken in groups of K, and in each group a permutation keyed by (dataset
//! seed, split, group) deals every level to exactly one file. The size of a file is thus a
//! constant-time function of (seed, split, index, number of files), whatever the number of ranks,
//! and the total is that of the table times the full groups plus a last incomplete group.
//!
//! Native mode: bytes follow a normal distribution cut off alike on both sides, at `mean / 64` and
//! its mirror image, with exactly the configured mean and population standard deviation wherever a
//! symmetric distribution of positive sizes has them (see [`normal::strata`]). Bytes become an
//! array as close to square as one division makes it. Reference mode: DLIO's rule, two sides drawn
//! independently around `int(sqrt(record_length / element))`; the strata are 32 x 32 pairs of
//! sides.

use super::normal;
use super::permutation::{Permutation, key_of};
use super::{PlanError, Split};
use crate::config::{Config, Dataset, ElementType, FormatKind, IoMode};
use crate::format::{FileShape, Format};

/// Strata of native mode, and pairs of reference mode.
const LEVELS: u64 = 1024;
/// Strata of one side in reference mode; its square is [`LEVELS`].
const SIDES: usize = 32;
/// Domain of the dealing keys, so that sizes share no permutation with an epoch order of the same
/// seed.
const DEAL: u64 = 0x7369_7A65;

/// One stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Shape of a file of this level.
    pub shape: FileShape,
    /// Its length.
    pub file_bytes: u64,
    /// Bytes that a reader of all its samples asks for.
    pub read_bytes: u64,
}

/// The sizes of one split.
#[derive(Debug)]
pub struct SizeTable {
    levels: Vec<Level>,
    files: u64,
    seed: u64,
    split: Split,
}

impl SizeTable {
    /// The table of `files` files. Asks `format` for a length once for each level.
    pub fn new(
        config: &Config,
        split: Split,
        files: u64,
        format: &dyn Format,
    ) -> Result<SizeTable, PlanError> {
        let dataset = &config.dataset;
        check_lengths(dataset)?;
        let samples = dataset.num_samples_per_file;
        let row_bytes = columns_bytes(dataset);
        let element = match row_bytes {
            Some(_) => ElementType::Uint8,
            None => dataset.record_element_type,
        };
        let sides = if let Some(bytes) = row_bytes {
            vec![(1, bytes)]
        } else if !dataset.record_dims.is_empty() {
            vec![explicit_sides(&dataset.record_dims)]
        } else if config.io.mode == IoMode::Reference {
            reference_sides(dataset)
        } else {
            native_sides(dataset, files)
        };
        let mut levels = Vec::with_capacity(sides.len());
        for (rows, columns) in sides {
            let payload = u128::from(rows)
                * u128::from(columns)
                * u128::from(samples)
                * u128::from(element_bytes(element));
            if payload > u128::from(u64::MAX >> 8) {
                return Err(PlanError(format!(
                    "a file of {samples} samples of {rows} x {columns} elements is too long; lower \
                     dataset.num_samples_per_file or dataset.record_length_bytes"
                )));
            }
            let shape = FileShape { rows, columns, samples, element };
            let file_bytes = format.file_bytes(&shape);
            levels.push(Level { shape, file_bytes, read_bytes: format.read_bytes(&shape) });
        }
        let table = SizeTable { levels, files, seed: dataset.seed, split };
        if table.total_bytes() > u128::from(u64::MAX) {
            return Err(PlanError(format!(
                "the {} files of the dataset exceed 16 EiB; lower {} or \
                 dataset.record_length_bytes",
                files,
                split.files_key()
            )));
        }
        Ok(table)
    }

    /// The level of file `index`. Constant time.
    pub fn level(&self, index: u64) -> &Level {
        let count = self.levels.len() as u64;
        if count == 1 {
            return &self.levels[0];
        }
        let (group, place) = (index / count, index % count);
        let key = key_of(&[DEAL, self.seed, self.split as u64, group]);
        &self.levels[Permutation::new(count, key).apply(place) as usize]
    }

    /// Exact bytes of all files, in at most 2 x 1024 additions.
    pub fn total_bytes(&self) -> u128 {
        self.total(|level| level.file_bytes)
    }

    /// Bytes that readers of all samples of all files ask for, in at most 2 x 1024 additions.
    pub fn read_bytes(&self) -> u128 {
        self.total(|level| level.read_bytes)
    }

    fn total(&self, bytes: impl Fn(&Level) -> u64) -> u128 {
        let count = self.levels.len() as u64;
        let group: u128 = self.levels.iter().map(|level| u128::from(bytes(level))).sum();
        let first_of_rest = self.files / count * count;
        let rest: u128 =
            (first_of_rest..self.files).map(|i| u128::from(bytes(self.level(i)))).sum();
        u128::from(self.files / count) * group + rest
    }

    /// Number of strata.
    pub fn level_count(&self) -> usize {
        self.levels.len()
    }

    /// Shortest and longest file in bytes.
    pub fn range_bytes(&self) -> (u64, u64) {
        // The first group holds every level, unless it is the only one and incomplete.
        let first_group = 0..self.files.min(self.levels.len() as u64);
        let lengths = first_group.map(|index| self.level(index).file_bytes);
        lengths.fold((u64::MAX, 0), |(low, high), bytes| (low.min(bytes), high.max(bytes)))
    }

    /// Mean and population standard deviation over the strata of the bytes of one sample's array.
    pub fn sample_bytes(&self) -> (f64, f64) {
        let bytes = |level: &Level| {
            let shape = &level.shape;
            (shape.rows * shape.columns * element_bytes(shape.element)) as f64
        };
        let count = self.levels.len() as f64;
        let mean = self.levels.iter().map(bytes).sum::<f64>() / count;
        let variance = self.levels.iter().map(|l| (bytes(l) - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt())
    }
}

/// Bytes of one element.
pub fn element_bytes(element: ElementType) -> u64 {
    use ElementType::*;
    match element {
        Int8 | Uint8 | Bool => 1,
        Int16 | Uint16 | Float16 => 2,
        Int32 | Uint32 | Float32 => 4,
        Int64 | Uint64 | Float64 => 8,
    }
}

/// Bytes of a row of a parquet file whose columns are listed: its shape is a row of so many bytes.
fn columns_bytes(dataset: &Dataset) -> Option<u64> {
    let listed = dataset.format == FormatKind::Parquet && !dataset.parquet.columns.is_empty();
    listed.then(|| dataset.parquet.row_bytes())
}

/// Configured mean bytes of a sample: the sum of the columns of a parquet file, read or not, where
/// they are listed; else the product of `record_dims` where they are given, else
/// `record_length_bytes`.
pub fn nominal_sample_bytes(dataset: &Dataset) -> f64 {
    if let Some(bytes) = columns_bytes(dataset) {
        return bytes as f64;
    }
    if dataset.record_dims.is_empty() {
        return dataset.record_length_bytes;
    }
    let elements: f64 = dataset.record_dims.iter().map(|&side| side as f64).product();
    elements * element_bytes(dataset.record_element_type) as f64
}

fn check_lengths(dataset: &Dataset) -> Result<(), PlanError> {
    let refuse = |text: String| Err(PlanError(text));
    let stdev = dataset.record_length_bytes_stdev;
    if !(stdev >= 0.0 && stdev.is_finite()) {
        return refuse(format!(
            "dataset.record_length_bytes_stdev is {stdev}; give 0 or a positive number of bytes"
        ));
    }
    if let Some(bytes) = columns_bytes(dataset) {
        if stdev > 0.0 || bytes as f64 > MOST_BYTES {
            return refuse(format!(
                "dataset.parquet.columns add up to {bytes} bytes; they may have at most 2^52, and \
                 no dataset.record_length_bytes_stdev"
            ));
        }
        return Ok(());
    }
    if dataset.record_dims.is_empty() {
        let mean = dataset.record_length_bytes;
        if !(1.0..=MOST_BYTES).contains(&mean) {
            return refuse(format!(
                "dataset.record_length_bytes is {mean}; give a number of bytes from 1 to 2^52"
            ));
        }
        return Ok(());
    }
    if stdev > 0.0 {
        return refuse(
            "dataset.record_dims and dataset.record_length_bytes_stdev exclude each other; remove \
             one of them"
                .into(),
        );
    }
    if dataset.record_dims.contains(&0) || nominal_sample_bytes(dataset) > MOST_BYTES {
        return refuse(format!(
            "dataset.record_dims is {:?}; every side must be at least 1 and their product at most \
             2^52 bytes",
            dataset.record_dims
        ));
    }
    Ok(())
}

/// Longest sample, 4 PiB: below it every whole number of bytes is exact as a float.
const MOST_BYTES: f64 = (1u64 << 52) as f64;

/// Whether the sizes of files depend on `io.mode`: not where a shape is given, nor where all
/// samples are of a length that both modes make the same square of.
pub(super) fn follows_mode(dataset: &Dataset) -> bool {
    if columns_bytes(dataset).is_some() || !dataset.record_dims.is_empty() {
        return false;
    }
    let drawn = dataset.record_length_bytes_stdev > 0.0;
    drawn || native_sides(dataset, 1) != reference_sides(dataset)
}

/// All but the last side multiplied, and the last.
fn explicit_sides(dims: &[u64]) -> (u64, u64) {
    match dims {
        [] => (1, 1),
        [first @ .., last] => (first.iter().product(), *last),
    }
}

fn native_sides(dataset: &Dataset, files: u64) -> Vec<(u64, u64)> {
    let mean = dataset.record_length_bytes;
    let stdev = dataset.record_length_bytes_stdev;
    let count = if stdev == 0.0 { 1 } else { files.clamp(1, LEVELS) as usize };
    let element = element_bytes(dataset.record_element_type) as f64;
    normal::strata(count, stdev, mean * (63.0 / 64.0))
        .into_iter()
        .map(|offset| near_square((((mean + offset) / element).round() as u64).max(1)))
        .collect()
}

/// Rows tried below the square root for a product nearer to the wanted number.
const ROWS_TRIED: u64 = 64;

/// Rows and columns, nearly square, whose product is as near to `elements` (at least 1) as any of a
/// few row counts allows: exact or off by a few elements for large arrays.
fn near_square(elements: u64) -> (u64, u64) {
    let root = elements.isqrt();
    let tried = (root - ROWS_TRIED.min(root / 32)..=root).rev();
    let shapes = tried.map(|rows| (rows, (elements + rows / 2) / rows));
    shapes
        .min_by_key(|(rows, columns)| (rows * columns).abs_diff(elements))
        .unwrap_or((1, elements))
}

/// DLIO's sides: `int(sqrt(record_length / element))` with a deviation of `stdev / 2 /
/// sqrt(record_length)`, truncated to whole numbers, at least 1.
fn reference_sides(dataset: &Dataset) -> Vec<(u64, u64)> {
    let length = dataset.record_length_bytes;
    let element = element_bytes(dataset.record_element_type) as f64;
    let mean = (length / element).sqrt().floor();
    let stdev = dataset.record_length_bytes_stdev / 2.0 / length.sqrt();
    if stdev == 0.0 {
        let side = (mean as u64).max(1);
        return vec![(side, side)];
    }
    let sides: Vec<u64> = normal::strata(SIDES, stdev, f64::INFINITY)
        .into_iter()
        .map(|offset| ((mean + offset) as i64).max(1) as u64)
        .collect();
    sides.iter().flat_map(|&rows| sides.iter().map(move |&columns| (rows, columns))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Plain, config};
    use super::*;
    use proptest::prelude::*;

    fn table(config: &Config, split: Split, files: u64) -> SizeTable {
        SizeTable::new(config, split, files, &Plain::new("npz", 498)).unwrap()
    }

    fn unet3d(mode: IoMode) -> Config {
        let mut config = config();
        config.io.mode = mode;
        config.dataset.record_length_bytes = 146_600_628.0;
        config.dataset.record_length_bytes_stdev = 68_341_808.0;
        config
    }

    #[test]
    fn native_sizes_keep_mean_and_deviation() {
        let table = table(&unet3d(IoMode::Native), Split::Train, 7200);
        let (mean, stdev) = table.sample_bytes();
        assert!((mean / 146_600_628.0 - 1.0).abs() < 1e-4, "{mean}");
        assert!((stdev / 68_341_808.0 - 1.0).abs() < 1e-4, "{stdev}");
        let (low, high) = table.range_bytes();
        assert!(low as f64 >= 146_600_628.0 / 64.0 * 0.999, "{low}");
        assert!(high as f64 <= 146_600_628.0 * (2.0 - 1.0 / 64.0) * 1.001, "{high}");
        assert_eq!(table.level_count(), 1024);
    }

    #[test]
    fn reference_sizes_are_those_of_the_python_tool() {
        let unet3d = table(&unet3d(IoMode::Reference), Split::Train, 7200);
        let (mean, stdev) = unet3d.sample_bytes();
        // 12107 x 12107 less the half that truncation takes off each side; deviation 0.71 of the
        // configured.
        assert!((mean / 12106.5f64.powi(2) - 1.0).abs() < 1e-3, "{mean}");
        assert!((stdev / 48.97e6 - 1.0).abs() < 0.01, "{stdev}");
        let mut retinanet = config();
        retinanet.io.mode = IoMode::Reference;
        retinanet.dataset.record_length_bytes = 322_957.0;
        assert_eq!(table(&retinanet, Split::Train, 9).sample_bytes(), (322_624.0, 0.0));
        retinanet.dataset.record_element_type = ElementType::Float32;
        assert_eq!(table(&retinanet, Split::Train, 9).sample_bytes().0, 284.0 * 284.0 * 4.0);
    }

    #[test]
    fn shapes_are_close_to_square_and_to_the_bytes() {
        for elements in (1..5000).chain([114_660, 146_600_628, 1 << 40]) {
            let (rows, columns) = near_square(elements);
            assert!((rows * columns).abs_diff(elements) <= rows / 2, "{elements}");
            assert!(columns <= rows + rows / 15 + 3, "{elements}: {rows} x {columns}");
        }
    }

    #[test]
    fn explicit_dimensions_fold_to_two() {
        assert_eq!(explicit_sides(&[7]), (1, 7));
        assert_eq!(explicit_sides(&[2, 3, 5]), (6, 5));
        let mut config = config();
        config.dataset.record_dims = vec![2, 3, 5];
        config.dataset.record_element_type = ElementType::Int64;
        assert_eq!(nominal_sample_bytes(&config.dataset), 240.0);
        assert_eq!(table(&config, Split::Train, 3).level(2).file_bytes, 240 + 498);
    }

    #[test]
    fn bad_lengths_are_refused() {
        let format = Plain::new("npz", 0);
        type Change = fn(&mut Dataset);
        let changes: [(Change, &str); 7] = [
            (|d| d.record_length_bytes = 0.0, "dataset.record_length_bytes is 0"),
            (|d| d.record_length_bytes = f64::NAN, "dataset.record_length_bytes is NaN"),
            (|d| d.record_length_bytes_stdev = -1.0, "dataset.record_length_bytes_stdev is -1"),
            (|d| d.record_dims = vec![3, 0], "dataset.record_dims is [3, 0]"),
            (
                |d| {
                    d.record_dims = vec![3, 3];
                    d.record_length_bytes_stdev = 2.0;
                },
                "exclude each other",
            ),
            (|d| d.num_samples_per_file = 1 << 50, "too long"),
            (|d| d.record_length_bytes = 1e15, "exceed 16 EiB"),
        ];
        for (change, text) in changes {
            let mut config = config();
            change(&mut config.dataset);
            let error = SizeTable::new(&config, Split::Train, 1 << 20, &format).unwrap_err();
            assert!(error.0.contains(text), "{error}");
        }
    }

    #[test]
    fn splits_and_seeds_have_sizes_of_their_own() {
        let mut config = unet3d(IoMode::Native);
        let sizes = |config: &Config, split| -> Vec<u64> {
            let table = table(config, split, 50);
            (0..50).map(|i| table.level(i).file_bytes).collect()
        };
        let train = sizes(&config, Split::Train);
        assert_eq!(train, sizes(&config, Split::Train));
        assert_ne!(train, sizes(&config, Split::Valid));
        config.dataset.seed += 1;
        assert_ne!(train, sizes(&config, Split::Train));
    }

    proptest! {
        #[test]
        fn totals_are_the_explicit_sum(
            files in 1u64..5000,
            mean in 1.0f64..1e6,
            relative in prop_oneof![Just(0.0), 0.01f64..1.5],
            seed: u64,
            reference: bool,
        ) {
            let mut config = config();
            config.dataset.record_length_bytes = mean;
            config.dataset.record_length_bytes_stdev = mean * relative;
            config.dataset.seed = seed;
            config.io.mode = if reference { IoMode::Reference } else { IoMode::Native };
            let table = table(&config, Split::Valid, files);
            let lengths: Vec<u64> = (0..files).map(|i| table.level(i).file_bytes).collect();
            let sum: u128 = lengths.iter().map(|&b| u128::from(b)).sum();
            prop_assert_eq!(table.total_bytes(), sum);
            let range = (*lengths.iter().min().unwrap(), *lengths.iter().max().unwrap());
            prop_assert_eq!(table.range_bytes(), range);
        }
    }
}
