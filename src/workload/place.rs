//! Where the bytes of a phase lie, and what can be seen of them from outside: pages in the page
//! cache, and what direct I/O is worth there.

use super::phase::Direction;
use super::session::Session;
use crate::plan::FileSet;
use crate::storage::proof;
use std::path::{Path, PathBuf};

/// Files of a rank whose residency is sampled, and pages of each.
const RESIDENCY_FILES: u64 = 4;
const RESIDENCY_PAGES: usize = 256;

/// A folder of ours with what is read from it or written to it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The folder; None without a file system behind it.
    pub folder: Option<&'a Path>,
    /// Our marker in it.
    pub marker: &'static str,
    /// Files of the dataset whose pages are looked at; None: the phase looks by itself.
    pub files: Option<&'a FileSet>,
}

impl<'a> Place<'a> {
    /// The folder of the dataset.
    pub fn dataset(session: &'a Session<'_>, files: &'a FileSet) -> Place<'a> {
        let folder = session.data_path.as_deref();
        Place { folder, marker: super::dataset::MARKER, files: Some(files) }
    }

    /// What direct I/O is worth where the data lies; else why that is not known. A phase that reads
    /// leaves the data as they are: one of the files is tried.
    pub fn probe(
        &self,
        session: &Session<'_>,
        direction: Direction,
    ) -> Result<proof::AlignmentProbe, String> {
        let path = self.folder.ok_or("no file system behind this store")?;
        if direction == Direction::Write {
            return proof::alignment_probe(path).map_err(|error| error.to_string());
        }
        // Our own marker is at hand and no data; other datasets have only their files.
        let marker = path.join(self.marker);
        if marker.exists() {
            return proof::alignment_probe_of(&marker).map_err(|error| error.to_string());
        }
        let own = self.files.is_some();
        let sets = [Some(&session.plan.train), session.plan.valid.as_ref()];
        let sets = sets.into_iter().filter(|_| own);
        let file = sets.flatten().filter(|set| set.files() > 0).find_map(|set| {
            let mut name = String::new();
            set.name(0, &mut name);
            Some(path.join(name)).filter(|file| file.exists())
        });
        let file = file.ok_or("there is no data file to try")?;
        proof::alignment_probe_of(&file).map_err(|error| error.to_string())
    }
}

/// Pages found in the page cache among those looked at; summed over ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Residency {
    /// Sum of the fractions seen.
    pub share: f64,
    /// Files looked at.
    pub files: f64,
}

impl Residency {
    /// Mean share, None if nothing could be looked at.
    pub fn mean(&self) -> Option<f64> {
        (self.files > 0.0).then(|| self.share / self.files)
    }

    /// Looks at a few files of this rank's share; keyed by `salt`, so that other files are seen at
    /// other times.
    pub fn sample(session: &Session<'_>, files: &FileSet, salt: u64) -> Residency {
        let mut seen = Residency::default();
        let Some(root) = &session.data_path else { return seen };
        let mut name = String::new();
        for look in 0..RESIDENCY_FILES.min(files.files()) {
            let place = session.world.rank() + session.world.size() * (look + salt);
            files.name(place % files.files(), &mut name);
            if let Some(share) = proof::resident_fraction(&root.join(&name), RESIDENCY_PAGES) {
                seen.share += share;
                seen.files += 1.0;
            }
        }
        seen
    }

    /// Looks at some of `paths`, this rank's files.
    pub fn of_files(paths: impl Iterator<Item = PathBuf>) -> Residency {
        let mut seen = Residency::default();
        for path in paths.take(RESIDENCY_FILES as usize) {
            if let Some(share) = proof::resident_fraction(&path, RESIDENCY_PAGES) {
                seen.share += share;
                seen.files += 1.0;
            }
        }
        seen
    }

    /// Adds what was seen elsewhere or at another time.
    pub fn add(&mut self, other: Residency) {
        self.share += other.share;
        self.files += other.files;
    }

    /// Over all ranks. Collective.
    pub fn reduced(self, session: &Session<'_>) -> Residency {
        let mut sums = [self.share, self.files];
        session.world.sum_f64(&mut sums);
        Residency { share: sums[0], files: sums[1] }
    }
}
