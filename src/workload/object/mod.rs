//! The object micro-benchmark: a weighted mix of operations on objects that each rank makes for
//! itself, below a marker that says whose they are; or reads alone, of objects that an earlier run
//! or somebody else made.
//!
//! A rank has one I/O thread. Its main thread meets those of the other ranks a few times a second:
//! that is how a run learns that its rate is stable, and that somebody was interrupted.

mod listed;
mod marker;
mod pool;
mod stable;
mod stock;
mod thread;

pub(super) use marker::clean;

use super::claim::Claim;
use super::crew::{Crew, with_crew};
use super::devices;
use super::phase::{Direction, PhaseClock, RankColumns, RankOutcome};
use super::place::Place;
use super::run::{Phases, end_by_root, unanimous};
use super::session::Session;
use super::ticker::{Unit, with_ticker};
use super::{partials, shared_folder};
use crate::config::{Config, Engine, Io, ObjectSource};
use crate::metrics::{Histogram, LiveCounters, LiveTotals, Summary};
use crate::plan::{ObjectOp, SizeLaw, object_block_bytes};
use crate::report::object::{ByOperation, ObjectMetrics};
use crate::report::progress::Progress;
use crate::storage::StoreSpec;
use crate::world::{IoWait, interrupted};
use pool::Pool;
use stable::{MEETINGS, Rates};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stock::Stock;
use thread::{Report, Work};

/// Ranks meet so often where they look for no stable rate.
const MEET_EVERY: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What the object benchmark does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Only make the objects, for runs that come later.
    pub prepare: bool,
    /// Objects of another run may be removed.
    pub overwrite: bool,
    pub run_id: &'a str,
}

/// Whether the settings fit the objects that are to be used; `prepare`: they are to be made.
///
/// # Errors
/// One line with the key.
pub fn check_source(config: &Config, prepare: bool) -> Result<(), String> {
    let source = config.object.source;
    if !config.workflow.object || source == ObjectSource::Own {
        return Ok(());
    }
    if config.io.engine == Engine::Null {
        return Err("object.source: null:// holds no objects; leave it out".into());
    }
    if source == ObjectSource::List && prepare {
        return Err("object.source: listed objects are only read, so there is nothing to make; \
                    give own or prepared"
            .into());
    }
    if source == ObjectSource::List && config.verify.mode.checks_content() {
        return Err("verify.mode: nobody knows what listed objects hold; give none or size".into());
    }
    Ok(())
}

/// Runs the benchmark. Collective; an error is this rank's own.
pub(super) fn run(
    session: &Session<'_>,
    asked: Asked<'_>,
    phases: &mut Phases,
) -> Result<(), String> {
    let object = &session.config.object;
    let stock = match object.source {
        _ if asked.prepare => return run_on_own(session, asked, phases),
        ObjectSource::Own => return run_on_own(session, asked, phases),
        ObjectSource::Prepared => Stock::Prepared(marker::find_prepared(session)?),
        ObjectSource::List => {
            let crew = Crew::new(1);
            let flags = (&AtomicBool::new(false), &AtomicBool::new(false));
            let spec = work_of(session, false, &crew, flags).store;
            listed::find(session, &spec, object.objects)?
        }
    };
    one_phase(session, "object", stock, &Cell::new(None), phases).map(drop)
}

fn run_on_own(
    session: &Session<'_>,
    Asked { prepare, overwrite, run_id }: Asked<'_>,
    phases: &mut Phases,
) -> Result<(), String> {
    let world = session.world;
    let claim: Cell<Option<Claim>> = Cell::new(None);
    let mut prepared = Ok(None);
    if world.is_root() && !session.is_null() {
        prepared = marker::prepare(session, overwrite, run_id);
    }
    claim.set(unanimous(world, prepared));
    check_shared(session, &claim)?;
    let object = &session.config.object;
    let mut stock = Stock::Own { rank: world.rank(), pool: Pool::new(object.objects) };
    let fills = object.prefill || prepare;
    if fills {
        stock = one_phase(session, "object_prefill", stock, &claim, phases)?;
    }
    if !phases.partial && !prepare {
        stock = one_phase(session, "object", stock, &claim, phases)?;
    }
    if session.is_null() {
        return Ok(());
    }
    let keep = object.keep || prepare;
    if keep || phases.partial {
        let is_filled = fills && !phases.partial && (prepare || object.mix.only_reads());
        if is_filled && world.is_root() {
            marker::set_filled(session)?;
        }
        session.note(&format!("the objects stay; `rankio clean {}` removes them", session.root));
    } else if let Stock::Own { pool, .. } = &stock {
        marker::remove_own(session, pool.live())?;
        world.barrier();
        if world.is_root() {
            marker::remove_marker(session)?;
        }
    }
    drop(claim.take());
    Ok(())
}

