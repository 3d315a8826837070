//! The emulated accelerator: how long a step computes, and a sleep that keeps to it.
//!
//! AU divides measured compute time by wall time, so a slow timer would raise AU and lower the
//! offered load: Python's sleep of
//! 0.375 ms takes a third longer. Here the kernel sleeps towards an absolute deadline and a short
//! spin covers the rest of short steps; timer slack is 1 ns instead of 50 us.

use crate::config::Distribution;
use crate::world::interrupted;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use rand_distr::Distribution as _;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// Steps longer than this are not spun for: the wake-up error is far below a thousandth of them.
const SPIN_BELOW_NS: u64 = 50_000_000;
/// A long wait looks this often whether there is still a reason for it.
const LOOK_EVERY_NS: u64 = 250_000_000;
const SPIN_MIN_NS: u64 = 5_000;
const SPIN_MAX_NS: u64 = 150_000;

/// Monotonic clock of this rank, in nanoseconds since an arbitrary start.
#[inline]
pub fn now_ns() -> u64 {
    let time = ClockId::CLOCK_MONOTONIC.now().expect("the monotonic clock always exists");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Wall clock, nanoseconds since 1970; for stamps only, never subtracted.
pub fn unix_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|elapsed| elapsed.as_nanos() as u64).unwrap_or(0)
}

/// Lowers the timer slack of the calling thread, so that sleeps end when they should.
pub fn sharpen_timer() {
    // Refused only by old kernels; the spin then covers more.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Sleeps to deadlines.
#[derive(Debug)]
pub struct Pacer {
    spin_ns: u64,
}

impl Pacer {
    /// A pacer for the calling thread.
    pub fn new() -> Self {
        sharpen_timer();
        Pacer { spin_ns: 60_000 }
    }

    /// Waits from `start_ns` for `duration_ns`; returns the time at the end. Ends early when the
    /// run is interrupted.
    pub fn wait(&mut self, start_ns: u64, duration_ns: u64) -> u64 {
        self.wait_unless(start_ns, duration_ns, || false)
    }

    /// The same, but a long wait looks at `give_up` now and then and ends when it holds.
    pub fn wait_unless(
        &mut self,
        start_ns: u64,
        duration_ns: u64,
        give_up: impl Fn() -> bool,
    ) -> u64 {
        let deadline = start_ns.saturating_add(duration_ns);
        let spin = if duration_ns < SPIN_BELOW_NS { self.spin_ns } else { 0 };
        let wake = deadline.saturating_sub(spin);
        let mut now = now_ns();
        while wake > now {
            let next = wake.min(now + LOOK_EVERY_NS);
            sleep_until(next);
            now = now_ns();
            if next == wake {
                self.learn(now.saturating_sub(wake));
            }
            if interrupted() || give_up() {
                return now;
            }
        }
        while now < deadline && !interrupted() {
            std::hint::spin_loop();
            now = now_ns();
        }
        now
    }

    /// The spin has to cover what the kernel oversleeps: quick to grow, slow to shrink.
    fn learn(&mut self, late_ns: u64) {
        let wanted = late_ns + late_ns / 2 + SPIN_MIN_NS;
        let next = if wanted > self.spin_ns { wanted } else { (self.spin_ns * 15 + wanted) / 16 };
        self.spin_ns = next.clamp(SPIN_MIN_NS, SPIN_MAX_NS);
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self::new()
    }
}

fn sleep_until(deadline_ns: u64) {
    let deadline =
        TimeSpec::new((deadline_ns / 1_000_000_000) as i64, (deadline_ns % 1_000_000_000) as i64);
    // A signal ends the sleep; only an interruption ends the wait.
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &deadline)
        == Err(nix::errno::Errno::EINTR)
        && !interrupted()
    {}
}

