//! What a workload asks of storage when no accelerator ever waits.

use super::normal;
use crate::config::Distribution;

const GIB: f64 = (1u64 << 30) as f64;

/// Read rates at an accelerator utilization of 100 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// GiB/s of one rank with configured sample sizes.
    pub nominal_gib_per_s_per_rank: f64,
    /// GiB/s of one rank with the bytes that are read: containers included, columns that are not
    /// read left out.
    pub real_gib_per_s_per_rank: f64,
    /// GiB/s of all ranks with configured sample sizes.
    pub total_gib_per_s: f64,
}

impl Demand {
    /// Batch x bytes of a sample / mean seconds of a step; None where a step takes no time, so that
    /// the demand has no bound.
    pub fn new(
        batch: u64,
        ranks: u64,
        nominal_sample_bytes: f64,
        real_sample_bytes: f64,
        computation_time: &Distribution,
    ) -> Option<Demand> {
        let seconds = mean_seconds(computation_time);
        if !(seconds > 0.0 && seconds.is_finite()) {
            return None;
        }
        let samples_per_s = batch as f64 / seconds;
        let nominal = samples_per_s * nominal_sample_bytes / GIB;
        Some(Demand {
            nominal_gib_per_s_per_rank: nominal,
            real_gib_per_s_per_rank: samples_per_s * real_sample_bytes / GIB,
            total_gib_per_s: nominal * ranks as f64,
        })
    }
}

/// Mean of the absolute value of a draw, seconds. Exact, but for a normal distribution that reaches
/// below zero (folded): there it is the mean over 1024 strata, within 0.1 % of the integral. Gamma,
/// exponential and Poisson draws have one sign.
pub fn mean_seconds(distribution: &Distribution) -> f64 {
    match *distribution {
        Distribution::Constant { seconds } => seconds.abs(),
        Distribution::Normal { mean, stdev } => {
            let offsets = normal::strata(1024, stdev.abs(), f64::INFINITY);
            offsets.iter().map(|offset| (mean + offset).abs()).sum::<f64>() / 1024.0
        }
        Distribution::Uniform { min, max } if min * max >= 0.0 => (0.5 * (min + max)).abs(),
        // Integral of |x| from min to max over its length, for ends of opposite signs.
        Distribution::Uniform { min, max } => (min * min + max * max) / (2.0 * (max - min).abs()),
        Distribution::Gamma { shape, scale } => (shape * scale).abs(),
        Distribution::Exponential { scale } => scale.abs(),
        Distribution::Poisson { lam } => lam.abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_all_distributions() {
        let close = |distribution, expected: f64| {
            let found = mean_seconds(&distribution);
            assert!((found - expected).abs() < 1e-3 * expected, "{distribution:?}: {found}");
        };
        close(Distribution::Constant { seconds: -0.323 }, 0.323);
        close(Distribution::Normal { mean: 0.5, stdev: 0.1 }, 0.5);
        close(Distribution::Normal { mean: 0.5, stdev: 0.0 }, 0.5);
        // Folded at zero: stdev sqrt(2 / pi).
        close(Distribution::Normal { mean: 0.0, stdev: 2.0 }, 2.0 * 0.797_884_56);
        // Folded at one deviation: 1.166_630_9 (integral of |1 + z|).
        close(Distribution::Normal { mean: 1.0, stdev: 1.0 }, 1.166_630_9);
        close(Distribution::Uniform { min: 1.0, max: 2.0 }, 1.5);
        close(Distribution::Uniform { min: -2.0, max: -1.0 }, 1.5);
        close(Distribution::Uniform { min: -1.0, max: 3.0 }, 1.25);
        close(Distribution::Uniform { min: 2.0, max: 2.0 }, 2.0);
        close(Distribution::Gamma { shape: 3.0, scale: 0.5 }, 1.5);
        close(Distribution::Exponential { scale: 0.25 }, 0.25);
        close(Distribution::Poisson { lam: 2.0 }, 2.0);
    }

    #[test]
    fn no_computation_means_no_bound() {
        let zero = Distribution::Constant { seconds: 0.0 };
        assert_eq!(Demand::new(7, 8, 1e6, 1e6, &zero), None);
    }

    #[test]
    fn published_demands() {
        // GiB/s or GB/s of the published workload table.
        for (batch, bytes, seconds, gb) in [
            (7, 146_600_628.0, 0.636, 1.61),
            (7, 146_600_628.0, 0.323, 3.18),
            (7, 146_600_628.0, 0.162, 6.34),
            (400, 114_660.07, 0.435, 0.105),
            (400, 114_660.07, 0.224, 0.205),
            (1, 2_828_486.0, 0.00551, 0.513),
            (1, 2_828_486.0, 0.00350, 0.808),
            (24, 322_957.0, 0.04755, 0.163),
            (36, 322_957.0, 0.071325, 0.163),
        ] {
            let time = Distribution::Constant { seconds };
            let demand = Demand::new(batch, 3, bytes, bytes, &time).unwrap();
            let found = demand.nominal_gib_per_s_per_rank * GIB / 1e9;
            assert!((found / gb - 1.0).abs() < 0.005, "{found} {gb}");
            assert_eq!(demand.total_gib_per_s, 3.0 * demand.nominal_gib_per_s_per_rank);
        }
    }
}