/// Ends the job where each host has a root of its own: the marker would name what is not there.
/// Collective.
fn check_shared(session: &Session<'_>, claim: &Cell<Option<Claim>>) -> Result<(), String> {
    let token = partials::token(session.run_seed);
    let shared = shared_folder::check(session.world, session.data_path.as_deref(), &token);
    let Err(message) = shared else { return Ok(()) };
    if session.world.is_root() {
        marker::remove_marker(session)?;
        drop(claim.take());
    }
    end_by_root(session.world, &format!("{message}; give a --data-dir that all hosts share"))
}

/// How a phase ended.
struct Ended {
    interrupted: bool,
    stable: bool,
}

fn one_phase(
    session: &Session<'_>,
    kind: &'static str,
    stock: Stock,
    claim: &Cell<Option<Claim>>,
    phases: &mut Phases,
) -> Result<Stock, String> {
    let world = session.world;
    let prefill = kind == "object_prefill";
    let crew = Crew::new(1);
    let (stable, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let work = work_of(session, prefill, &crew, (&stable, &done));
    let live = [LiveCounters::new()];
    let steps = AtomicU64::new(0);
    let stock = Mutex::new(Some(stock));
    let fail = |message: &str| {
        drop(claim.take());
        world.fail(message);
    };
    let open = || thread::open(&work);
    let go_on = |store, _| {
        let stock = stock.lock().ok().and_then(|mut stock| stock.take());
        thread::run(&work, store, stock.ok_or("the objects are gone")?, &live[0])
    };
    let direction = direction_of(session, prefill);
    let measured = |go: &dyn Fn()| {
        let folder = session.data_path.as_deref();
        let place = Place { folder, marker: marker::MARKER, files: None };
        let mut clock = PhaseClock::over(session, direction, place);
        clock.resume(session);
        let progress = progress(session, prefill);
        let (ended, series) = devices::recording(session, kind, || {
            with_ticker(&live, &steps, progress, || {
                crew.begin();
                let ended = meet(session, &work, &live);
                go();
                ended
            })
        });
        clock.pause(session);
        (clock, ended, series)
    };
    let ((clock, ended, series), mut reports) =
        with_crew(&crew, "object", open, go_on, &fail, measured)?;
    let report = reports.pop().ok_or("the I/O thread brought no report")?;
    phases.partial |= ended.interrupted;
    phases.series.push((kind, series));
    reduce(session, (kind, direction), clock, &report, &ended, phases);
    Ok(report.stock)
}

fn work_of<'a>(
    session: &'a Session<'_>,
    prefill: bool,
    crew: &'a Crew,
    (stable, done): (&'a AtomicBool, &'a AtomicBool),
) -> Work<'a> {
    let config = session.config;
    let block_bytes = object_block_bytes(config);
    let queue_depth = config.object.in_flight;
    let io = Io { block_size: block_bytes, queue_depth, ..config.write_io(&session.root) };
    Work {
        config: &config.object,
        law: SizeLaw::new(&config.object),
        generator: &session.generator,
        store: StoreSpec {
            root: session.root.clone(),
            io,
            object: session.object().clone(),
            rank: session.world.rank() as u32,
            buffers: queue_depth as usize,
            buffer_bytes: block_bytes as usize,
        },
        block_bytes,
        rank: session.world.rank(),
        ranks: session.world.size(),
        verify: config.verify.mode,
        verify_fraction: config.verify.sample_fraction,
        is_null: session.is_null(),
        prefill,
        crew,
        stable,
        done,
    }
}

/// Which way the bytes go that are compared with what the kernel counts.
fn direction_of(session: &Session<'_>, prefill: bool) -> Direction {
    let mix = &session.config.object.mix;
    match prefill || mix.get + mix.range == 0.0 {
        true => Direction::Write,
        false => Direction::Read,
    }
}

fn progress(session: &Session<'_>, prefill: bool) -> Option<(Progress, Unit)> {
    let object = &session.config.object;
    let (what, total) = match prefill {
        true => ("prefill", object.objects),
        false => ("operations", object.operations),
    };
    let shown = session.world.is_root() && total > 0;
    let label = session.progress_label(what);
    shown.then(|| (Progress::new(&label, total, session.quiet), Unit::Samples))
}

