//! Writes files through one store, block by block: a buffer is filled while earlier blocks are on
//! their way. What datagen and checkpoints have in common.

use super::compute::now_ns;
use crate::metrics::{LiveCounters, Recorder};
use crate::storage::{Completion, Handle, IoBuffer, Op, OpenMode, Storage};

/// Tag of a sync; a write carries its length.
const SYNC: u64 = u64::MAX;

/// A store that is written to, and what is counted on the way. Belongs to one I/O thread.
pub struct FileWriter<'a> {
    store: Box<dyn Storage>,
    live: &'a LiveCounters,
    /// Everything that was done.
    pub recorder: Recorder,
    /// Time spent making content.
    pub fill_ns: u64,
    completions: Vec<Completion>,
    in_flight: usize,
}

impl<'a> FileWriter<'a> {
    /// Over an open store.
    pub fn new(store: Box<dyn Storage>, live: &'a LiveCounters) -> FileWriter<'a> {
        // Reads and writes, and as many syncs beside them.
        let completions = Vec::with_capacity(2 * store.queue_depth());
        let recorder = Recorder::new();
        FileWriter { store, live, recorder, fill_ns: 0, completions, in_flight: 0 }
    }

    /// The store, for everything that is done to names.
    pub fn store(&mut self) -> &mut dyn Storage {
        self.store.as_mut()
    }

    /// Makes the file `name`, which will have `bytes` (0: nobody knows). Where puts are atomic it
    /// may be there.
    pub fn create(&mut self, name: &str, bytes: u64) -> Result<Handle, String> {
        let start = now_ns();
        let mode = match self.store.puts_are_atomic() {
            true => OpenMode::Replace { final_bytes: bytes },
            false => OpenMode::Create { final_bytes: bytes },
        };
        let opened = self.store.open(name, mode).map_err(|error| error.to_string())?;
        if opened.was_asked {
            self.recorder.on_open(now_ns() - start);
        }
        Ok(opened.handle)
    }

    /// A free buffer; waits for a write to end where none is.
    pub fn free_buffer(&mut self) -> Result<IoBuffer, String> {
        loop {
            if let Some(buffer) = self.store.take_buffer() {
                return Ok(buffer);
            }
            self.reap()?;
        }
    }

    /// Fills the first `len` bytes of a free buffer by `fill`, which is told the buffer's number;
    /// the time of `fill` counts.
    pub fn filled(
        &mut self,
        len: usize,
        fill: impl FnOnce(usize, &mut [u8]),
    ) -> Result<IoBuffer, String> {
        let mut buffer = self.free_buffer()?;
        let (start, number) = (now_ns(), buffer.index() as usize);
        fill(number, &mut buffer.as_mut_slice()[..len]);
        self.fill_ns += now_ns() - start;
        Ok(buffer)
    }

    /// Starts to write the first `len` bytes of `buffer` at `offset`.
    pub fn write(
        &mut self,
        handle: Handle,
        offset: u64,
        len: usize,
        buffer: IoBuffer,
    ) -> Result<(), String> {
        self.submit(handle, Op::Write { offset, len, buffer }, len as u64)
    }

    /// Waits for all that is in flight.
    pub fn drain(&mut self) -> Result<(), String> {
        while self.in_flight > 0 {
            self.reap()?;
        }
        Ok(())
    }

    /// Waits for the writes of a file, and makes it durable.
    pub fn sync(&mut self, handle: Handle) -> Result<(), String> {
        // Before the sync, so that its latency is its own.
        self.drain()?;
        self.submit(handle, Op::Sync, SYNC)?;
        self.drain()
    }

    /// Closes a file of which nothing is in flight.
    pub fn close(&mut self, handle: Handle) -> Result<(), String> {
        self.store.close(handle).map_err(|error| error.to_string())
    }

    /// Closes a file of which nothing is in flight and that is not to appear.
    pub fn discard(&mut self, handle: Handle) -> Result<(), String> {
        self.store.discard(handle).map_err(|error| error.to_string())
    }

    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), String> {
        self.in_flight += 1;
        self.store.submit(handle, op, tag).map_err(|error| error.to_string())
    }

    fn reap(&mut self) -> Result<(), String> {
        let mut completions = std::mem::take(&mut self.completions);
        self.store.reap(1, None, &mut completions).map_err(|error| error.to_string())?;
        for completion in completions.drain(..) {
            self.complete(completion)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<(), String> {
        self.in_flight -= 1;
        if let Some(error) = completion.error {
            return Err(error.to_string());
        }
        if completion.tag == SYNC {
            self.recorder.on_sync(completion.latency_ns);
            return Ok(());
        }
        let wanted = completion.tag;
        if (completion.bytes as u64) < wanted {
            return Err(format!("a write of {wanted} bytes ended after {}", completion.bytes));
        }
        let moved = completion.transferred as u64;
        self.recorder.on_write(completion.latency_ns, wanted, moved);
        self.live.on_write(wanted);
        if let Some(buffer) = completion.buffer {
            self.store.give_buffer(buffer);
        }
        Ok(())
    }
}
