//! Small files through the storage trait: markers, index files, headers.

use crate::config::{Engine, Io, ObjectOptions};
use crate::storage::{Handle, IoBuffer, Op, OpenMode, Storage, StorageError, StoreSpec, connect};
use std::ops::Range;

/// A text larger than this is no marker and no index of ours.
const TEXT_BYTES_MAX: u64 = 256 << 20;
const PART_BYTES: usize = 1 << 20;
/// Enough for the headers of every format.
const HEAD_BYTES: u64 = 4096;

/// A store instance for small files: plain reads and writes, one buffer, no injected faults. What
/// it does is part of the phase `housekeeping`.
pub fn connect_small_by(root: &str, object: &ObjectOptions) -> Result<Box<dyn Storage>, String> {
    connect_uncounted(root, object).map(super::housekeeping::counted)
}

/// The same of which nobody counts what it does.
pub(super) fn connect_uncounted(
    root: &str,
    object: &ObjectOptions,
) -> Result<Box<dyn Storage>, String> {
    let io = Io { engine: Engine::Sync, direct: false, huge_pages: false, ..Io::default() };
    // direct:// would bring O_DIRECT back.
    let root = root.strip_prefix("direct://").unwrap_or(root).to_string();
    let spec = StoreSpec {
        root,
        io,
        object: object.clone(),
        rank: 0,
        buffers: 1,
        buffer_bytes: PART_BYTES,
    };
    connect(&spec).map_err(|error| error.to_string())
}

/// Reads a whole small file as text; None if it does not exist. Nothing else may be in flight on
/// `store`.
pub fn read_text(store: &mut dyn Storage, name: &str) -> Result<Option<String>, String> {
    let Some(bytes) = read_bytes(store, name)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{name}: is not text"))
}

/// Reads a whole small file; None if it does not exist. Nothing else may be in flight on `store`.
pub fn read_bytes(store: &mut dyn Storage, name: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(stat) = store.stat(name).map_err(text_of)? else { return Ok(None) };
    if stat.size_bytes > TEXT_BYTES_MAX {
        return Err(format!("{name}: {} bytes are too many for an index", stat.size_bytes));
    }
    let mut bytes = Vec::with_capacity(stat.size_bytes as usize);
    each_block(store, name, &mut |block| bytes.extend_from_slice(block))?;
    Ok(Some(bytes))
}

