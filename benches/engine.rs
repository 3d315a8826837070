//! How fast one store instance moves bytes, on one machine-readable line. Plain harness: criterion
//! measures functions, this measures a device through an engine for a given time.
//!
//! `cargo bench --bench engine -- --path FILE --pattern randread --block 4k --depth 32`
//!
//! `--path` may be a folder: a file of 1 GiB of zeros is made in it once. `--path null://` measures
//! the client alone. `benches/fio_pairs.py` runs it in alternating pairs with fio.

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rankio::config::{Engine, Io};
use rankio::storage::{Completion, Handle, IoBuffer, Op, OpenMode, Storage, StoreSpec, connect};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of the file that is made in a folder.
const MADE_BYTES: u64 = 1 << 30;
/// Operations between two looks at the clock.
const CLOCK_EVERY: u64 = 64;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pattern {
    Randread,
    Read,
    Write,
}

#[derive(Parser, Debug)]
struct Options {
    /// File to read, or a folder in which one is made.
    #[arg(long)]
    path: String,
    #[arg(long, default_value = "randread")]
    pattern: Pattern,
    /// Bytes of a request; k and m are binary.
    #[arg(long, default_value = "4k", value_parser = parse_bytes)]
    block: usize,
    #[arg(long, default_value_t = 32)]
    depth: usize,
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Entries handed to the kernel at once.
    #[arg(long, default_value_t = 1)]
    batch: u64,
    /// auto, uring, sync, mmap or null.
    #[arg(long, default_value = "uring")]
    engine: String,
    #[arg(long)]
    buffered: bool,
    /// 4 KiB pages instead of huge ones.
    #[arg(long)]
    small_pages: bool,
    /// No registered buffers and files.
    #[arg(long)]
    plain: bool,
    /// Completions to wait for in one call.
    #[arg(long, default_value_t = 1)]
    reap: usize,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match lower.strip_suffix('k') {
        Some(digits) => (digits, 1 << 10),
        None => lower.strip_suffix('m').map_or((lower.as_str(), 1), |digits| (digits, 1 << 20)),
    };
    digits.parse::<usize>().map(|n| n * unit).map_err(|e| format!("{text}: {e}"))
}

/// Where the next request goes.
struct Offsets {
    blocks: u64,
    block: u64,
    next: u64,
    random: bool,
    state: u64,
}

impl Offsets {
    fn next(&mut self) -> u64 {
        if self.random {
            // xorshift64*: a few ns, and good enough to spread requests.
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let draw = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D);
            return ((u128::from(draw) * u128::from(self.blocks)) >> 64) as u64 * self.block;
        }
        let at = self.next;
        self.next = if at + 1 == self.blocks { 0 } else { at + 1 };
        at * self.block
    }
}

/// Totals of a run.
struct Tally {
    ops: u64,
    bytes: u64,
    latency: Histogram<u64>,
}

fn cpu_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage of this process");
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

/// Makes `name` with zeros through the store; zero pages take no memory on zram.
fn make_file(store: &mut dyn Storage, name: &str, block: usize) {
    let created = store.open(name, OpenMode::Create { final_bytes: MADE_BYTES });
    let handle = created.expect("create the file").handle;
    let mut out: Vec<Completion> = Vec::new();
    let mut offset = 0;
    loop {
        while offset < MADE_BYTES
            && let Some(mut buffer) = store.take_buffer()
        {
            buffer.as_mut_slice().fill(0);
            let len = (MADE_BYTES - offset).min(block as u64) as usize;
            store.submit(handle, Op::Write { offset, len, buffer }, 0).expect("write");
            offset += len as u64;
        }
        if store.reap(1, None, &mut out).expect("reap") == 0 {
            break;
        }
        for completion in out.drain(..) {
            assert!(completion.error.is_none(), "{:?}", completion.error);
            completion.buffer.into_iter().for_each(|b| store.give_buffer(b));
        }
    }
    store.submit(handle, Op::Sync, 0).expect("sync");
    store.reap(1, None, &mut out).expect("sync");
    store.close(handle).expect("close");
}

/// Opens the file of a pattern; gives its handle and the bytes to go over.
fn open(store: &mut dyn Storage, name: &str, pattern: Pattern) -> (Handle, u64) {
    if matches!(pattern, Pattern::Write) {
        let target = format!("{name}.write");
        store.remove(&target).ok();
        let created = store.open(&target, OpenMode::Create { final_bytes: MADE_BYTES });
        return (created.expect("create").handle, MADE_BYTES);
    }
    let opened = store.open(name, OpenMode::Read { expected_bytes: MADE_BYTES }).expect("open");
    (opened.handle, opened.size_bytes)
}

