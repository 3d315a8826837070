//! What the page cache had to do with the epochs of a training: their state when they began, the
//! means without those that began in the cache, and whether buffered reads can count as storage.

use super::official::Spread;
use super::result::{EpochBlock, Phase, TrainingMetrics};
use serde::{Deserialize, Serialize};

/// Share of sampled pages that may be resident: single pages of headers prove nothing.
pub const RESIDENCY_TOLERANCE: f64 = 0.01;
/// Bytes that the kernel may fetch beyond those asked for. Above that, pages that were read ahead
/// may have answered for storage unseen.
const FETCH_TOLERANCE: f64 = 0.10;
const FETCH_SLACK_BYTES: u64 = 4 << 20;
/// Bytes that the kernel must have fetched of those asked for.
const FETCHED_SHARE: f64 = 0.99;
/// Epochs that a sentence names.
const EPOCHS_NAMED: usize = 12;

/// The page cache when an epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum CacheState {
    /// At most 1 % of the sampled pages were resident.
    Cold,
    /// More were.
    Cached,
    /// It cannot be seen: no files, or the kernel does not tell.
    #[default]
    Unknown,
}

impl CacheState {
    /// Of a share of resident pages.
    pub fn of(resident: Option<f64>) -> CacheState {
        match resident {
            None => CacheState::Unknown,
            Some(share) if share > RESIDENCY_TOLERANCE => CacheState::Cached,
            Some(_) => CacheState::Cold,
        }
    }
}

impl TrainingMetrics {
    /// Fills the means over uncached epochs from the lists by epoch. `direct`: O_DIRECT held for
    /// all files.
    pub fn set_uncached(&mut self, direct: bool) {
        let counts = |block: &EpochBlock| match block.cache_before {
            CacheState::Cold => true,
            CacheState::Cached => false,
            CacheState::Unknown => direct,
        };
        let of = |values: &[f64]| -> Vec<f64> {
            let epochs = values.iter().zip(&self.blocks);
            epochs.filter(|(_, block)| counts(block)).map(|(value, _)| *value).collect()
        };
        let (au, samples) = (of(&self.au_percent_per_epoch), of(&self.samples_per_s_per_epoch));
        let mean = |values: &[f64]| (!values.is_empty()).then(|| Spread::of(values).mean);
        self.uncached_epochs = au.len() as u64;
        self.au_percent_mean_uncached = mean(&au);
        self.samples_per_s_mean_uncached = mean(&samples);
    }

    /// Epochs in `state`, as `2, 3 and 5`; None if there is none.
    fn epochs_in(&self, state: CacheState) -> Option<String> {
        let found = self.blocks.iter().filter(|block| block.cache_before == state);
        let numbers: Vec<String> = found.map(|block| block.epoch.to_string()).collect();
        let (last, before) = numbers.split_last()?;
        Some(match before {
            [] => last.clone(),
            _ if before.len() < EPOCHS_NAMED => format!("{} and {last}", before.join(", ")),
            _ => format!(
                "{} and {} more",
                before[..EPOCHS_NAMED].join(", "),
                numbers.len() - EPOCHS_NAMED
            ),
        })
    }
}

/// Names the epochs of a phase that began in the page cache, and gives the means without them; a
/// sentence without its full stop.
pub fn cached_epochs(phase: &Phase) -> Option<String> {
    let metrics = phase.training()?;
    let epochs = metrics.epochs_in(CacheState::Cached)?;
    let most = metrics.blocks.iter().filter_map(|block| block.resident_before).fold(0.0, f64::max);
    let failed = match metrics.cache.empties() {
        true => format!(" although io.cache is {}", metrics.cache.name()),
        false => String::new(),
    };
    let without = match (metrics.au_percent_mean_uncached, metrics.samples_per_s_mean_uncached) {
        (Some(au), Some(samples)) => format!(
            "without such epochs ({} of {}) AU {au:.2} %, {samples:.2} samples/s",
            metrics.uncached_epochs, metrics.epochs
        ),
        _ => "no epoch was without".into(),
    };
    Some(format!(
        "{}: epoch {epochs} of {} began with up to {:.1} % of the sampled pages in the page \
         cache{failed}; the means are over all epochs, {without}",
        phase.name,
        metrics.epochs,
        100.0 * most
    ))
}

