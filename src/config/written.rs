//! How a [`Distribution`] and a mean size stand in a file: as plain as their value allows.

use super::Distribution;
use serde::{Deserialize, Serialize, Serializer};

/// A distribution as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum WrittenDistribution {
    Constant(f64),
    Drawn(Drawn),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Drawn {
    Normal { mean: f64, stdev: f64 },
    Uniform { min: f64, max: f64 },
    Gamma { shape: f64, scale: f64 },
    Exponential { scale: f64 },
    Poisson { lam: f64 },
}

impl From<WrittenDistribution> for Distribution {
    fn from(written: WrittenDistribution) -> Distribution {
        match written {
            WrittenDistribution::Constant(seconds) => Distribution::Constant { seconds },
            WrittenDistribution::Drawn(drawn) => match drawn {
                Drawn::Normal { mean, stdev } => Distribution::Normal { mean, stdev },
                Drawn::Uniform { min, max } => Distribution::Uniform { min, max },
                Drawn::Gamma { shape, scale } => Distribution::Gamma { shape, scale },
                Drawn::Exponential { scale } => Distribution::Exponential { scale },
                Drawn::Poisson { lam } => Distribution::Poisson { lam },
            },
        }
    }
}

impl From<Distribution> for WrittenDistribution {
    fn from(distribution: Distribution) -> WrittenDistribution {
        WrittenDistribution::Drawn(match distribution {
            Distribution::Constant { seconds } => return WrittenDistribution::Constant(seconds),
            Distribution::Normal { mean, stdev } => Drawn::Normal { mean, stdev },
            Distribution::Uniform { min, max } => Drawn::Uniform { min, max },
            Distribution::Gamma { shape, scale } => Drawn::Gamma { shape, scale },
            Distribution::Exponential { scale } => Drawn::Exponential { scale },
            Distribution::Poisson { lam } => Drawn::Poisson { lam },
        })
    }
}

/// Writes a number without `.0` where it is whole, so that sizes read as in the original file.
pub(super) fn plain_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = *number as u64;
    if whole as f64 == *number && whole <= super::kind::COUNT_MAX {
        serializer.serialize_u64(whole)
    } else {
        serializer.serialize_f64(*number)
    }
}