/// Sleeps for `duration_ns`, or until the run is interrupted or `give_up` holds. For I/O threads:
/// signals go to the main one.
pub fn rest_unless(duration_ns: u64, give_up: impl Fn() -> bool) {
    let mut now = now_ns();
    let deadline = now.saturating_add(duration_ns);
    while now < deadline && !interrupted() && !give_up() {
        sleep_until(deadline.min(now + LOOK_EVERY_NS));
        now = now_ns();
    }
}

/// Draws durations of a [`Distribution`]; the same seed draws the same ones.
pub struct Draw {
    kind: Kind,
    random: Pcg64Mcg,
}

enum Kind {
    Constant(u64),
    Normal(rand_distr::Normal<f64>),
    Uniform(rand_distr::Uniform<f64>),
    Gamma(rand_distr::Gamma<f64>),
    Exponential(rand_distr::Exp<f64>),
    Poisson(rand_distr::Poisson<f64>),
}

impl Draw {
    /// A source for `distribution`, or a sentence about what is wrong with its parameters.
    pub fn new(distribution: &Distribution, seed: u64) -> Result<Draw, String> {
        let wrong = |what: &str| format!("{what} distribution: parameters are out of range");
        let kind = match *distribution {
            Distribution::Constant { seconds } => Kind::Constant(to_ns(seconds)),
            Distribution::Normal { mean, stdev } => {
                Kind::Normal(rand_distr::Normal::new(mean, stdev).map_err(|_| wrong("normal"))?)
            }
            Distribution::Uniform { min, max } => Kind::Uniform(
                rand_distr::Uniform::new_inclusive(min, max).map_err(|_| wrong("uniform"))?,
            ),
            Distribution::Gamma { shape, scale } => {
                Kind::Gamma(rand_distr::Gamma::new(shape, scale).map_err(|_| wrong("gamma"))?)
            }
            Distribution::Exponential { scale } => Kind::Exponential(
                rand_distr::Exp::new(1.0 / scale).map_err(|_| wrong("exponential"))?,
            ),
            Distribution::Poisson { lam } => {
                Kind::Poisson(rand_distr::Poisson::new(lam).map_err(|_| wrong("poisson"))?)
            }
        };
        Ok(Draw { kind, random: Pcg64Mcg::seed_from_u64(seed) })
    }

    /// True if every draw is zero.
    pub fn is_zero(&self) -> bool {
        matches!(self.kind, Kind::Constant(0))
    }

    /// The next duration in nanoseconds; the absolute value of the draw, as the reference takes it.
    #[inline]
    pub fn next_ns(&mut self) -> u64 {
        let random = &mut self.random;
        match &self.kind {
            Kind::Constant(ns) => *ns,
            Kind::Normal(normal) => to_ns(normal.sample(random)),
            Kind::Uniform(uniform) => to_ns(uniform.sample(random)),
            Kind::Gamma(gamma) => to_ns(gamma.sample(random)),
            Kind::Exponential(exponential) => to_ns(exponential.sample(random)),
            Kind::Poisson(poisson) => to_ns(poisson.sample(random)),
        }
    }
}

fn to_ns(seconds: f64) -> u64 {
    (seconds.abs() * 1e9).round() as u64
}

/// What the accelerators of a rank draw for one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepDraw {
    /// The longest: so long does the step last, since all meet at its end.
    pub longest_ns: u64,
    /// The mean, rounded down: what an accelerator computes, and AU counts.
    pub mean_ns: u64,
}

/// One [`Draw`] for each accelerator of a rank.
pub struct Draws {
    each: Vec<Draw>,
}

impl Draws {
    /// Sources for `distribution` with these seeds, at least one. A constant needs no more than
    /// that.
    ///
    /// # Errors
    /// As [`Draw::new`].
    pub fn new(
        distribution: &Distribution,
        seeds: impl Iterator<Item = u64>,
    ) -> Result<Draws, String> {
        let alike = matches!(distribution, Distribution::Constant { .. });
        let seeds = seeds.take(if alike { 1 } else { usize::MAX });
        let each = seeds.map(|seed| Draw::new(distribution, seed)).collect::<Result<_, _>>()?;
        Ok(Draws { each })
    }