/// Whether buffered reads were storage's: every epoch began with an empty cache, and the kernel
/// fetched as many bytes as were asked for and hardly more.
///
/// # Errors
/// Why they may not have been, as the second half of a sentence.
pub fn emptied(phase: &Phase) -> Result<String, String> {
    match phase.kind.as_str() {
        "checkpoint_save" => return Err("the page cache takes what is written".into()),
        "checkpoint_restore" => {
            return Err(
                "io.cache empties the page cache for a training only (--between may do so \
                        before checkpoints are read)"
                    .into(),
            );
        }
        _ => {}
    }
    let metrics = phase.training().filter(|metrics| metrics.cache.empties());
    let Some(metrics) = metrics else { return Err("nothing emptied the page cache".into()) };
    let cache = metrics.cache.name();
    for (state, what) in [
        (CacheState::Cached, "found it filled"),
        (CacheState::Unknown, "began with what cannot be seen of it"),
    ] {
        if let Some(epochs) = metrics.epochs_in(state) {
            return Err(format!("io.cache is {cache}, but epoch {epochs} {what}"));
        }
    }
    let proof = phase.proof.as_ref();
    let Some(fetched) = proof.and_then(|proof| proof.process_io_bytes) else {
        return Err(format!("io.cache is {cache}, but the kernel does not count what it fetched"));
    };
    let asked = phase.bytes.transferred;
    let most = asked as f64 * (1.0 + FETCH_TOLERANCE) + FETCH_SLACK_BYTES as f64;
    if (fetched as f64) < asked as f64 * FETCHED_SHARE || fetched as f64 > most {
        return Err(format!(
            "io.cache is {cache}, but the kernel fetched {fetched} bytes for {asked} that were read"
        ));
    }
    Ok(format!(
        "{}: read through the page cache, which was empty when each epoch began (io.cache \
         {cache}); the kernel fetched {fetched} bytes for {asked} that were read.",
        phase.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CacheMode;

    fn metrics(states: &[CacheState]) -> TrainingMetrics {
        let block = |(index, state): (usize, &CacheState)| EpochBlock {
            epoch: index as u64 + 1,
            cache_before: *state,
            ..EpochBlock::default()
        };
        let values = |factor: f64| (1..=states.len()).map(|n| factor * n as f64).collect();
        TrainingMetrics {
            epochs: states.len() as u64,
            cache: CacheMode::Keep,
            au_percent_per_epoch: values(10.0),
            samples_per_s_per_epoch: values(100.0),
            blocks: states.iter().enumerate().map(block).collect(),
            ..TrainingMetrics::default()
        }
    }

    #[test]
    fn means_without_cached_epochs_are_over_the_others_alone() {
        use CacheState::{Cached, Cold, Unknown};
        let mut some = metrics(&[Cold, Cached, Cold, Unknown]);
        some.set_uncached(false);
        assert_eq!(some.uncached_epochs, 2);
        assert_eq!(some.au_percent_mean_uncached, Some(20.0));
        assert_eq!(some.samples_per_s_mean_uncached, Some(200.0));
        // With O_DIRECT in force nobody has to look.
        some.set_uncached(true);
        assert_eq!((some.uncached_epochs, some.au_percent_mean_uncached), (3, Some(80.0 / 3.0)));
        let mut none = metrics(&[Cached, Cached]);
        none.set_uncached(true);
        assert_eq!((none.uncached_epochs, none.au_percent_mean_uncached), (0, None));
    }

    #[test]
    fn the_state_turns_at_one_percent() {
        assert_eq!(CacheState::of(Some(0.01)), CacheState::Cold);
        assert_eq!(CacheState::of(Some(0.0101)), CacheState::Cached);
        assert_eq!(CacheState::of(None), CacheState::Unknown);
    }

    #[test]
    fn epochs_are_named_up_to_a_dozen() {
        use CacheState::{Cached, Cold};
        let named = |states: &[CacheState]| metrics(states).epochs_in(Cached);
        assert_eq!(named(&[Cold]), None);
        assert_eq!(named(&[Cold, Cached]).unwrap(), "2");
        assert_eq!(named(&[Cached, Cold, Cached, Cached]).unwrap(), "1, 3 and 4");
        let many = named(&[Cached; 40]).unwrap();
        assert!(many.ends_with("11, 12 and 28 more"), "{many}");
    }
}
