//! Who reads which sample when, in one epoch: a function of (rank, step, slot), never a list.
//!
//! Native mode deals *samples*: every rank owns one contiguous share of the epoch's order, so that
//! files of many samples are read in long runs, and all ranks have the same number of steps by
//! construction. Reference mode deals *files*, position p of the order to rank p modulo ranks, and
//! drops what is left over, as DLIO does; TFRecord files it deals twice ([`Twice`]). A cap on steps
//! shortens every rank's share from its end and moves nothing else.

use super::SampleId;
use super::permutation::Permutation;

/// The order that an epoch goes through.
#[derive(Debug, Clone, Copy)]
pub enum Arrangement {
    /// By file, then by sample.
    Identity,
    /// Files permuted, samples of a file in order.
    Files(Permutation),
    /// All samples of all files permuted.
    Samples(Permutation),
}

/// How the order is dealt to ranks.
#[derive(Debug, Clone, Copy)]
enum Shares {
    /// Rank r owns `base` positions (one more if `r < longer`) behind those of the ranks before it.
    Contiguous { base: u64, longer: u64 },
    /// Rank r owns the files at positions r, r + ranks, ..., `files` of them.
    Strided { files: u64 },
    /// The files of `Strided`, dealt to the ranks once more. `samples` of each rank.
    Twice { files: Twice, samples: u64 },
}

/// How DLIO's TensorFlow reader takes TFRecord files: from the files that a rank was dealt it takes
/// every `ranks`th, from rank r on; where they are fewer than ranks, every `ranks`th sample. It
/// goes through these again and again, in whole batches.
#[derive(Debug, Clone, Copy)]
struct Twice {
    /// Files that a rank was dealt.
    dealt: u64,
}

impl Twice {
    /// Samples of `rank` until it begins anew.
    fn pass(self, rank: u64, dealing: &Dealing) -> u64 {
        let Dealing { samples_per_file, ranks, batch, .. } = *dealing;
        let every = |all: u64| all.saturating_sub(rank).div_ceil(ranks);
        let samples = match self.dealt >= ranks {
            true => every(self.dealt) * samples_per_file,
            false => every(self.dealt * samples_per_file),
        };
        samples / batch * batch
    }

    /// File among those that `rank` was dealt, and sample in it, at `position` of a pass.
    fn at(self, rank: u64, position: u64, dealing: &Dealing) -> (u64, u64) {
        let Dealing { samples_per_file, ranks, .. } = *dealing;
        if self.dealt >= ranks {
            let (nth, sample) = (position / samples_per_file, position % samples_per_file);
            return (rank + nth * ranks, sample);
        }
        let sample = rank + position * ranks;
        (sample / samples_per_file, sample % samples_per_file)
    }
}

/// The dealing of one dataset to one world; the same for every epoch.
#[derive(Debug, Clone, Copy)]
pub struct Dealing {
    samples_per_file: u64,
    ranks: u64,
    batch: u64,
    steps: u64,
    shares: Shares,
}

impl Dealing {
    /// Contiguous shares of `files * samples_per_file` samples. `drop_last`: whole batches on all
    /// ranks, the rest is not read. Otherwise every sample is read, and in the last step a batch
    /// may be short or empty. The product and all numbers must be positive and fit 64 bits.
    pub fn native(
        files: u64,
        samples_per_file: u64,
        ranks: u64,
        batch: u64,
        drop_last: bool,
    ) -> Dealing {
        let samples = files * samples_per_file;
        let (steps, base, longer) = if drop_last {
            let steps = samples / ranks / batch;
            (steps, steps * batch, 0)
        } else {
            (samples.div_ceil(ranks).div_ceil(batch), samples / ranks, samples % ranks)
        };
        let shares = Shares::Contiguous { base, longer };
        Dealing { samples_per_file, ranks, batch, steps, shares }
    }

    /// DLIO's: the same number of whole files for each rank, and whole batches.
    pub fn reference(files: u64, samples_per_file: u64, ranks: u64, batch: u64) -> Dealing {
        let files = files / ranks;
        let steps = files * samples_per_file / batch;
        Dealing { samples_per_file, ranks, batch, steps, shares: Shares::Strided { files } }
    }

    /// DLIO's for TFRecord files under TensorFlow, see [`Twice`]. The steps are those of the
    /// samples that a rank was dealt at first, rounded up where files are not `shuffled`, and at
    /// most `epochs` times those that its reader counts.
    pub fn tfrecord(
        (files, samples_per_file): (u64, u64),
        ranks: u64,
        batch: u64,
        (shuffled, epochs): (bool, u64),
    ) -> Dealing {
        let twice = Twice { dealt: files / ranks };
        let samples = twice.dealt * samples_per_file;
        let steps = if shuffled { samples / batch } else { samples.div_ceil(batch) };
        let counted = samples / ranks.saturating_mul(batch);
        let steps = steps.min(counted.saturating_mul(epochs));
        let shares = Shares::Twice { files: twice, samples: steps.saturating_mul(batch) };
        let dealing = Dealing { samples_per_file, ranks, batch, steps, shares };
        // The last rank has least.
        match twice.pass(ranks - 1, &dealing) {
            0 => dealing.cap(0),
            _ => dealing,
        }
    }

    /// At most `steps` steps.
    pub fn cap(self, steps: u64) -> Dealing {
        Dealing { steps: self.steps.min(steps), ..self }
    }

