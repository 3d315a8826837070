//! One thread that generates files: content is made straight into the I/O buffers while earlier
//! blocks are on their way.

use super::compute::now_ns;
use super::crew::Crew;
use super::file_writer::FileWriter;
use super::partials::partial_name;
use super::sheet::Sheet;
use crate::data::Generator;
use crate::format::{Encoder, FileShape, Filler, Layout, NoContent, Sidecar, Sink, Source};
use crate::metrics::{LiveCounters, Recorder};
use crate::plan::FileSet;
use crate::storage::{Handle, IoBuffer, Storage, StoreFacts, StoreSpec};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all threads of a rank share.
pub struct WriteJob<'a> {
    /// The splits to write, in order.
    pub splits: Vec<&'a FileSet>,
    /// Makes the content.
    pub generator: &'a Generator,
    /// How to reach the store.
    pub store: StoreSpec,
    /// Bytes of a write.
    pub block_bytes: u64,
    /// This rank writes the files `rank, rank + ranks, ...`.
    pub rank: u64,
    /// See `rank`.
    pub ranks: u64,
    /// Look first whether a file is already complete.
    pub resume: bool,
    /// Next file of this rank to be claimed.
    pub cursor: AtomicU64,
    /// Part of the names of unfinished files.
    pub token: String,
    /// The other threads: once one failed all stop.
    pub crew: &'a Crew,
}

/// What a thread brings home.
pub struct WriteReport {
    /// Everything it counted.
    pub recorder: Recorder,
    /// What its store really used.
    pub facts: StoreFacts,
    /// Files written.
    pub files: u64,
    /// Samples in them.
    pub samples: u64,
    /// Files found complete.
    pub skipped: u64,
    /// Time spent making content.
    pub fill_ns: u64,
}

struct Writer<'a> {
    job: &'a WriteJob<'a>,
    live: &'a LiveCounters,
    out: FileWriter<'a>,
    files: u64,
    samples: u64,
    skipped: u64,
    folders: BTreeSet<String>,
}

/// Opens the store of a thread, before the clock starts.
pub fn open(job: &WriteJob<'_>) -> Result<Box<dyn Storage>, String> {
    crate::storage::connect(&job.store).map_err(|error| error.to_string())
}

/// Writes files until none is left.
pub fn run(
    job: &WriteJob<'_>,
    store: Box<dyn Storage>,
    live: &LiveCounters,
) -> Result<WriteReport, String> {
    let out = FileWriter::new(store, live);
    let folders = BTreeSet::new();
    let mut writer = Writer { job, live, out, files: 0, samples: 0, skipped: 0, folders };
    let total: u64 = job.splits.iter().map(|files| files.files()).sum();
    loop {
        let number = job.cursor.fetch_add(1, Ordering::Relaxed);
        let place = number.saturating_mul(job.ranks).saturating_add(job.rank);
        if place >= total || writer.stopping() {
            break;
        }
        writer.place(place)?;
    }
    writer.sync_folders()?;
    let Writer { mut out, files, samples, skipped, .. } = writer;
    let facts = out.store().facts();
    let FileWriter { recorder, fill_ns, .. } = out;
    Ok(WriteReport { recorder, facts, files, samples, skipped, fill_ns })
}