/// Totals, window in seconds, and CPU time in microseconds of a timed run.
fn run(store: &mut dyn Storage, name: &str, options: &Options) -> (Tally, f64, i64) {
    let write = matches!(options.pattern, Pattern::Write);
    let (handle, size) = open(store, name, options.pattern);
    let block = options.block;
    let mut offsets = Offsets {
        blocks: (size / block as u64).max(1),
        block: block as u64,
        next: 0,
        random: matches!(options.pattern, Pattern::Randread),
        state: 0x9E37_79B9_7F4A_7C15,
    };
    let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
    let mut tally = Tally { ops: 0, bytes: 0, latency };
    let mut out = Vec::with_capacity(2 * options.depth);
    let mut submit = |store: &mut dyn Storage, buffer| {
        let offset = offsets.next();
        let op = if write {
            Op::Write { offset, len: block, buffer }
        } else {
            Op::Read { offset, len: block, buffer }
        };
        store.submit(handle, op, 0).expect("submit");
    };
    let limit = Duration::from_secs_f64(options.seconds);
    let (start, cpu_start) = (Instant::now(), cpu_us());
    let mut running = true;
    let mut check = CLOCK_EVERY;
    refill(store, &mut submit, options.batch, &mut out);
    while !out.is_empty() || store.reap(options.reap, None, &mut out).expect("reap") > 0 {
        for completion in out.drain(..) {
            assert!(completion.error.is_none(), "{:?}", completion.error);
            tally.ops += 1;
            tally.bytes += completion.bytes as u64;
            tally.latency.saturating_record(completion.latency_ns.max(1));
            let buffer = completion.buffer.expect("reads and writes bring their buffer back");
            store.give_buffer(buffer);
        }
        if running {
            refill(store, &mut submit, options.batch, &mut out);
        }
        if tally.ops >= check {
            running = start.elapsed() < limit;
            check = tally.ops + CLOCK_EVERY;
        }
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_us() - cpu_start);
    store.close(handle).expect("close");
    if write {
        store.remove(&format!("{name}.write")).ok();
    }
    (tally, seconds, cpu)
}

/// Keeps the queue full, and looks for completions after each batch: where the target completes at
/// once, the same warm buffer goes out again.
fn refill(
    store: &mut dyn Storage,
    submit: &mut impl FnMut(&mut dyn Storage, IoBuffer),
    batch: u64,
    out: &mut Vec<Completion>,
) {
    let mut submitted = 0;
    while let Some(buffer) = store.take_buffer() {
        submit(store, buffer);
        submitted += 1;
        if submitted == batch && store.reap(0, None, out).expect("reap") > 0 {
            return;
        }
        submitted %= batch;
    }
}

fn main() {
    let options = Options::parse();
    let _ = options.bench;
    let null = options.path == "null://";
    let path = Path::new(&options.path);
    let (root, name) = if null || path.is_dir() {
        (options.path.clone(), "engine-bench.dat".to_string())
    } else {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let name = path.file_name().expect("--path names a file").to_string_lossy().into_owned();
        (parent.unwrap_or(Path::new(".")).display().to_string(), name)
    };
    let engine = match options.engine.as_str() {
        "auto" => Engine::Auto,
        "sync" => Engine::Sync,
        "mmap" => Engine::Mmap,
        "null" => Engine::Null,
        _ => Engine::Uring,
    };
    let io = Io {
        engine,
        direct: !options.buffered,
        submit_batch: options.batch,
        registered: !options.plain,
        huge_pages: !options.small_pages,
        ..Io::default()
    };
    let spec = StoreSpec {
        root,
        io,
        object: Default::default(),
        rank: 0,
        buffers: options.depth,
        buffer_bytes: options.block,
    };
    let mut store = connect(&spec).expect("connect");
    if !null && store.stat(&name).expect("stat").is_none() {
        let mut maker = connect(&StoreSpec { buffers: 8, buffer_bytes: 1 << 20, ..spec.clone() })
            .expect("connect");
        make_file(maker.as_mut(), &name, 1 << 20);
    }
    let (tally, seconds, cpu) = run(store.as_mut(), &name, &options);
    let facts = store.facts();
    println!(
        "{{\"pattern\":\"{:?}\",\"block\":{},\"depth\":{},\"batch\":{},\"iops\":{:.0},\
         \"gb_per_s\":{:.4},\"cpu_us_per_io\":{:.4},\"p50_us\":{:.1},\"p99_us\":{:.1},\
         \"facts\":{}}}",
        options.pattern,
        options.block,
        options.depth,
        options.batch,
        tally.ops as f64 / seconds,
        tally.bytes as f64 / seconds / 1e9,
        cpu as f64 / tally.ops.max(1) as f64,
        tally.latency.value_at_quantile(0.5) as f64 / 1e3,
        tally.latency.value_at_quantile(0.99) as f64 / 1e3,
        serde_json::to_string(&facts).expect("facts are plain data"),
    );
}
