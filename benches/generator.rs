//! Generator and verifier against memset, memcpy and a bare read of memory.
//!
//! Rates are bytes per CPU second of the thread, which neighbours on the machine disturb less than
//! wall-clock rates; all cases run in turn in every round, so that a ratio is taken between
//! neighbours in time. Arguments after `cargo bench --bench generator --`: `--rounds N`, `--only
//! TEXT` (cases whose name contains it), `--machine` (tab-separated name, threads, bytes, CPU
//! nanoseconds per round, for `dgen_compare.py`).

use std::hint::black_box;

use nix::time::{ClockId, clock_gettime};
use rankio::data::{Content, ContentSettings, Generator, Simd};

/// Buffer of each thread.
const BUFFER_BYTES: usize = 32 << 20;

/// Passes over the buffer in one measurement.
const PASSES: usize = 8;

/// A row of a 189-pixel-wide RGB image with its filter byte: the short pieces that image formats
/// ask for.
const ROW_BYTES: usize = 568;

/// Where the rows begin: on no grid.
const ROW_OFFSET: u64 = 3 * 4096 + 1021;

/// What one pass does with the buffer.
type Pass<'a> = Box<dyn Fn(&mut [u8]) + Sync + 'a>;

/// One line of the table.
struct Case<'a> {
    name: String,
    /// Makes the buffer ready, untimed.
    prepare: Pass<'a>,
    run: Pass<'a>,
}

/// What the command line asks for.
struct Options {
    rounds: usize,
    only: String,
    machine: bool,
}

/// The generators under test, which the cases borrow.
struct Generators {
    keyed: Vec<Generator>,
    pcg: Generator,
    squeezed: Generator,
}

impl Generators {
    fn new() -> Self {
        let plain = ContentSettings {
            seed: 1,
            pcg: false,
            compress_ratio: 1.0,
            stamped: false,
            dedup_ratio: 1.0,
        };
        let squeezed = ContentSettings { compress_ratio: 2.0, dedup_ratio: 2.0, ..plain };
        Self {
            keyed: Simd::supported().map(|simd| Generator::with_simd(plain, simd)).collect(),
            pcg: Generator::new(ContentSettings { pcg: true, ..plain }),
            squeezed: Generator::new(squeezed),
        }
    }
}

impl<'a> Case<'a> {
    fn new(name: impl Into<String>, run: impl Fn(&mut [u8]) + Sync + 'a) -> Self {
        Self { name: name.into(), prepare: Box::new(|_| ()), run: Box::new(run) }
    }

    fn after(self, prepare: impl Fn(&mut [u8]) + Sync + 'a) -> Self {
        Self { prepare: Box::new(prepare), ..self }
    }

    /// CPU nanoseconds of the passes over one buffer.
    fn measure(&self, buffer: &mut [u8]) -> u64 {
        (self.prepare)(buffer);
        let begun = thread_cpu_ns();
        for _ in 0..PASSES {
            (self.run)(black_box(&mut *buffer));
        }
        thread_cpu_ns() - begun
    }
}

/// CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// The content that all cases make or check.
fn content(generator: &Generator) -> Content<'_> {
    generator.object(1, 0, BUFFER_BYTES as u64)
}

/// Calls `each` with the offset of every row of the buffer.
fn for_each_row(buffer: &mut [u8], mut each: impl FnMut(u64, &mut [u8])) {
    for (index, row) in buffer.chunks_mut(ROW_BYTES).enumerate() {
        each(ROW_OFFSET + (index * ROW_BYTES) as u64, row);
    }
}

/// What memory itself allows.
fn memory_cases(pool: &[u8]) -> Vec<Case<'_>> {
    vec![
        Case::new("memset", |buffer| buffer.fill(black_box(7))),
        Case::new("memcpy of a 1 MiB pool", |buffer| {
            buffer.chunks_exact_mut(pool.len()).for_each(|part| part.copy_from_slice(pool));
        }),
        Case::new("read-only sum", |buffer| {
            let words = buffer.as_chunks::<8>().0.iter();
            black_box(words.fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word))));
        }),
        Case::new("memcpy of 568 B rows", |buffer| {
            for_each_row(buffer, |offset, row| {
                let begin = offset as usize % (pool.len() - ROW_BYTES);
                row.copy_from_slice(&pool[begin..begin + row.len()]);
            });
        }),
    ]
}

