//! Open files of one I/O thread: a small bounded table, so that samples of one file share a handle.

use super::reader::ReadJob;
use super::{foreign_files, small};
use crate::config::FormatKind;
use crate::data::{Content, Generator};
use crate::format::foreign::ForeignExtents;
use crate::format::{FileShape, Layout};
use crate::metrics::Recorder;
use crate::storage::{Handle, OpenMode, Storage};
use std::ops::Range;

/// Handles kept open within an epoch beyond their last use where files hold many samples.
const KEPT_OPEN: usize = 32;

/// A place in the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileSlot(u32);

struct Entry {
    index: u64,
    handle: Handle,
    users: u32,
    last_use: u64,
    shape: FileShape,
    size_bytes: u64,
    foreign: Option<ForeignExtents>,
    layout: Option<Box<dyn Layout>>,
}

/// The table.
pub struct OpenFiles<'a> {
    job: &'a ReadJob<'a>,
    entries: Vec<Option<Entry>>,
    open: usize,
    kept: usize,
    clock: u64,
    name: String,
    /// For index files, headers and footers of foreign datasets; apart, because the main store has
    /// requests in flight.
    side: Option<Box<dyn Storage>>,
}

impl<'a> OpenFiles<'a> {
    /// A table for a thread with `depth` requests in flight.
    pub fn new(job: &'a ReadJob<'a>, depth: usize) -> Self {
        let kept = if job.files.samples_per_file() > 1 { KEPT_OPEN } else { 0 };
        let mut entries = Vec::new();
        entries.resize_with(depth + 1 + kept, || None);
        OpenFiles {
            job,
            entries,
            open: 0,
            kept,
            clock: 0,
            name: String::with_capacity(256),
            side: None,
        }
    }

    /// Opens file `index` or takes another share of it; checks its size against the plan where
    /// rankio made it.
    pub fn open(
        &mut self,
        index: u64,
        store: &mut dyn Storage,
        recorder: &mut Recorder,
    ) -> Result<FileSlot, String> {
        self.clock += 1;
        let found = |entry: &Option<Entry>| entry.as_ref().is_some_and(|e| e.index == index);
        if let Some(place) = self.entries.iter().position(found)
            && let Some(entry) = &mut self.entries[place]
        {
            entry.users += 1;
            entry.last_use = self.clock;
            return Ok(FileSlot(place as u32));
        }
        if self.open > self.kept {
            self.close_oldest(store)?;
        }
        let place = self
            .entries
            .iter()
            .position(Option::is_none)
            .expect("the table has room for every request in flight");
        self.entries[place] = Some(self.open_new(index, store, recorder)?);
        self.open += 1;
        Ok(FileSlot(place as u32))
    }

    /// Whether file `index` is open already.
    pub fn is_open(&self, index: u64) -> bool {
        self.entries.iter().flatten().any(|entry| entry.index == index)
    }

    fn open_new(
        &mut self,
        index: u64,
        store: &mut dyn Storage,
        recorder: &mut Recorder,
    ) -> Result<Entry, String> {
        let files = self.job.files;
        files.name(index, &mut self.name);
        let shape = files.shape(index);
        let planned = files.file_bytes(index);
        let start = super::compute::now_ns();
        let mode = OpenMode::Read { expected_bytes: planned };
        let opened = store.open(&self.name, mode).map_err(|error| error.to_string())?;
        if opened.was_asked {
            recorder.on_open(super::compute::now_ns() - start);
        }
        if self.job.own && opened.size_bytes != planned {
            return Err(format!(
                "open {}: {} bytes, the plan says {planned}: truncated or of another \
                 configuration; \
                 run rankio datagen again",
                self.full_path(),
                opened.size_bytes,
            ));
        }
        let foreign = if self.job.own && !self.job.decode {
            None
        } else {
            Some(self.foreign_extents(&shape, opened.size_bytes)?)
        };
        let layout = self.job.generator.map(|_| files.format().layout(&shape));
        Ok(Entry {
            index,
            handle: opened.handle,
            users: 1,
            last_use: self.clock,
            shape,
            size_bytes: opened.size_bytes,
            foreign,
            layout,
        })
    }

