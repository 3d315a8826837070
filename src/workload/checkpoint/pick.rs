//! Which of the whole checkpoints in a root a run reads.

use super::folder::Whole;

/// What a run wants of the whole checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// So many are read.
    pub wanted: u64,
    /// So many the run wrote before without a training, so they are the newest; 0: the newest are
    /// read, as a job does that starts again.
    pub written: u64,
}

impl Which {
    /// Leaves of `whole`, which is oldest first, what is read: the oldest of the run's own, or the
    /// newest of all. `whole` must have as many as are wanted.
    pub fn pick(self, whole: &mut Vec<Whole>) {
        let wanted = self.wanted as usize;
        // Retention may have removed the first of them.
        let own = whole.len().min(self.written as usize);
        whole.drain(..whole.len() - own.max(wanted));
        whole.truncate(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions that are read where versions 1 to `last` are whole.
    fn read(last: u32, wanted: u64, written: u64) -> Vec<u32> {
        let whole = |version| {
            let name = format!("v{version}");
            Whole {
                folder: name.clone(),
                name,
                checkpoint: 1,
                version,
                hosts: Vec::new(),
                committed_unix_ns: None,
            }
        };
        let mut whole: Vec<Whole> = (1..=last).map(whole).collect();
        Which { wanted, written }.pick(&mut whole);
        whole.iter().map(|found| found.version).collect()
    }

    /// Bug: a run that wrote 2 beside 5 older checkpoints read the third and fourth of these back.
    #[test]
    fn a_run_reads_its_own_checkpoints_and_not_those_of_earlier_runs() {
        assert_eq!(read(7, 2, 2), [6, 7]);
        assert_eq!(read(7, 2, 4), [4, 5]);
        assert_eq!(read(2, 2, 2), [1, 2]);
        // Of 9 that were written retention left 3.
        assert_eq!(read(3, 2, 9), [1, 2]);
    }

    #[test]
    fn a_run_that_wrote_none_reads_the_newest() {
        assert_eq!(read(7, 2, 0), [6, 7]);
        assert_eq!(read(2, 2, 0), [1, 2]);
    }
}