impl Writer<'_> {
    /// Writes the file at `place` of the list of all splits' files.
    fn place(&mut self, mut place: u64) -> Result<(), String> {
        for files in &self.job.splits {
            if place < files.files() {
                return self.file(files, place);
            }
            place -= files.files();
        }
        Ok(())
    }

    fn file(&mut self, files: &FileSet, index: u64) -> Result<(), String> {
        let mut name = String::new();
        files.name(index, &mut name);
        let shape = files.shape(index);
        let bytes = files.file_bytes(index);
        let sidecars = files.format().sidecars(files.split().folder(), &name, &shape);
        let bytes_if_exact = files.is_exact().then_some(bytes);
        if self.job.resume && self.are_complete(&name, bytes_if_exact, &sidecars)? {
            self.skipped += 1;
            self.live.on_samples(shape.samples);
            return Ok(());
        }
        let content = self.job.generator.object(files.object_id(index), 0, bytes);
        let mut whole = match files.format().encoder() {
            Some(encoder) => self.encode(&name, encoder, &shape, &content)?,
            None => self.stream(&name, files.format().layout(&shape).as_ref(), content)?,
        };
        for side in &sidecars {
            whole = whole && self.stream(&side.name, side.layout.as_ref(), NoContent)?;
        }
        if !whole {
            return Ok(());
        }
        self.files += 1;
        self.samples += shape.samples;
        self.live.on_samples(shape.samples);
        Ok(())
    }

    /// Whether the file is there under its name, which it has once it was written whole, with its
    /// planned length if that is known.
    fn is_complete(&mut self, name: &str, bytes: Option<u64>) -> Result<bool, String> {
        let stat = self.out.store().stat(name).map_err(|error| error.to_string())?;
        Ok(stat.is_some_and(|stat| bytes.is_none_or(|bytes| stat.size_bytes == bytes)))
    }

    fn are_complete(
        &mut self,
        name: &str,
        bytes: Option<u64>,
        sidecars: &[Sidecar],
    ) -> Result<bool, String> {
        let mut all = self.is_complete(name, bytes)?;
        for side in sidecars {
            all = all && self.is_complete(&side.name, Some(side.layout.file_bytes()))?;
        }
        Ok(all)
    }

    /// Writes one file under its name, block by block; false if the run was stopped before its end.
    fn stream<S: Source>(
        &mut self,
        name: &str,
        layout: &dyn Layout,
        content: S,
    ) -> Result<bool, String> {
        let bytes = layout.file_bytes();
        let mut filler = Filler::new(layout, content);
        let partial = self.name_to_write(name);
        let handle = self.out.create(&partial, bytes)?;
        // Checksums in a header are known only at the end, so the first block waits for the others.
        let mut first: Option<(IoBuffer, usize)> = None;
        let mut offset = 0;
        while offset < bytes {
            if self.stopping() {
                return self.abandon(handle, &partial).map(|()| false);
            }
            let len = (bytes - offset).min(self.job.block_bytes) as usize;
            let buffer = self.out.filled(len, |_, block| filler.fill(block))?;
            if offset == 0 {
                first = Some((buffer, len));
            } else {
                self.out.write(handle, offset, len, buffer)?;
            }
            offset += len as u64;
        }
        if let Some((mut buffer, len)) = first {
            for (at, value) in filler.patches() {
                let at = *at as usize;
                assert!(at + 4 <= len, "header checksums lie in the first block");
                buffer.as_mut_slice()[at..at + 4].copy_from_slice(value);
            }
            self.out.write(handle, 0, len, buffer)?;
        }
        self.finish(handle, &partial, name).map(|()| true)
    }

    /// Writes one file that `encoder` makes under its name; false if the run was stopped before its
    /// end.
    fn encode(
        &mut self,
        name: &str,
        encoder: &dyn Encoder,
        shape: &FileShape,
        content: &dyn Source,
    ) -> Result<bool, String> {
        let partial = self.name_to_write(name);
        let start = now_ns();
        let crew = self.job.crew;
        let stopping = || crew.stopped() || crate::world::interrupted();
        let mut sheet = Sheet::new(&mut self.out, &partial, self.job.block_bytes, &stopping);
        let mut take = |bytes: &[u8]| sheet.put(bytes);
        let mut made = encoder.encode(shape, content, Sink(&mut take));
        if made.is_ok() {
            made = sheet.finish();
        }
        let Sheet { handle, failure, waited_ns, stopped, .. } = sheet;
        self.out.fill_ns += (now_ns() - start).saturating_sub(waited_ns);
        match (made, failure, handle) {
            (_, Some(failure), _) => Err(failure),
            (Ok(()), None, Some(handle)) => self.finish(handle, &partial, name).map(|()| true),
            (Err(_), None, Some(handle)) if stopped => {
                self.abandon(handle, &partial).map(|()| false)
            }
            (Err(_), None, None) if stopped => Ok(false),
            (Err(error), None, _) => Err(format!("{name}: cannot be encoded: {error}")),
            (Ok(()), None, None) => Err(format!("{name}: was not made")),
        }
    }

    /// Where a new file appears whole or not at all it is written under its own name.
    fn name_to_write(&mut self, name: &str) -> String {
        match self.out.store().puts_are_atomic() {
            true => name.to_string(),
            false => partial_name(name, &self.job.token),
        }
    }

    fn stopping(&self) -> bool {
        self.job.crew.stopped() || crate::world::interrupted()
    }

    /// Leaves no half-written file behind when the run ends early.
    fn abandon(&mut self, handle: Handle, partial: &str) -> Result<(), String> {
        self.out.drain()?;
        self.out.discard(handle)?;
        if self.out.store().puts_are_atomic() {
            return Ok(());
        }
        self.out.store().remove(partial).map_err(|error| error.to_string())
    }

    fn finish(&mut self, handle: Handle, partial: &str, name: &str) -> Result<(), String> {
        self.out.sync(handle)?;
        self.out.close(handle)?;
        if partial != name {
            self.out.store().rename(partial, name).map_err(|error| error.to_string())?;
        }
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !self.folders.contains(folder) {
            self.folders.insert(folder.to_string());
        }
        Ok(())
    }

    /// Once at the end, not for each file: until then a crash loses names, and the files are made
    /// again.
    fn sync_folders(&mut self) -> Result<(), String> {
        let folders = std::mem::take(&mut self.folders);
        folders
            .iter()
            .try_for_each(|folder| self.out.store().sync_folder(folder))
            .map_err(|error| error.to_string())
    }
}