    fn foreign_extents(
        &mut self,
        shape: &FileShape,
        size_bytes: u64,
    ) -> Result<ForeignExtents, String> {
        let kind = self.job.kind;
        if self.job.whole && kind != FormatKind::Synthetic {
            return Ok(ForeignExtents::WholeFile(size_bytes));
        }
        if !foreign_files::looks_inside(kind) {
            return ForeignExtents::detect(kind, size_bytes, &[], None)
                .map_err(|what| format!("{}: {what}", self.full_path()));
        }
        if self.side.is_none() {
            self.side =
                Some(small::connect_small_by(&self.job.store.root, &self.job.store.object)?);
        }
        let side = self.side.as_mut().expect("it was just connected").as_mut();
        let look = foreign_files::Look { kind, parquet: self.job.parquet, decode: self.job.decode };
        foreign_files::extents(side, &look, &self.name, shape, size_bytes)
            .map_err(|what| format!("{}: {what}", self.full_path()))
    }

    /// Appends the ranges to read for samples `first .. first + count`.
    pub fn extents(
        &self,
        slot: FileSlot,
        first: u64,
        count: u64,
        out: &mut Vec<Range<u64>>,
    ) -> Result<(), String> {
        let entry = self.entry(slot);
        let Some(foreign) = &entry.foreign else {
            self.job.files.format().extents(&entry.shape, first, count, out);
            return Ok(());
        };
        foreign.append(first, count, out).map_err(|sample| {
            format!(
                "{}: has no sample {sample}; dataset.num_samples_per_file is larger than the file",
                self.path(slot)
            )
        })
    }

    /// What the file said of its samples, if it was asked.
    pub fn asked(&self, slot: FileSlot) -> Option<&ForeignExtents> {
        self.entry(slot).foreign.as_ref()
    }

    /// The store's handle.
    pub fn handle(&self, slot: FileSlot) -> Handle {
        self.entry(slot).handle
    }

    /// The file's number.
    pub fn index(&self, slot: FileSlot) -> u64 {
        self.entry(slot).index
    }

    /// Overlay and content that the file must have.
    pub fn expected<'g>(
        &self,
        slot: FileSlot,
        generator: &'g Generator,
    ) -> (&dyn Layout, Content<'g>) {
        let entry = self.entry(slot);
        let layout = entry.layout.as_deref().expect("a checked file has its layout");
        let id = self.job.files.object_id(entry.index);
        (layout, generator.object(id, 0, entry.size_bytes))
    }

    /// Where the file lies, for messages.
    pub fn path(&self, slot: FileSlot) -> String {
        let mut name = String::new();
        self.job.files.name(self.entry(slot).index, &mut name);
        format!("{}/{name}", self.job.store.root.trim_end_matches('/'))
    }

    /// Gives a share back; the file is closed when nobody needs it.
    pub fn release(&mut self, slot: FileSlot, store: &mut dyn Storage) -> Result<(), String> {
        let kept = self.kept;
        let place = &mut self.entries[slot.0 as usize];
        let entry = place.as_mut().expect("a slot in use has an entry");
        entry.users -= 1;
        if entry.users > 0 || kept > 0 {
            return Ok(());
        }
        let handle = entry.handle;
        *place = None;
        self.open -= 1;
        store.close(handle).map_err(|error| error.to_string())
    }

    fn close_oldest(&mut self, store: &mut dyn Storage) -> Result<(), String> {
        let unused = |entry: &&Entry| entry.users == 0;
        let oldest = self.entries.iter().flatten().filter(unused).min_by_key(|e| e.last_use);
        let Some(index) = oldest.map(|entry| entry.index) else { return Ok(()) };
        let matches = |entry: &Option<Entry>| entry.as_ref().is_some_and(|e| e.index == index);
        let place = self.entries.iter().position(matches).expect("it was just seen");
        let entry = self.entries[place].take().expect("it was just seen");
        self.open -= 1;
        store.close(entry.handle).map_err(|error| error.to_string())
    }

    /// Closes everything.
    pub fn close_all(&mut self, store: &mut dyn Storage) -> Result<(), String> {
        for entry in self.entries.iter_mut().filter_map(Option::take) {
            store.close(entry.handle).map_err(|error| error.to_string())?;
        }
        self.open = 0;
        Ok(())
    }

    fn entry(&self, slot: FileSlot) -> &Entry {
        self.entries[slot.0 as usize].as_ref().expect("a slot in use has an entry")
    }

    fn full_path(&self) -> String {
        format!("{}/{}", self.job.store.root.trim_end_matches('/'), self.name)
    }
}
