//! Writes checkpoints while the training goes on: a snapshot of this rank's shard in memory, and
//! threads with stores of their own that write it to storage.
//!
//! The threads, their stores and the memory are there before the training begins, and serve every
//! checkpoint. They know nothing of other ranks: the main thread looks whether they are done.

use super::write_shards::{Manner, WriteReport, write_blocks};
use super::{Shard, content_of};
use crate::config::units::format_bytes_iec;
use crate::data::Generator;
use crate::format::{Bytes, Filler};
use crate::host::thread_cpu_seconds;
use crate::metrics::{LiveCounters, LiveTotals};
use crate::storage::{StoreFacts, StoreSpec, SyncKind, connect};
use crate::workload::compute::now_ns;
use crate::workload::file_writer::FileWriter;
use crate::world::{IoWait, interrupted};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How often a wait for the threads looks whether one of them is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Parts of the memory that snapshot threads fill begin at multiples of this, as content does.
const PART_BYTES: usize = 4096;

/// What the threads need for as long as they live.
#[derive(Clone)]
pub struct FlushJob {
    /// How to reach the store.
    pub store: StoreSpec,
    /// Bytes of a write.
    pub block_bytes: u64,
    /// How a file is made durable; None: not at all.
    pub sync: Option<SyncKind>,
}

/// A rank's shard in memory.
struct Image {
    memory: Vec<u8>,
    /// Name, length and place in memory of each file, in the order in which they are written.
    files: Vec<(String, u64, usize)>,
}

/// A snapshot on its way to storage.
struct Order {
    image: Arc<Image>,
    /// Folder below the root.
    folder: String,
    /// Next file to be claimed.
    cursor: AtomicUsize,
}

/// What a thread brings home of a checkpoint.
pub struct FlushReport {
    /// What it wrote.
    pub wrote: WriteReport,
    /// Monotonic time when it ended.
    pub end_ns: u64,
    /// CPU time that it took, seconds.
    pub cpu_s: f64,
}

/// None: its store is open.
type Message = Result<Option<FlushReport>, String>;

/// The snapshot and the threads that write it.
pub struct Background {
    image: Arc<Image>,
    orders: Vec<SyncSender<Arc<Order>>>,
    messages: Receiver<Message>,
    reports: Vec<FlushReport>,
    /// What each thread has done so far.
    live: Vec<Arc<LiveCounters>>,
    /// A thread failed: the others stop, and the job ends.
    alarm: Arc<AtomicBool>,
    flushing: bool,
}

impl Background {
    /// Allocates and touches memory for `files`, and starts `threads` threads that open their
    /// stores.
    ///
    /// # Errors
    /// One line: too little memory, a thread that cannot be started, a store that cannot be opened.
    pub fn new(files: &[Shard], job: &FlushJob, threads: usize) -> Result<Background, String> {
        let image = Arc::new(Image::new(files)?);
        let (sender, messages) = sync_channel(threads);
        let mut orders = Vec::with_capacity(threads);
        let alarm = Arc::new(AtomicBool::new(false));
        let mut live = Vec::with_capacity(threads);
        for index in 0..threads {
            let (order, work) = sync_channel(1);
            let (job, sender, alarm) = (job.clone(), sender.clone(), alarm.clone());
            let counters = Arc::new(LiveCounters::new());
            live.push(counters.clone());
            std::thread::Builder::new()
                .name(format!("flush-{index}"))
                .spawn(move || serve(&job, &counters, (&work, &sender), &alarm))
                .map_err(|error| format!("cannot start I/O thread {index}: {error}; use fewer"))?;
            orders.push(order);
        }
        let background = Background {
            image,
            orders,
            messages,
            reports: Vec::with_capacity(threads),
            live,
            alarm,
            flushing: false,
        };
        for _ in 0..threads {
            background.receive()?;
        }
        Ok(background)
    }

    /// Bytes of the snapshot.
    pub fn bytes(&self) -> u64 {
        self.image.memory.len() as u64
    }

    /// Fills the memory with this version of `files`, which nobody reads now.
    pub fn snapshot(&mut self, files: &[Shard], generator: &Generator, version: u32) {
        let threads = self.orders.len();
        let image = Arc::get_mut(&mut self.image).expect("the threads gave the snapshot back");
        image.fill(files, generator, version, threads);
    }

    /// Lets the threads write the snapshot into `folder`.
    pub fn flush(&mut self, folder: String) {
        let order = Order { image: self.image.clone(), folder, cursor: AtomicUsize::new(0) };
        let order = Arc::new(order);
        self.reports.clear();
        self.flushing = true;
        for thread in &self.orders {
            // A thread that is gone has said why, which the next look finds.
            let _ = thread.send(order.clone());
        }
    }

    /// Set once a thread failed.
    pub fn alarm(&self) -> &Arc<AtomicBool> {
        &self.alarm
    }

