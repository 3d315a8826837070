//! The training loop: one rank is one accelerator that waits for a batch, computes, and meets the
//! others at a barrier; or it is several in lock-step (`train.accelerators_per_rank`), which wait
//! for all their batches and compute together, for as long as the slowest of them.
//!
//! Three times are kept apart for every step: load (wait for the batch), compute (the sleep as it
//! was) and barrier. The official formulas take load and compute; the barrier lowers AU there
//! without being named, here it has its own bucket. Epoch figures are reduced at once, so a rank
//! never holds more than the step lists of one epoch.

use super::checkpoint::Saves;
use super::compute::{Draws, Pacer, StepDraw, now_ns, unix_ns};
use super::reader::{Control, EpochTask, ReadJob};
use super::session::Session;
use crate::metrics::Histogram;
use crate::report::dlio::BlockLog;
use crate::report::official::{self, EpochSums, EpochValue, Rules, RunFigures, Variant};
use crate::world::{Doing, Milestone, interrupted, look, set_milestone};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Time histograms of a step loop.
#[derive(Default)]
pub struct StepTimes {
    /// Wait for the batch.
    pub load: Histogram,
    /// Measured compute sleep.
    pub compute: Histogram,
    /// Wait in the step barrier.
    pub barrier: Histogram,
    /// How far the sleep missed the configured time.
    pub error: Histogram,
    /// Compute time that was asked for.
    pub configured_ns: u64,
    /// Compute time that passed.
    pub computed_ns: u64,
    /// Barrier time that no rank's load and configured compute explain.
    pub barrier_lost_ns: u64,
    /// Time for which this thread waited for a CPU; None: the kernel does not count that.
    pub cpu_wait_ns: Option<u64>,
    /// CPU time of this process, of the blocks alone.
    pub cpu_s: f64,
}

/// What is read of this process before and after a block.
struct Usage {
    cpu_s: f64,
    cpu_wait_ns: Option<u64>,
}

impl Usage {
    fn now() -> Usage {
        Usage { cpu_s: crate::host::cpu_seconds(), cpu_wait_ns: crate::host::thread_cpu_wait_ns() }
    }
}

/// A step loop over one epoch or one evaluation.
pub struct StepLoop<'a, 's> {
    /// The run.
    pub session: &'a Session<'a>,
    /// Shared with the I/O threads.
    pub control: &'a Control,
    /// Its epoch, or the one that it evaluates.
    pub epoch: u64,
    /// Barrier after each step (training) or not (evaluation).
    pub step_barrier: bool,
    /// Steps done, for the progress line.
    pub steps_done: &'a AtomicU64,
    /// Checkpoints that may be written beside the steps.
    pub saves: Option<&'a mut Saves<'s>>,
}

/// What ranks tell each other in a step's barrier, beside what they loaded and were to compute; the
/// largest is heard by all.
const FLUSHING: u64 = 1;
const STOP: u64 = 2;

impl StepLoop<'_, '_> {
    /// Runs the steps `part` of an epoch as one block; the lists of `log` are filled in place. The
    /// I/O threads begin with the first part and end with the last. True: the run was interrupted.
    pub fn block(
        &mut self,
        (task, part): (&EpochTask, Range<u64>),
        compute: &mut Draws,
        pacer: &mut Pacer,
        times: &mut StepTimes,
        log: &mut BlockLog,
    ) -> Result<bool, String> {
        let (world, control) = (self.session.world, self.control);
        make_room(log, (part.end - part.start) as usize);
        set_milestone(self.place("the start of the training", "the start of the evaluation"));
        world.barrier();
        log.start_unix_ns = unix_ns();
        let (usage, block_start) = (Usage::now(), now_ns());
        if part.start == 0 {
            control.begin(*task);
        }
        let mut stopped = false;
        let alarm = self.saves.as_ref().and_then(|saves| saves.alarm());
        let gives_up = || {
            look(Doing::Computation);
            control.failed() || alarm.as_ref().is_some_and(|alarm| alarm.load(Ordering::Relaxed))
        };
        for step in part.clone() {
            let start = now_ns();
            self.tell_step(step);
            if !control.wait_batch(step)? {
                // Interrupted: the others meet us at this step's barrier and learn of it.
                if self.step_barrier {
                    world.step_barrier([STOP, 0]);
                }
                stopped = true;
                break;
            }
            let loaded = now_ns();
            control.consume(step, task);
            let wanted = compute.next_step();
            // A long step must not hide that an I/O thread failed meanwhile.
            let computed = pacer.wait_unless(loaded, wanted.longest_ns, gives_up);
            control.check()?;
            // The end of the mean accelerator's own compute; it waits for the longest.
            let own = computed - (wanted.longest_ns - wanted.mean_ns).min(computed - loaded);
            let words = [self.flag()?, loaded - start + wanted.longest_ns];
            let [heard, due_ns] = if self.step_barrier { world.step_barrier(words) } else { words };
            let met = now_ns();
            let parts = [loaded - start, own - loaded, met - own];
            times.step(parts);
            if self.is_judged(step, &part, heard) {
                times.lose(parts[2], due_ns - (loaded - start + wanted.mean_ns));
            }
            times.sleep(wanted, computed - loaded, own - loaded);
            push_step(log, parts, task.step_samples(step));
            self.steps_done.fetch_add(1, Ordering::Relaxed);
            if heard == STOP {
                stopped = true;
                break;
            }
            self.beside(step, parts, heard)?;
        }
        log.duration_s = (now_ns() - block_start) as f64 / 1e9;
        times.used(&usage, &Usage::now());
        log.end_unix_ns = unix_ns();
        if stopped || part.end == task.steps {
            control.end(stopped)?;
        }
        let mut flag = [u64::from(stopped)];
        set_milestone(self.place("the end of the training", "the end of the evaluation"));
        world.max(&mut flag);
        Ok(flag[0] != 0)
    }