/// Meets the other ranks until all have done their operations. Collective.
fn meet(session: &Session<'_>, work: &Work<'_>, live: &[LiveCounters]) -> Ended {
    let autoterm = &work.config.autoterm;
    let looks = autoterm.within > 0.0 && !work.prefill;
    let every = match looks {
        true => Duration::from_secs_f64(autoterm.over_s / MEETINGS as f64),
        false => MEET_EVERY,
    };
    let mut rates = Rates::default();
    let start = Instant::now();
    let mut ended = Ended { interrupted: false, stable: false };
    let mut io = IoWait::default();
    for meeting in 1.. {
        let due = start + every * meeting;
        while Instant::now() < due && !work.done.load(Ordering::SeqCst) {
            if work.crew.stopped() {
                // This rank ends the job as soon as it has said why.
                return ended;
            }
            std::thread::sleep(LOOK_EVERY.min(due.saturating_duration_since(Instant::now())));
            // A given rate may be as low as one likes.
            if work.config.rate_per_s == 0.0 {
                io.look_or_end(0);
            }
        }
        let done = work.done.load(Ordering::SeqCst);
        let elapsed_ns = start.elapsed().as_nanos() as u64;
        let operations = LiveTotals::sum(live).samples;
        let mut words = [operations, elapsed_ns, u64::from(done), u64::from(interrupted())];
        session.world.sum(&mut words);
        ended.interrupted |= words[3] > 0;
        if words[2] == session.world.size() {
            break;
        }
        // The same sums, so the same decision on every rank.
        if looks && words[2] == 0 && rates.are_stable(words[0], words[1], autoterm.within) {
            ended.stable = true;
            work.stable.store(true, Ordering::SeqCst);
        }
    }
    ended
}

fn reduce(
    session: &Session<'_>,
    (kind, direction): (&'static str, Direction),
    clock: PhaseClock<'_>,
    report: &Report,
    ended: &Ended,
    phases: &mut Phases,
) {
    let world = session.world;
    let mut first = [report.window_ns];
    world.min(&mut first);
    let [operations, bytes] = report.timeline.until(first[0]);
    let [all, live] = report.stock.counts();
    let mut sums = vec![operations, bytes, live];
    sums.extend([report.not_started, report.made_puts, report.content_ns]);
    sums.extend([report.transferred[usize::from(direction == Direction::Write)]]);
    sums.extend(report.bytes);
    sums.push(all);
    world.sum(&mut sums);
    let mut histograms: Vec<(&'static str, &Histogram)> =
        ObjectOp::ALL.iter().map(|op| (op.name(), &report.latency[*op as usize])).collect();
    histograms.push(("first_byte", &report.first_byte));
    histograms.push(("start_delay", &report.start_delay));
    let outcome = RankOutcome {
        kind,
        window_ns: report.window_ns,
        busy_ns: report.window_ns,
        recorder: &report.recorder,
        facts: vec![report.facts.clone()],
        samples: report.latency.iter().map(Histogram::count).sum(),
        columns: RankColumns::default(),
        histograms,
        verify_mode: format!("{:?}", session.config.verify.mode).to_lowercase(),
    };
    let Some(mut reduced) = clock.finish(session, &outcome) else { return };
    let found = |name: &str| summary_of(&reduced.histograms, name);
    let is_open = kind == "object" && session.config.object.rate_per_s > 0.0;
    let mut metrics = ObjectMetrics {
        objects: sums[13],
        live_objects: sums[2],
        ended_by: ended_by(kind, report, ended).into(),
        offered_per_s: is_open.then_some(session.config.object.rate_per_s),
        not_started: sums[3],
        start_delay_ns: is_open.then(|| found("start_delay")),
        first_byte_ns: found("first_byte"),
        first_done_s: first[0] as f64 / 1e9,
        last_done_s: reduced.phase.window_s,
        made_puts: sums[4],
        content_s: sums[5] as f64 / 1e9,
        by_operation: by_operation(&reduced.histograms, &sums[7..]),
        ..Default::default()
    };
    metrics.set_rates(reduced.phase.window_s, [sums[0], sums[1]]);
    // Heads, listings and removals are what is measured here too.
    reduced.phase.rate.ops_per_s = metrics.operations_per_s;
    if let Some(proof) = &mut reduced.phase.proof {
        // What the kernel counted is of one direction.
        proof.claimed_bytes = sums[6];
    }
    reduced.phase.metrics = serde_json::to_value(metrics).expect("metrics are plain data");
    phases.reduced.push(reduced);
}

fn summary_of(histograms: &[(String, Histogram)], name: &str) -> Summary {
    let found = histograms.iter().find(|(found, _)| found == name);
    found.map(|(_, histogram)| histogram.summary()).unwrap_or_default()
}

/// The operations of which there were any; `bytes` holds those of each kind.
fn by_operation(histograms: &[(String, Histogram)], bytes: &[u64]) -> Vec<ByOperation> {
    let one = |op: &ObjectOp| {
        let latency_ns = summary_of(histograms, op.name());
        let (operation, count) = (op.name().to_string(), latency_ns.count);
        let bytes = bytes[*op as usize];
        let one = ByOperation { operation, count, bytes, latency_ns, ..Default::default() };
        (count > 0).then_some(one)
    };
    ObjectOp::ALL.iter().filter_map(one).collect()
}

fn ended_by(kind: &str, report: &Report, ended: &Ended) -> &'static str {
    match (ended.interrupted, ended.stable, report.all_begun) {
        (true, ..) => "interrupted",
        (_, true, _) => "autoterm",
        (_, _, true) => "operations",
        _ if kind == "object_prefill" => "operations",
        _ => "duration",
    }
}
