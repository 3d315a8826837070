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
    /// newest of all where it has fewer than it reads. Gives the number of those among them that
    /// the run did not write, where it wrote some. `whole` must have as many as are wanted.
    pub fn pick(self, whole: &mut Vec<Whole>) -> usize {
        let wanted = self.wanted as usize;
        // Retention may have removed the first of them.
        let own = whole.len().min(self.written as usize);
        let older = if own > 0 { wanted.saturating_sub(own) } else { 0 };
        whole.drain(..whole.len() - own.max(wanted));
        whole.truncate(wanted);
        older
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions that are read where versions 1 to `last` are whole.
    fn read(last: u32, wanted: u64, written: u64) -> (Vec<u32>, usize) {
        let whole = |version| {
            let name = format!("v{version}");
            Whole { folder: name.clone(), name, checkpoint: 1, version, hosts: Vec::new() }
        };
        let mut whole: Vec<Whole> = (1..=last).map(whole).collect();
        let older = Which { wanted, written }.pick(&mut whole);
        (whole.iter().map(|found| found.version).collect(), older)
    }

    /// Bug: a run that wrote 2 beside 5 older checkpoints read the third and fourth of these back.
    #[test]
    fn a_run_reads_its_own_checkpoints_and_not_those_of_earlier_runs() {
        assert_eq!(read(7, 2, 2), (vec![6, 7], 0));
        assert_eq!(read(7, 2, 4), (vec![4, 5], 0));
        assert_eq!(read(2, 2, 2), (vec![1, 2], 0));
        // Of 9 that were written retention left 3.
        assert_eq!(read(3, 2, 9), (vec![1, 2], 0));
    }

    #[test]
    fn a_run_that_reads_more_than_it_wrote_reads_the_newest_of_others_too() {
        assert_eq!(read(7, 4, 2), (vec![4, 5, 6, 7], 2));
    }

    #[test]
    fn a_run_that_wrote_none_reads_the_newest() {
        assert_eq!(read(7, 2, 0), (vec![6, 7], 0));
        assert_eq!(read(2, 2, 0), (vec![1, 2], 0));
    }
}
