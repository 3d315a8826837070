//! The ceiling of the client on this machine: the same read pipeline against the null store, and
//! the generator's speed.
//!
//! All ranks measure at the same time, since they share CPUs in the run too.

use super::compute::now_ns;
use super::reader::{Control, EpochTask, ReadJob, with_readers};
use super::session::Session;
use super::train_phase::{live_counters, read_job};
use super::training::task_of;
use crate::config::{Distribution, VerifyMode};
use crate::data::Generator;
use crate::metrics::LiveTotals;
use crate::report::result::Calibration;

const GIB: f64 = (1u64 << 30) as f64;
const LIMIT_NS: u64 = 200_000_000;
const SAMPLE_BYTES: usize = 8 << 20;
const SAMPLE_ROUNDS: u32 = 4;

/// Measures the ceilings; mean over ranks. Collective; an error is this rank's own.
pub fn run(session: &Session<'_>) -> Result<Calibration, String> {
    let mut store = session.read_store();
    store.root = "null://".into();
    store.io.delay = None;
    store.io.fault.clear();
    let base = read_job(session, &session.plan.train, true);
    let job = ReadJob {
        store,
        // The null store has no file to ask, so the places are the plan's.
        own: true,
        decode: false,
        verify: VerifyMode::None,
        generator: None,
        preprocess: Distribution::Constant { seconds: 0.0 },
        ..base
    };
    let live = live_counters(job.threads);
    let control = Control::new(&job, session.config.reader.batch_size);
    session.world.barrier();
    let (elapsed_ns, _) =
        with_readers(&job, &control, &live, || null_epochs(session, &job, &control))?;
    let totals = LiveTotals::sum(&live);
    let (fill, verify) = generator_speed(&session.generator, SAMPLE_BYTES);
    let seconds = elapsed_ns as f64 / 1e9;
    let mut sums =
        [totals.operations as f64 / seconds, totals.bytes() as f64 / GIB / seconds, fill, verify];
    session.world.sum_f64(&mut sums);
    let mean = sums.map(|sum| sum / session.world.size() as f64);
    Ok(Calibration {
        null_store_requests_per_s_per_rank: mean[0],
        null_store_gib_per_s_per_rank: mean[1],
        generator_gib_per_s_per_thread: mean[2],
        verifier_gib_per_s_per_thread: mean[3],
        ..Calibration::default()
    })
}

/// Takes batches as fast as they come, over as many epochs as fit into the limit.
fn null_epochs(session: &Session<'_>, job: &ReadJob<'_>, control: &Control) -> Result<u64, String> {
    let start = now_ns();
    for epoch in 1.. {
        let order = session.plan.train_order(epoch, session.run_seed);
        let task: EpochTask = task_of(session, job, order, session.config.reader.batch_size);
        control.begin(task);
        for step in 0..task.steps {
            if !control.wait_batch(step)? {
                // Interrupted: samples of this batch are still on their way, so its place is not
                // free.
                break;
            }
            control.consume(step, &task);
            if now_ns() - start > LIMIT_NS {
                break;
            }
        }
        let over = now_ns() - start > LIMIT_NS || crate::world::interrupted();
        control.end(over)?;
        if over {
            break;
        }
    }
    Ok(now_ns() - start)
}

/// Generator and verifier, GiB/s of one thread.
pub fn generator_speed(generator: &Generator, sample_bytes: usize) -> (f64, f64) {
    let content = generator.object(0, 0, sample_bytes as u64);
    let mut bytes = vec![0u8; sample_bytes];
    let rate = |elapsed_ns: u64| {
        sample_bytes as f64 * f64::from(SAMPLE_ROUNDS) / GIB / (elapsed_ns as f64 / 1e9)
    };
    content.fill(0, &mut bytes);
    let start = now_ns();
    for _ in 0..SAMPLE_ROUNDS {
        content.fill(0, std::hint::black_box(&mut bytes));
    }
    let filled = now_ns();
    for _ in 0..SAMPLE_ROUNDS {
        let verdict = content.verify(0, std::hint::black_box(&bytes));
        assert!(verdict.is_ok(), "the verifier accepts what the generator made");
    }
    (rate(filled - start), rate(now_ns() - filled))
}
