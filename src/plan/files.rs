//! The files of one split: names, shapes, lengths and content identities, all computed from an
//! index.

use super::names::{Names, index_in};
use super::sizes::SizeTable;
use super::{PlanError, Split};
use crate::config::Config;
use crate::format::{FileShape, Format};
use std::fmt;
use std::sync::Arc;

/// Most files of a split; what is left of 64 bits names the split in an object id.
const MOST_FILES: u64 = 1 << 48;

/// The files of one split. Cheap to clone.
#[derive(Clone)]
pub struct FileSet {
    split: Split,
    files: u64,
    /// Files of the whole split, of which `files` are a part.
    generated: u64,
    samples_per_file: u64,
    names: Names,
    sizes: Arc<SizeTable>,
    format: Arc<dyn Format>,
}

impl FileSet {
    /// The files that `config` gives to `split`, laid out by `format`. Refuses a dataset without
    /// files or samples, and one whose names or sizes cannot be.
    pub fn new(
        config: &Config,
        split: Split,
        format: Arc<dyn Format>,
    ) -> Result<FileSet, PlanError> {
        let dataset = &config.dataset;
        let (files, subfolders) = match split {
            Split::Train => (dataset.num_files_train, dataset.num_subfolders_train),
            Split::Valid => (dataset.num_files_eval, dataset.num_subfolders_eval),
        };
        let generated = match split {
            Split::Train => dataset.generated_files(),
            Split::Valid => files,
        };
        if files == 0 || generated > MOST_FILES {
            return Err(PlanError(format!(
                "{} is {files}; give a number from 1 to 2^48",
                split.files_key()
            )));
        }
        if generated < files {
            return Err(PlanError(format!(
                "dataset.num_files_generated is {generated}, less than {} ({files})",
                split.files_key()
            )));
        }
        if dataset.num_samples_per_file == 0 {
            return Err(PlanError("dataset.num_samples_per_file is 0; give at least 1".into()));
        }
        if generated.checked_mul(dataset.num_samples_per_file).is_none() {
            return Err(PlanError(format!(
                "{} x dataset.num_samples_per_file exceeds 2^64 samples; lower one of them",
                split.files_key()
            )));
        }
        if dataset.file_prefix.contains(['/', '\0']) {
            return Err(PlanError(format!(
                "dataset.file_prefix is {:?}; it must not contain '/'",
                dataset.file_prefix
            )));
        }
        let names = Names {
            folder: split.folder(),
            prefix: dataset.file_prefix.as_str().into(),
            suffix: format.suffix(),
            files: generated,
            subfolders,
        };
        let sizes = Arc::new(SizeTable::new(config, split, generated, &*format)?);
        let samples_per_file = dataset.num_samples_per_file;
        Ok(FileSet { split, files, generated, samples_per_file, names, sizes, format })
    }

    /// All files of the split, where this set is a part of them.
    pub fn whole(&self) -> FileSet {
        FileSet { files: self.generated, ..self.clone() }
    }

    /// Place among all files of the split. A part has the same share of every subfolder, up to one
    /// file, and within a subfolder its files are evenly spread. Constant time, one to one.
    fn place(&self, index: u64) -> u64 {
        debug_assert!(index < self.files);
        if self.files == self.generated {
            return index;
        }
        let folders = self.names.subfolders.max(1);
        let (folder, nth) = (index % folders, index / folders);
        // Files in this folder of so many in all; `index` is one of them, so there are some.
        let share = |files: u64| u128::from((files - folder).div_ceil(folders));
        folder + folders * (u128::from(nth) * share(self.generated) / share(self.files)) as u64
    }

    /// Split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Number of files.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Samples in each file.
    pub fn samples_per_file(&self) -> u64 {
        self.samples_per_file
    }

    /// Samples of all files.
    pub fn samples(&self) -> u64 {
        self.files * self.samples_per_file
    }

    /// Subfolders of the split; 0: its files lie in its own folder.
    pub fn subfolders(&self) -> u64 {
        if self.names.subfolders > 1 { self.names.subfolders } else { 0 }
    }

