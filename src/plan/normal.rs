//! A normal distribution cut into strata, with the same bits on every machine.
//!
//! File sizes follow from these values, so two hosts with two mathematics libraries must not
//! disagree in the last place of one of them. Only operations that IEEE 754 fixes are used (add,
//! subtract, multiply, divide, square root; Rust never contracts them): the quantile is the
//! rational approximation PPND16 of algorithm AS 241 (Wichura, Applied Statistics 37, 1988;
//! relative error about 1e-16), and the logarithm that it needs in the tails is a series of our
//! own.

/// Offsets from the mean of `count` equally likely strata of a normal distribution, ascending and
/// symmetric, so their sum is exactly zero. Their population standard deviation is `stdev` and none
/// is further out than `limit`: where a normal distribution would be, the tails are cut off on both
/// sides alike and the rest widened until the deviation is `stdev` again. A `stdev` that no such
/// distribution has (above about `limit / sqrt(3)`) gives the widest, which is uniform on
/// `-limit..=limit`.
pub fn strata(count: usize, stdev: f64, limit: f64) -> Vec<f64> {
    if count < 2 || stdev <= 0.0 {
        return vec![0.0; count];
    }
    let whole = deviates(count, 0.0);
    let scale = stdev / root_mean_square(&whole);
    if scale * -whole[0] <= limit {
        return whole.into_iter().map(|z| z * scale).collect();
    }
    let cut = deviates(count, tail_for(count, stdev / limit));
    let scale = limit / -cut[0];
    cut.into_iter().map(|z| z * scale).collect()
}

/// The probability to cut off on each side so that deviation over extreme is `ratio`. The quotient
/// grows with the tail, from a whole normal distribution to a uniform one.
fn tail_for(count: usize, ratio: f64) -> f64 {
    // Closer to one half the quantiles would lose digits, and nothing is left to gain.
    let (mut low, mut high) = (0.0, 0.4999);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        let levels = deviates(count, middle);
        if root_mean_square(&levels) < ratio * -levels[0] {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Quantiles at the middle of `count` equal parts of the probability between the two tails.
fn deviates(count: usize, tail: f64) -> Vec<f64> {
    let mut levels = vec![0.0; count];
    for index in 0..count / 2 {
        let part = (index as f64 + 0.5) / count as f64;
        let z = quantile(tail + (1.0 - 2.0 * tail) * part);
        levels[index] = z;
        levels[count - 1 - index] = -z;
    }
    levels
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
}

/// The standard normal quantile for `1.4e-11 < p < 1 - 1.4e-11`: the first two regions of PPND16.
/// Strata never lie further out (the outermost of 1024 has p = 0.0005).
fn quantile(p: f64) -> f64 {
    debug_assert!(p > 1.4e-11 && p < 1.0 - 1.4e-11);
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(r, &CENTRE_NUMERATOR) / polynomial(r, &CENTRE_DENOMINATOR);
    }
    let r = (-ln(if q < 0.0 { p } else { 1.0 - p })).sqrt() - 1.6;
    let z = polynomial(r, &TAIL_NUMERATOR) / polynomial(r, &TAIL_DENOMINATOR);
    if q < 0.0 { -z } else { z }
}

fn polynomial(x: f64, coefficients: &[f64; 8]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// Natural logarithm of a positive normal number from `ln m = 2 artanh((m - 1) / (m + 1))`, to a
/// few units in the last place.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7FF) as i32 - 1023;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, k| sum * (s * s) + 1.0 / f64::from(2 * k + 1));
    2.0 * s * series + f64::from(exponent) * std::f64::consts::LN_2
}

const CENTRE_NUMERATOR: [f64; 8] = [
    3.3871328727963665,
    133.14166789178438,
    1971.5909503065513,
    13731.69376550946,
    45921.95393154987,
    67265.7709270087,
    33430.57558358813,
    2509.0809287301227,
];
const CENTRE_DENOMINATOR: [f64; 8] = [
    1.0,
    42.31333070160091,
    687.1870074920579,
    5394.196021424751,
    21213.794301586597,
    39307.89580009271,
    28729.085735721943,
    5226.495278852854,
];
const TAIL_NUMERATOR: [f64; 8] = [
    1.4234371107496835,
    4.630337846156546,
    5.769497221460691,
    3.6478483247632045,
    1.2704582524523684,
    0.2417807251774506,
    0.022723844989269184,
    0.0007745450142783414,
];
const TAIL_DENOMINATOR: [f64; 8] = [
    1.0,
    2.053191626637759,
    1.6763848301838038,
    0.6897673349851,
    0.14810397642748008,
    0.015198666563616457,
    0.0005475938084995345,
    1.0507500716444169e-09,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_agree_with_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.25, -0.674_489_750_196_081_7),
            (0.975, 1.959_963_984_540_054),
            (0.995, 2.575_829_303_548_900_4),
            (0.9995, 3.290_526_731_491_926),
            (0.000_1, -3.719_016_485_455_68),
        ] {
            assert!((quantile(p) - z).abs() < 1e-13 * (1.0 + z.abs()), "{p}: {}", quantile(p));
        }
    }

    #[test]
    fn logarithm_agrees_with_the_library() {
        for k in 1..2000 {
            let x = f64::from(k) / 1999.0;
            assert!((ln(x) - x.ln()).abs() <= 1e-15 * (1.0 + x.ln().abs()), "{x}");
        }
    }

    #[test]
    fn a_cut_distribution_keeps_deviation_and_limit() {
        // unet3d: the plain distribution would reach below zero.
        let mean = 146_600_628.0;
        let limit = mean * 63.0 / 64.0;
        let offsets = strata(1024, 68_341_808.0, limit);
        assert!((root_mean_square(&offsets) / 68_341_808.0 - 1.0).abs() < 1e-9);
        assert!((offsets[0] + limit).abs() < 1e-6);
    }

    #[test]
    fn an_impossible_deviation_gives_the_uniform_one() {
        let offsets = strata(1024, 10.0, 1.0);
        let step = offsets[1] - offsets[0];
        assert!(offsets.windows(2).all(|w| ((w[1] - w[0]) / step - 1.0).abs() < 1e-6));
        assert_eq!(offsets[1023], 1.0);
    }

    proptest! {
        #[test]
        fn strata_are_symmetric_and_exact(
            count in 2usize..200, stdev in 0.01f64..0.5, limit in 1.0f64..4.0,
        ) {
            let offsets = strata(count, stdev, limit);
            prop_assert_eq!(offsets.len(), count);
            prop_assert!(offsets.windows(2).all(|w| w[0] < w[1]));
            prop_assert!((0..count).all(|j| offsets[j] == -offsets[count - 1 - j]));
            prop_assert!(-offsets[0] <= limit * (1.0 + 1e-12));
            prop_assert!((root_mean_square(&offsets) / stdev - 1.0).abs() < 1e-6);
        }
    }
}