    #[inline]
    fn tell_step(&self, step: u64) {
        if self.step_barrier {
            set_milestone(Milestone::Step { step: step + 1, epoch: self.epoch });
        }
    }

    fn place(&self, of_training: &'static str, of_evaluation: &'static str) -> Milestone {
        Milestone::Epoch(if self.step_barrier { of_training } else { of_evaluation }, self.epoch)
    }

    /// The barrier of this step tells what is lost. The first step of a block begins behind a
    /// barrier whose waits may be longer, and one that was stopped was not done by all.
    #[inline]
    fn is_judged(&self, step: u64, part: &Range<u64>, heard: u64) -> bool {
        self.step_barrier && step > part.start && heard != STOP
    }

    /// What this rank says in the barrier of a step.
    fn flag(&mut self) -> Result<u64, String> {
        let flushing = match &mut self.saves {
            Some(saves) => saves.is_flushing()?,
            None => false,
        };
        Ok(match (interrupted(), flushing) {
            (true, _) => STOP,
            (false, true) => FLUSHING,
            (false, false) => 0,
        })
    }

    /// Tells a step to the checkpoints beside it. The first ones of an epoch, whose waits belong to
    /// the start of the readers, are left out as they are of AU.
    fn beside(&mut self, step: u64, parts: [u64; 3], heard: u64) -> Result<(), String> {
        let Some(saves) = &mut self.saves else { return Ok(()) };
        let counts = step >= self.session.config.output.metric.exclude_start_steps;
        saves.on_step(counts.then_some(parts), heard == 0)
    }
}

/// Empties the lists and gives them room for so many steps: before the clock starts, so that they
/// do not grow inside the window.
fn make_room(log: &mut BlockLog, steps: usize) {
    log.clear();
    for list in [&mut log.load_s, &mut log.compute_s, &mut log.barrier_s] {
        list.reserve(steps);
    }
    log.samples.reserve(steps);
}

#[inline]
fn push_step(log: &mut BlockLog, [load_ns, compute_ns, barrier_ns]: [u64; 3], samples: u64) {
    log.load_s.push(load_ns as f64 / 1e9);
    log.compute_s.push(compute_ns as f64 / 1e9);
    log.barrier_s.push(barrier_ns as f64 / 1e9);
    log.samples.push(samples);
}

impl StepTimes {
    #[inline]
    fn step(&mut self, [load_ns, compute_ns, barrier_ns]: [u64; 3]) {
        self.load.record(load_ns);
        self.compute.record(compute_ns);
        self.barrier.record(barrier_ns);
    }

    /// A barrier that lasted for `barrier_ns`: so long as is explained by what the slowest rank
    /// loaded and was to compute, and longer.
    #[inline]
    fn lose(&mut self, barrier_ns: u64, explained_ns: u64) {
        self.barrier_lost_ns += barrier_ns.saturating_sub(explained_ns);
    }

    /// What a block cost this process.
    fn used(&mut self, before: &Usage, after: &Usage) {
        self.cpu_s += after.cpu_s - before.cpu_s;
        if let (Some(before), Some(after)) = (before.cpu_wait_ns, after.cpu_wait_ns) {
            *self.cpu_wait_ns.get_or_insert(0) += after.saturating_sub(before);
        }
    }

    /// A sleep that was to last for the longest draw, and what the mean accelerator had of it.
    #[inline]
    fn sleep(&mut self, wanted: StepDraw, slept_ns: u64, own_ns: u64) {
        self.error.record(slept_ns.abs_diff(wanted.longest_ns));
        self.configured_ns += wanted.mean_ns;
        self.computed_ns += own_ns;
    }
}