    /// Replaces `out` by the name of file `index` relative to the data folder. Does not allocate
    /// once `out` is long enough.
    pub fn name(&self, index: u64, out: &mut String) {
        self.names.write(self.place(index), out);
    }

    /// Whether `name` is that of a file of this set, or of a file that goes with one.
    pub fn holds(&self, name: &str) -> bool {
        let Some(index) = index_in(name).filter(|index| *index < self.generated) else {
            return false;
        };
        let mut own = String::new();
        self.names.write(index, &mut own);
        let shape = self.sizes.level(index).shape;
        let sides = || self.format.sidecars(self.split.folder(), &own, &shape);
        name == own || sides().iter().any(|side| side.name == name)
    }

    /// Shape of file `index`. Constant time, allocates nothing.
    pub fn shape(&self, index: u64) -> FileShape {
        self.sizes.level(self.place(index)).shape
    }

    /// Most bytes that are read of samples which can only be read together.
    pub fn group_bytes(&self) -> u64 {
        let of_level = |index: u64| {
            let mut ranges = Vec::new();
            self.format.extents(&self.shape(index), 0, 1, &mut ranges);
            ranges.iter().map(|range| range.end - range.start).sum()
        };
        (0..self.files.min(self.sizes.level_count() as u64)).map(of_level).max().unwrap_or(0)
    }

    /// Whether lengths, extents and layouts are those of the files. Else they are those of the same
    /// files uncompressed, and files have to be asked.
    pub fn is_exact(&self) -> bool {
        self.format.encoder().is_none()
    }

    /// Length of file `index` in bytes, see [`FileSet::is_exact`]. Constant time, allocates
    /// nothing.
    pub fn file_bytes(&self, index: u64) -> u64 {
        self.sizes.level(self.place(index)).file_bytes
    }

    /// Identity of the content of file `index` for the generator; no two files of a dataset share
    /// one.
    pub fn object_id(&self, index: u64) -> u64 {
        (self.split as u64 + 1) << 56 | self.place(index)
    }

    /// Bytes of all files of the split, see [`FileSet::is_exact`], in at most 2048 additions. At
    /// most `u64::MAX`.
    pub fn total_bytes(&self) -> u128 {
        self.sizes.total_bytes()
    }

    /// The table of sizes of all files of the split.
    pub fn sizes(&self) -> &SizeTable {
        &self.sizes
    }

    /// The container format.
    pub fn format(&self) -> &Arc<dyn Format> {
        &self.format
    }
}