    /// Steps of an epoch, equal on all ranks.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Samples that all ranks together read in an epoch.
    pub fn samples(&self) -> u64 {
        let most = self.steps.saturating_mul(self.batch);
        match self.shares {
            Shares::Contiguous { base, longer } => {
                (self.ranks - longer) * base.min(most) + longer * (base + 1).min(most)
            }
            Shares::Strided { files } => self.ranks * (files * self.samples_per_file).min(most),
            Shares::Twice { samples, .. } => self.ranks.saturating_mul(samples.min(most)),
        }
    }

    /// The epoch that goes through the dataset as `arrangement` says.
    pub fn epoch(self, arrangement: Arrangement) -> EpochOrder {
        EpochOrder { dealing: self, arrangement }
    }

    /// Positions of `rank` before the cap.
    fn share(&self, rank: u64) -> u64 {
        match self.shares {
            Shares::Contiguous { base, longer } => base + u64::from(rank < longer),
            Shares::Strided { files } => files * self.samples_per_file,
            Shares::Twice { samples, .. } => samples,
        }
    }
}

/// Who reads what in one epoch: a function from (rank, step, slot) to samples. None is read twice,
/// but for TFRecord files in reference mode. Copies are cheap (200 bytes).
#[derive(Debug, Clone, Copy)]
pub struct EpochOrder {
    dealing: Dealing,
    arrangement: Arrangement,
}

impl EpochOrder {
    /// Steps of the epoch, equal on all ranks.
    pub fn steps(&self) -> u64 {
        self.dealing.steps
    }

    /// Samples that all ranks together read in the epoch.
    pub fn samples(&self) -> u64 {
        self.dealing.samples()
    }

    /// Samples of `rank` in `step`: the batch size; less, down to none, in the last step where
    /// `io.drop_last` is off.
    pub fn batch_len(&self, rank: u64, step: u64) -> u64 {
        debug_assert!(rank < self.dealing.ranks && step < self.dealing.steps);
        let before = step * self.dealing.batch;
        self.dealing.share(rank).saturating_sub(before).min(self.dealing.batch)
    }

    /// The sample in `slot` (below [`EpochOrder::batch_len`]) of `rank`'s batch in `step`. Constant
    /// time, allocates nothing.
    #[inline]
    pub fn sample(&self, rank: u64, step: u64, slot: u64) -> SampleId {
        debug_assert!(slot < self.batch_len(rank, step));
        self.at(rank, step * self.dealing.batch + slot)
    }

    /// Samples of a full batch.
    pub fn batch(&self) -> u64 {
        self.dealing.batch
    }

    /// Samples of `rank` in the epoch, all its batches one after the other.
    pub fn positions(&self, rank: u64) -> u64 {
        self.dealing.share(rank).min(self.dealing.steps.saturating_mul(self.dealing.batch))
    }

    /// The sample at `local`, below [`EpochOrder::positions`], of `rank`: batch `local / batch`,
    /// slot `local % batch`. Constant time, allocates nothing.
    #[inline]
    pub fn at(&self, rank: u64, local: u64) -> SampleId {
        debug_assert!(local < self.positions(rank));
        let Dealing { samples_per_file, ranks, shares, .. } = self.dealing;
        let (place, sample) = match shares {
            Shares::Contiguous { base, longer } => {
                let position = rank * base + rank.min(longer) + local;
                let position = match &self.arrangement {
                    Arrangement::Samples(permutation) => permutation.apply(position),
                    _ => position,
                };
                (position / samples_per_file, position % samples_per_file)
            }
            Shares::Strided { .. } => {
                (rank + local / samples_per_file * ranks, local % samples_per_file)
            }
            Shares::Twice { files, .. } => {
                let position = local % files.pass(rank, &self.dealing);
                let (file, sample) = files.at(rank, position, &self.dealing);
                (rank + file * ranks, sample)
            }
        };
        let file = match &self.arrangement {
            Arrangement::Files(permutation) => permutation.apply(place),
            _ => place,
        };
        SampleId { file, sample }
    }

    /// How many slots from `slot` on (at most to the end of the batch) are consecutive samples of
    /// one file. At least 1. Where samples are shuffled it is 1: neighbours that meet by chance are
    /// read one by one, as by a loader that shuffles. Constant time.
    #[inline]
    pub fn run_length(&self, rank: u64, step: u64, slot: u64) -> u64 {
        let local = step * self.dealing.batch + slot;
        self.run_at(rank, local).min(self.batch_len(rank, step) - slot)
    }

    /// The same from position `local` on, to the end of the rank's positions instead of the batch.
    #[inline]
    pub fn run_at(&self, rank: u64, local: u64) -> u64 {
        let spf = self.dealing.samples_per_file;
        if spf == 1 || matches!(self.arrangement, Arrangement::Samples(_)) {
            return 1;
        }
        let in_file = match self.dealing.shares {
            Shares::Contiguous { base, longer } => (rank * base + rank.min(longer) + local) % spf,
            Shares::Strided { .. } => local % spf,
            Shares::Twice { files, .. } if files.dealt < self.dealing.ranks => return 1,
            Shares::Twice { files, .. } => {
                let pass = files.pass(rank, &self.dealing);
                let position = local % pass;
                let left = (pass - position).min(self.positions(rank) - local);
                return (spf - position % spf).min(left);
            }
        };
        (spf - in_file).min(self.positions(rank) - local)
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