    /// The next step. Allocates nothing.
    #[inline]
    pub fn next_step(&mut self) -> StepDraw {
        let (mut longest_ns, mut sum) = (0u64, 0u128);
        for draw in &mut self.each {
            let ns = draw.next_ns();
            longest_ns = longest_ns.max(ns);
            sum += u128::from(ns);
        }
        StepDraw { longest_ns, mean_ns: (sum / self.each.len().max(1) as u128) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(distribution: Distribution) -> f64 {
        let mut draw = Draw::new(&distribution, 7).unwrap();
        (0..20_000).map(|_| draw.next_ns() as f64).sum::<f64>() / 20_000.0 / 1e9
    }

    #[test]
    fn every_distribution_has_its_mean() {
        for (distribution, mean) in [
            (Distribution::Constant { seconds: 0.5 }, 0.5),
            (Distribution::Normal { mean: 0.5, stdev: 0.05 }, 0.5),
            (Distribution::Uniform { min: 0.2, max: 0.4 }, 0.3),
            (Distribution::Gamma { shape: 2.0, scale: 0.1 }, 0.2),
            (Distribution::Exponential { scale: 0.25 }, 0.25),
            (Distribution::Poisson { lam: 3.0 }, 3.0),
        ] {
            let found = mean_of(distribution);
            assert!((found / mean - 1.0).abs() < 0.03, "{distribution:?}: {found}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let normal = Distribution::Normal { mean: 1.0, stdev: 0.2 };
        let draws = |seed| {
            let mut draw = Draw::new(&normal, seed).unwrap();
            (0..8).map(|_| draw.next_ns()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn a_wait_never_ends_before_its_deadline() {
        let mut pacer = Pacer::new();
        for duration_ns in [0, 1_000, 100_000, 2_000_000] {
            let start = now_ns();
            assert!(pacer.wait(start, duration_ns) >= start + duration_ns);
        }
    }

    #[test]
    fn a_long_wait_ends_when_there_is_no_reason_for_it() {
        let (start, hour_ns) = (now_ns(), 3_600_000_000_000);
        let looks = std::cell::Cell::new(0);
        let third = || {
            looks.set(looks.get() + 1);
            looks.get() % 3 == 0
        };
        assert!(Pacer::new().wait_unless(start, hour_ns, third) < start + hour_ns);
        rest_unless(hour_ns, third);
        assert!(now_ns() < start + hour_ns);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        assert!(Draw::new(&Distribution::Normal { mean: 1.0, stdev: f64::NAN }, 1).is_err());
        assert!(Draw::new(&Distribution::Uniform { min: 2.0, max: 1.0 }, 1).is_err());
    }

    #[test]
    fn a_step_lasts_for_the_longest_draw_and_counts_the_mean() {
        let time = Distribution::Uniform { min: 0.001, max: 0.003 };
        let mut draws = Draws::new(&time, [5, 6, 7].into_iter()).unwrap();
        let mut apart = [5, 6, 7].map(|seed| Draw::new(&time, seed).unwrap());
        for _ in 0..100 {
            let own = apart.each_mut().map(|draw| draw.next_ns());
            let expected = StepDraw {
                longest_ns: *own.iter().max().unwrap(),
                mean_ns: own.iter().sum::<u64>() / 3,
            };
            assert_eq!(draws.next_step(), expected);
        }
        let constant = Distribution::Constant { seconds: 0.002 };
        let mut draws = Draws::new(&constant, 0..1 << 16).unwrap();
        assert_eq!(draws.next_step(), StepDraw { longest_ns: 2_000_000, mean_ns: 2_000_000 });
        assert_eq!(draws.each.len(), 1);
    }
}