/// Fill and verify of one generator, in whole and in rows.
fn content_cases<'a>(generator: &'a Generator, name: &str) -> Vec<Case<'a>> {
    let content = content(generator);
    let fill = move |buffer: &mut [u8]| content.fill(0, buffer);
    let fill_rows = move |buffer: &mut [u8]| {
        for_each_row(buffer, |offset, row| content.fill(offset, row));
    };
    let verify = move |buffer: &mut [u8]| content.verify(0, buffer).expect("just filled");
    let verify_rows = move |buffer: &mut [u8]| {
        for_each_row(buffer, |offset, row| content.verify(offset, row).expect("just filled"));
    };
    vec![
        Case::new(format!("fill {name}"), fill),
        Case::new(format!("verify {name}"), verify).after(fill),
        Case::new(format!("fill {name} 568 B rows"), fill_rows),
        Case::new(format!("verify {name} 568 B rows"), verify_rows).after(fill_rows),
    ]
}

/// All cases, baselines first.
fn all_cases<'a>(generators: &'a Generators, pool: &'a [u8]) -> Vec<Case<'a>> {
    let mut cases = memory_cases(pool);
    for generator in &generators.keyed {
        cases.extend(content_cases(generator, &format!("pool {}", generator.simd().name())));
    }
    cases.extend(content_cases(&generators.squeezed, "pool compress 2 dedup 2"));
    cases.extend(content_cases(&generators.pcg, "pcg"));
    cases
}

/// A touched buffer and where its first page begins.
fn page_aligned() -> (Vec<u8>, usize) {
    let buffer = vec![1; BUFFER_BYTES + 4096];
    let begin = buffer.as_ptr().align_offset(4096);
    (buffer, begin)
}

/// CPU nanoseconds of each of `threads` threads at once.
fn measure_on_threads(case: &Case, buffers: &mut [(Vec<u8>, usize)]) -> Vec<u64> {
    std::thread::scope(|scope| {
        let each = buffers.iter_mut().map(|(buffer, begin)| {
            let part = &mut buffer[*begin..*begin + BUFFER_BYTES];
            scope.spawn(move || case.measure(part))
        });
        let running: Vec<_> = each.collect();
        running.into_iter().map(|thread| thread.join().expect("a case does not panic")).collect()
    })
}

/// GB per CPU second of every thread, added up.
fn rate(cpu_ns: &[u64]) -> f64 {
    cpu_ns.iter().map(|ns| (BUFFER_BYTES * PASSES) as f64 / *ns as f64).sum()
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Ratios to another case, round by round, as text.
fn ratio_text(rates: &[f64], base: &[f64]) -> String {
    let (median, least, most) = spread(rates.iter().zip(base).map(|(a, b)| a / b).collect());
    format!("{median:.2} ({least:.2}-{most:.2})")
}

/// Prints one table: a line for each case.
fn print_table(cases: &[Case], rates: &[Vec<f64>], threads: usize) {
    println!("\n{threads} thread(s), GB per CPU second (sum over threads): median (range)");
    println!("{:40} {:>20} {:>20} {:>20}", "", "rate", "to memset", "to memcpy");
    for (case, rates_of_case) in cases.iter().zip(rates) {
        let (median, least, most) = spread(rates_of_case.clone());
        let rate = format!("{median:.1} ({least:.1}-{most:.1})");
        let to = |name: &str| {
            let base = cases.iter().position(|case| case.name.starts_with(name));
            base.map_or(String::new(), |base| ratio_text(rates_of_case, &rates[base]))
        };
        println!("{:40} {rate:>20} {:>20} {:>20}", case.name, to("memset"), to("memcpy of a"));
    }
}

fn options() -> Options {
    let mut options = Options { rounds: 9, only: String::new(), machine: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value().parse().expect("--rounds takes a number"),
            "--only" => options.only = value(),
            "--machine" => options.machine = true,
            "--bench" => (),
            other => panic!("unknown argument {other}: --rounds N, --only TEXT, --machine"),
        }
    }
    options
}

fn main() {
    let options = options();
    let generators = Generators::new();
    let mut pool = vec![0; 1 << 20];
    content(&generators.pcg).fill(0, &mut pool);
    let mut cases = all_cases(&generators, &pool);
    cases.retain(|case| case.name.contains(&options.only));
    for threads in if options.machine { 1..=1 } else { 1..=2 } {
        let mut buffers: Vec<_> = (0..threads).map(|_| page_aligned()).collect();
        let mut rates = vec![Vec::new(); cases.len()];
        for round in 0..=options.rounds {
            for (case, rates) in cases.iter().zip(&mut rates) {
                let cpu_ns = measure_on_threads(case, &mut buffers);
                // The first round warms caches and clocks up.
                if round == 0 {
                    continue;
                }
                if options.machine {
                    let bytes = BUFFER_BYTES * PASSES;
                    println!("{}\t{threads}\t{bytes}\t{}", case.name, cpu_ns[0]);
                }
                rates.push(rate(&cpu_ns));
            }
        }
        if !options.machine {
            print_table(&cases, &rates, threads);
        }
    }
}