/// Name of an object in or below `folder` for which `wanted` is true; None if there is none,
/// however many folders: some servers show those whose objects are gone.
pub fn any_object(
    store: &mut dyn Storage,
    folder: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, String> {
    let (mut object, mut folders) = (None, Vec::new());
    let inside = |name: &str| match folder {
        "" => name.to_string(),
        folder => format!("{folder}/{name}"),
    };
    store
        .list(folder, &mut |name, is_folder| match is_folder {
            true => folders.push(inside(name)),
            false if object.is_none() && wanted(name) => object = Some(inside(name)),
            false => {}
        })
        .map_err(text_of)?;
    for folder in folders {
        if object.is_none() {
            object = any_object(store, &folder, &|_| true)?;
        }
    }
    Ok(object)
}

/// Hands a file of any length to `visit` block by block, in order; false if it does not exist.
/// Nothing else may be in flight on `store`.
pub fn each_block(
    store: &mut dyn Storage,
    name: &str,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<bool, String> {
    let Some(stat) = store.stat(name).map_err(text_of)? else { return Ok(false) };
    let mode = OpenMode::Read { expected_bytes: stat.size_bytes };
    let opened = store.open(name, mode).map_err(text_of)?;
    read_range(store, opened.handle, 0..opened.size_bytes, visit)?;
    store.close(opened.handle).map_err(text_of)?;
    Ok(true)
}

/// The last bytes of a file of `size_bytes`: as many as `length_of` says of its last
/// `trailer_bytes`. Nothing else may be in flight on `store`.
pub fn read_tail(
    store: &mut dyn Storage,
    name: &str,
    size_bytes: u64,
    trailer_bytes: u64,
    length_of: impl FnOnce(&[u8]) -> Result<u64, String>,
) -> Result<Vec<u8>, String> {
    let mode = OpenMode::Read { expected_bytes: size_bytes };
    let opened = store.open(name, mode).map_err(text_of)?;
    let mut last = |length: u64| {
        let mut bytes = Vec::with_capacity(length as usize);
        let range = size_bytes.saturating_sub(length)..size_bytes;
        read_range(store, opened.handle, range, &mut |block| bytes.extend_from_slice(block))?;
        Ok::<_, String>(bytes)
    };
    let length = length_of(&last(trailer_bytes)?)?;
    if length > TEXT_BYTES_MAX {
        return Err(format!("{length} bytes at its end are too many for an index"));
    }
    let bytes = last(length)?;
    store.close(opened.handle).map_err(text_of)?;
    Ok(bytes)
}

/// The first bytes of a file. Nothing else may be in flight on `store`.
pub fn read_head(store: &mut dyn Storage, name: &str) -> Result<Vec<u8>, String> {
    let mode = OpenMode::Read { expected_bytes: HEAD_BYTES };
    let opened = store.open(name, mode).map_err(text_of)?;
    let mut bytes = Vec::new();
    let length = opened.size_bytes.min(HEAD_BYTES);
    read_range(store, opened.handle, 0..length, &mut |block| bytes.extend_from_slice(block))?;
    store.close(opened.handle).map_err(text_of)?;
    Ok(bytes)
}

fn read_range(
    store: &mut dyn Storage,
    handle: Handle,
    range: Range<u64>,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), String> {
    let mut offset = range.start;
    while offset < range.end {
        let len = (range.end - offset).min(PART_BYTES as u64) as usize;
        let buffer = store.take_buffer().ok_or("no buffer is free")?;
        store.submit(handle, Op::Read { offset, len, buffer }, 0).map_err(text_of)?;
        let completion = reap_one(store)?;
        let buffer = completion.buffer.ok_or("a read lost its buffer")?;
        let start = completion.data_start;
        visit(&buffer.as_slice()[start..start + completion.bytes]);
        store.give_buffer(buffer);
        offset += completion.bytes as u64;
        if completion.bytes == 0 {
            break;
        }
    }
    Ok(())
}

/// Writes a small file durably under a temporary name and moves it into place.
pub fn write_text(store: &mut dyn Storage, name: &str, text: &[u8]) -> Result<(), String> {
    replace_text(store, name, text, true)
}

/// Writes a small file under a temporary name and moves it into place, durably if `sync`.
pub fn replace_text(
    store: &mut dyn Storage,
    name: &str,
    text: &[u8],
    sync: bool,
) -> Result<(), String> {
    if store.puts_are_atomic() {
        let mut writer = TextWriter::open(store, name, OpenMode::Replace { final_bytes: 0 })?;
        writer.push(text)?;
        return writer.finish(sync);
    }
    let partial = format!("{name}.partial");
    if store.stat(&partial).map_err(text_of)?.is_some() {
        store.remove(&partial).map_err(text_of)?;
    }
    let mut writer = TextWriter::create(store, &partial)?;
    writer.push(text)?;
    writer.finish(sync)?;
    store.rename(&partial, name).map_err(text_of)?;
    if !sync {
        return Ok(());
    }
    store.sync_folder(name.rsplit_once('/').map_or("", |(folder, _)| folder)).map_err(text_of)
}

/// A small file that is written in order, piece by piece, with one buffer.
pub struct TextWriter<'a> {
    store: &'a mut dyn Storage,
    handle: Handle,
    buffer: Option<IoBuffer>,
    filled: usize,
    offset: u64,
}

impl<'a> TextWriter<'a> {
    /// Makes the file, which must not be there. Nothing else may be in flight on `store`.
    pub fn create(store: &'a mut dyn Storage, name: &str) -> Result<TextWriter<'a>, String> {
        TextWriter::open(store, name, OpenMode::Create { final_bytes: 0 })
    }

    fn open(
        store: &'a mut dyn Storage,
        name: &str,
        mode: OpenMode,
    ) -> Result<TextWriter<'a>, String> {
        let opened = store.open(name, mode).map_err(text_of)?;
        Ok(TextWriter { store, handle: opened.handle, buffer: None, filled: 0, offset: 0 })
    }

    /// Appends `text`.
    pub fn push(&mut self, mut text: &[u8]) -> Result<(), String> {
        while !text.is_empty() {
            let buffer = match &mut self.buffer {
                Some(buffer) => buffer,
                None => self.buffer.insert(self.store.take_buffer().ok_or("no buffer is free")?),
            };
            let part = text.len().min(PART_BYTES - self.filled);
            buffer.as_mut_slice()[self.filled..][..part].copy_from_slice(&text[..part]);
            self.filled += part;
            text = &text[part..];
            if self.filled == PART_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let op = Op::Write { offset: self.offset, len: self.filled, buffer };
        self.store.submit(self.handle, op, 0).map_err(text_of)?;
        self.offset += self.filled as u64;
        self.filled = 0;
        if let Some(buffer) = reap_one(self.store)?.buffer {
            self.store.give_buffer(buffer);
        }
        Ok(())
    }

    /// Writes what is left, makes it durable if `sync`, and closes.
    pub fn finish(mut self, sync: bool) -> Result<(), String> {
        self.flush()?;
        if sync {
            self.store.submit(self.handle, Op::Sync, 0).map_err(text_of)?;
            reap_one(self.store)?;
        }
        self.store.close(self.handle).map_err(text_of)
    }
}

fn reap_one(store: &mut dyn Storage) -> Result<crate::storage::Completion, String> {
    let mut completions = Vec::with_capacity(1);
    store.reap(1, None, &mut completions).map_err(text_of)?;
    let completion = completions.pop().ok_or("the store reported no completion")?;
    match completion.error {
        Some(error) => Err(error.to_string()),
        None => Ok(completion),
    }
}

fn text_of(error: StorageError) -> String {
    error.to_string()
}