impl fmt::Debug for FileSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSet")
            .field("names", &self.names)
            .field("samples_per_file", &self.samples_per_file)
            .field("levels", &self.sizes.level_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Plain, config};
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::path::Path;

    fn set(config: &Config, split: Split) -> Result<FileSet, PlanError> {
        FileSet::new(config, split, Arc::new(Plain::new("npz", 498)))
    }

    #[test]
    fn a_dataset_that_cannot_be_is_refused() {
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 4] = [
            (|c| c.dataset.num_files_train = 0, "dataset.num_files_train is 0"),
            (|c| c.dataset.num_samples_per_file = 0, "dataset.num_samples_per_file is 0"),
            (|c| c.dataset.file_prefix = "a/b".into(), "dataset.file_prefix is \"a/b\""),
            (|c| c.dataset.num_samples_per_file = u64::MAX, "exceeds 2^64 samples"),
        ];
        for (change, text) in cases {
            let mut config = config();
            change(&mut config);
            let error = set(&config, Split::Train).unwrap_err();
            assert!(error.0.contains(text), "{error}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_format() {
        let mut config = config();
        config.dataset.record_length_bytes_stdev = 300.0;
        let files = set(&config, Split::Train).unwrap();
        for index in 0..files.files() {
            let shape = files.shape(index);
            assert_eq!(files.file_bytes(index), files.format().file_bytes(&shape));
        }
    }

    /// Names of the data files below `folder`, relative to `root`, sorted.
    fn data_files(root: &Path, folder: &Path, suffix: &str, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                data_files(root, &path, suffix, out);
            } else if path.extension().is_some_and(|found| found == suffix) {
                out.push(path.strip_prefix(root).unwrap().to_str().unwrap().into());
            }
        }
        out.sort();
    }

    #[test]
    fn names_are_those_of_a_dataset_that_the_reference_wrote() {
        let shared = std::env::var_os("RANKIO_SHARED")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), Into::into);
        let data = shared.join("fixtures/dlio-2.0.0/data");
        if !data.is_dir() {
            eprintln!("skipped: no fixtures (set RANKIO_SHARED)");
            return;
        }
        for (suffix, subfolders) in [("npz", 2), ("jpeg", 2), ("hdf5", 2), ("tfrecord", 0)] {
            let mut config = config();
            config.dataset.num_files_train = 4;
            config.dataset.num_files_eval = 2;
            config.dataset.num_subfolders_train = subfolders;
            for split in [Split::Train, Split::Valid] {
                let format = Arc::new(Plain::new(suffix, 0));
                let files = FileSet::new(&config, split, format).unwrap();
                let mut computed: Vec<String> = Vec::new();
                for index in 0..files.files() {
                    computed.push(String::new());
                    files.name(index, computed.last_mut().unwrap());
                }
                computed.sort();
                let root = data.join(suffix);
                let mut found = Vec::new();
                data_files(&root, &root.join(split.folder()), suffix, &mut found);
                assert_eq!(computed, found);
            }
        }
    }

    proptest! {
        /// Training on a part of a dataset: no file twice, each with the name, size and content it
        /// has in the whole, and every folder used alike.
        #[test]
        fn a_part_is_evenly_spread(
            generated in 1u64..400, share in 0u64..400, folders in 0u64..13,
        ) {
            let part = 1 + share % generated;
            let mut config = config();
            config.dataset.record_length_bytes_stdev = 300.0;
            config.dataset.num_subfolders_train = folders;
            config.dataset.num_files_train = part;
            config.dataset.num_files_generated = Some(generated);
            let files = set(&config, Split::Train).unwrap();
            let whole = files.whole();
            prop_assert_eq!((files.files(), whole.files()), (part, generated));
            let mut places = HashSet::new();
            let mut used = vec![0u64; folders.max(1) as usize];
            let (mut name, mut same) = (String::new(), String::new());
            for index in 0..part {
                let place = files.place(index);
                prop_assert!(place < generated && places.insert(place));
                used[(place % folders.max(1)) as usize] += 1;
                files.name(index, &mut name);
                whole.name(place, &mut same);
                prop_assert_eq!(&name, &same);
                prop_assert_eq!(files.file_bytes(index), whole.file_bytes(place));
                prop_assert_eq!(files.object_id(index), whole.object_id(place));
            }
            let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", used);
            if folders < 2 {
                let gaps = |index| files.place(index + 1) - files.place(index);
                let gaps: Vec<_> = (0..part - 1).map(gaps).collect();
                let spread = gaps.iter().max().unwrap_or(&0) - gaps.iter().min().unwrap_or(&0);
                prop_assert!(spread <= 1, "{:?}", gaps);
            }
        }

        #[test]
        fn names_and_ids_are_unique(
            train in 1u64..300, valid in 1u64..300, folders in 0u64..13,
        ) {
            let mut config = config();
            config.dataset.num_files_train = train;
            config.dataset.num_files_eval = valid;
            config.dataset.num_subfolders_train = folders;
            let (mut names, mut ids) = (HashSet::new(), HashSet::new());
            let mut name = String::new();
            for split in [Split::Train, Split::Valid] {
                let files = set(&config, split).unwrap();
                for index in 0..files.files() {
                    files.name(index, &mut name);
                    prop_assert!(files.holds(&name));
                    let other = format!("{name}x");
                    prop_assert!(!files.holds(&other));
                    names.insert(name.clone());
                    ids.insert(files.object_id(index));
                }
            }
            prop_assert_eq!(names.len() as u64, train + valid);
            prop_assert_eq!(ids.len() as u64, train + valid);
        }
    }
}