    /// True while threads write.
    ///
    /// # Errors
    /// The failure of a thread.
    pub fn under_way(&mut self) -> Result<bool, String> {
        while self.is_awaited() {
            match self.messages.try_recv() {
                Ok(message) => self.reports.extend(message?),
                Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Waits for the threads.
    ///
    /// # Errors
    /// The failure of a thread.
    pub fn wait(&mut self) -> Result<Vec<FlushReport>, String> {
        while self.is_awaited() {
            let report = self.receive()?;
            self.reports.extend(report);
        }
        self.flushing = false;
        Ok(std::mem::take(&mut self.reports))
    }

    fn is_awaited(&self) -> bool {
        self.flushing && self.reports.len() < self.orders.len()
    }

    fn receive(&self) -> Message {
        let mut io = IoWait::default();
        loop {
            match self.messages.recv_timeout(LOOK_EVERY) {
                Ok(message) => return message,
                Err(RecvTimeoutError::Timeout) => {
                    io.look(LiveTotals::sum(self.live.iter().map(Arc::as_ref)).operations)?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("an I/O thread ended without a word".into());
                }
            }
        }
    }
}

impl Image {
    fn new(files: &[Shard]) -> Result<Image, String> {
        let mut places = Vec::with_capacity(files.len());
        let mut bytes = 0usize;
        for Shard { file, .. } in files {
            places.push((file.name.clone(), file.bytes, bytes));
            bytes += file.bytes as usize;
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(bytes).map_err(|_| {
            format!(
                "checkpoint.async: this host does not give the {} of a snapshot; use more hosts, \
                 or set it to False",
                format_bytes_iec(bytes as u64)
            )
        })?;
        // Not zero: every page is there before the training begins.
        memory.resize(bytes, 1);
        Ok(Image { memory, files: places })
    }

    fn fill(&mut self, files: &[Shard], generator: &Generator, version: u32, threads: usize) {
        let part = self.memory.len().div_ceil(threads.max(1)).next_multiple_of(PART_BYTES);
        let places = &self.files;
        std::thread::scope(|scope| {
            for (index, memory) in self.memory.chunks_mut(part.max(PART_BYTES)).enumerate() {
                scope.spawn(move || {
                    fill_part(index * part, memory, (files, places), generator, version);
                });
            }
        });
        for (shard, (_, _, start)) in files.iter().zip(&self.files) {
            let content = content_of(generator, &shard.file, version);
            let header = header_bytes(shard);
            let memory = &mut self.memory[*start..*start + header];
            Filler::new(shard.layout.as_ref(), content).fill(memory);
        }
    }
}

/// Puts the content of all files into `memory`, which begins at `from` of the snapshot.
fn fill_part(
    from: usize,
    memory: &mut [u8],
    (files, places): (&[Shard], &[(String, u64, usize)]),
    generator: &Generator,
    version: u32,
) {
    let end = from + memory.len();
    for (shard, (_, bytes, start)) in files.iter().zip(places) {
        let (first, last) = ((*start).max(from), (start + *bytes as usize).min(end));
        if first < last {
            let content = content_of(generator, &shard.file, version);
            content.fill((first - start) as u64, &mut memory[first - from..last - from]);
        }
    }
}

/// What lies before the content of a file: its layouts have structure at the front only.
pub fn header_bytes(shard: &Shard) -> usize {
    let mut header = 0;
    while header < shard.file.bytes {
        let segment = shard.layout.segment_at(header);
        if matches!(segment.bytes, Bytes::Content) {
            break;
        }
        header = segment.start + segment.len;
    }
    header as usize
}

/// A thread's life: a store, then one snapshot after the other until there will be no more.
fn serve(
    job: &FlushJob,
    live: &LiveCounters,
    (orders, messages): (&Receiver<Arc<Order>>, &SyncSender<Message>),
    alarm: &AtomicBool,
) {
    let mut store = match connect(&job.store) {
        Ok(store) => store,
        Err(error) => {
            // Where nobody listens the job is ending.
            let _ = messages.send(Err(error.to_string()));
            return;
        }
    };
    store.set_sync(job.sync.unwrap_or_default());
    let mut out = FileWriter::new(store, live);
    let (mut told, mut before) = (messages.send(Ok(None)), StoreFacts::default());
    while let (Ok(()), Ok(order)) = (&told, orders.recv()) {
        let mut report = flush(job, &mut out, &order, alarm);
        match &mut report {
            // The store counts them over its whole life.
            Ok(FlushReport { wrote, .. }) => {
                let all = wrote.facts.clone();
                wrote.facts.leave_out(&before);
                before = all;
            }
            Err(_) => alarm.store(true, Ordering::SeqCst),
        }
        // Before the word is out: who hears it fills the snapshot again.
        drop(order);
        told = messages.send(report.map(Some));
    }
}

/// Writes files of a snapshot until none is left.
fn flush(
    job: &FlushJob,
    out: &mut FileWriter<'_>,
    order: &Order,
    alarm: &AtomicBool,
) -> Result<FlushReport, String> {
    let (start, cpu_s) = (now_ns(), thread_cpu_seconds());
    let manner = Manner { block_bytes: job.block_bytes, synced: job.sync.is_some() };
    let stopping = || alarm.load(Ordering::Relaxed) || interrupted();
    let (mut files, mut written, mut sync_ns, mut metadata_ns) = (0, 0, 0, 0);
    let image = &order.image;
    while let Some((name, bytes, place)) =
        image.files.get(order.cursor.fetch_add(1, Ordering::Relaxed))
    {
        let file = &image.memory[*place..place + *bytes as usize];
        let mut copy = |offset: u64, _: usize, block: &mut [u8]| {
            block.copy_from_slice(&file[offset as usize..offset as usize + block.len()]);
        };
        let name = format!("{}/{name}", order.folder);
        let Some(times) = write_blocks(out, (&name, *bytes), &manner, &stopping, &mut copy)? else {
            break;
        };
        files += 1;
        written += bytes;
        sync_ns += times.sync_ns;
        metadata_ns += times.metadata_ns;
    }
    let end_ns = now_ns();
    let wrote = WriteReport {
        recorder: std::mem::take(&mut out.recorder),
        facts: out.store().facts(),
        files,
        bytes: written,
        fill_ns: std::mem::take(&mut out.fill_ns),
        sync_ns,
        metadata_ns,
        total_ns: end_ns - start,
    };
    Ok(FlushReport { wrote, end_ns, cpu_s: thread_cpu_seconds() - cpu_s })
}