/// Official figures of one epoch on this rank, and the honest ones beside them.
#[derive(Debug, Clone, Copy, Default)]
pub struct EpochFigures {
    /// Official (v3).
    pub official: EpochValue,
    /// Samples per second by the v2 formula.
    pub v2: EpochValue,
    /// Throughput over all steps and the whole block: v1.0, and every evaluation.
    pub v1: EpochValue,
    /// Nothing excluded.
    pub whole: EpochValue,
}

impl EpochFigures {
    /// An epoch of several blocks, each weighted by its steps.
    pub fn of_blocks(blocks: &[EpochFigures]) -> EpochFigures {
        if let [only] = blocks {
            // As it is: weighting and dividing again may change the last digit.
            return *only;
        }
        let by = |figure: fn(&EpochFigures) -> EpochValue| {
            let values: Vec<EpochValue> = blocks.iter().map(figure).collect();
            official::epoch_value(&values)
        };
        EpochFigures {
            official: by(|block| block.official),
            v2: by(|block| block.v2),
            v1: by(|block| block.v1),
            whole: by(|block| block.whole),
        }
    }
}

/// Figures of a block by all formulas.
pub fn figures(session: &Session<'_>, log: &BlockLog, steps: u64) -> EpochFigures {
    let window = &session.config.output.metric;
    let rules = |variant| Rules {
        variant,
        exclude_start_steps: window.exclude_start_steps,
        exclude_end_steps: window.exclude_end_steps,
        expected_steps: steps,
    };
    EpochFigures {
        official: official::block_value(log, &rules(Variant::V3)),
        v2: official::block_value(log, &rules(Variant::V2)),
        v1: official::block_value(log, &rules(Variant::V1)),
        whole: official::whole_value(log),
    }
}

/// Figures of all epochs so far, summed over ranks.
#[derive(Debug, Default)]
pub struct EpochTable {
    official: Vec<EpochSums>,
    v2: Vec<EpochSums>,
    whole: Vec<EpochSums>,
}

impl EpochTable {
    /// Adds an epoch; the official figures of an evaluation (`!training`) exclude no step from
    /// throughput. Collective.
    pub fn add(&mut self, session: &Session<'_>, figures: &EpochFigures, training: bool) {
        let official = if training { &figures.official } else { &figures.v1 };
        for (list, value) in [
            (&mut self.official, official),
            (&mut self.v2, &figures.v2),
            (&mut self.whole, &figures.whole),
        ] {
            let mut sums = EpochSums::of(value).to_array();
            session.world.sum_f64(&mut sums);
            list.push(EpochSums::from_array(sums));
        }
    }

    /// By the official formula.
    pub fn official(&self) -> RunFigures {
        RunFigures::new(&self.official)
    }

    /// By the v2 formula.
    pub fn v2(&self) -> RunFigures {
        RunFigures::new(&self.v2)
    }

    /// With nothing excluded.
    pub fn whole(&self) -> RunFigures {
        RunFigures::new(&self.whole)
    }
}

/// The tasks of one epoch.
pub fn task_of(
    session: &Session<'_>,
    job: &ReadJob<'_>,
    order: crate::plan::EpochOrder,
    batch: u64,
) -> EpochTask {
    let nominal = crate::plan::nominal_sample_bytes(&session.config.dataset) as u64;
    let unit = super::reader::unit_samples(job.block_bytes, nominal, batch);
    let accelerators = session.plan.accelerators_per_rank();
    let first = session.world.rank() * accelerators;
    EpochTask { order, first, accelerators, steps: order.steps(), batch, unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: 32 ranks on 2 CPUs lost 18 % of the time in barriers, and nothing told it from waiting
    /// for the data of a slow rank.
    #[test]
    fn a_barrier_is_lost_only_beyond_what_load_and_compute_explain() {
        let mut times = StepTimes::default();
        // The slowest rank loads for 30 more, and this one waits for it.
        times.lose(30, 30);
        assert_eq!(times.barrier_lost_ns, 0);
        times.lose(50, 30);
        // A rank that itself came late waits less than was to be expected.
        times.lose(10, 30);
        assert_eq!(times.barrier_lost_ns, 20);
    }

    #[test]
    fn what_the_kernel_does_not_count_is_not_zero() {
        let usage = |cpu_s, cpu_wait_ns| Usage { cpu_s, cpu_wait_ns };
        let mut times = StepTimes::default();
        times.used(&usage(1.0, None), &usage(1.5, None));
        assert_eq!((times.cpu_s, times.cpu_wait_ns), (0.5, None));
        times.used(&usage(2.0, Some(10)), &usage(2.5, Some(40)));
        times.used(&usage(3.0, Some(50)), &usage(3.5, Some(60)));
        assert_eq!((times.cpu_s, times.cpu_wait_ns), (1.5, Some(40)));
    }
}
