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

/// What ranks tell each other in a step's barrier; the largest is heard by all.
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
        log.clear();
        make_room(log, (part.end - part.start) as usize);
        set_milestone(self.place("the start of the training", "the start of the evaluation"));
        world.barrier();
        log.start_unix_ns = unix_ns();
        let block_start = now_ns();
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
                    world.step_barrier(STOP);
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
            let flag = self.flag()?;
            let heard = if self.step_barrier { world.step_barrier(flag) } else { flag };
            let met = now_ns();
            let parts = [loaded - start, own - loaded, met - own];
            times.step(parts);
            times.sleep(wanted, computed - loaded, own - loaded);
            log.load_s.push((loaded - start) as f64 / 1e9);
            log.compute_s.push((own - loaded) as f64 / 1e9);
            log.barrier_s.push((met - own) as f64 / 1e9);
            log.samples.push(task.step_samples(step));
            self.steps_done.fetch_add(1, Ordering::Relaxed);
            if heard == STOP {
                stopped = true;
                break;
            }
            self.beside(step, parts, heard)?;
        }
        log.duration_s = (now_ns() - block_start) as f64 / 1e9;
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

/// Before the clock starts, so that the lists do not grow inside the window.
fn make_room(log: &mut BlockLog, steps: usize) {
    for list in [&mut log.load_s, &mut log.compute_s, &mut log.barrier_s] {
        list.reserve(steps);
    }
    log.samples.reserve(steps);
}

impl StepTimes {
    #[inline]
    fn step(&mut self, [load_ns, compute_ns, barrier_ns]: [u64; 3]) {
        self.load.record(load_ns);
        self.compute.record(compute_ns);
        self.barrier.record(barrier_ns);
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
