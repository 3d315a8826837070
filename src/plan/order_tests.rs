//! Properties of epoch orders, checked by walking whole small epochs.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

/// Every read of the epoch, rank by rank; checks batch and run lengths on the way.
fn walk(order: &EpochOrder, ranks: u64, batch: u64) -> Vec<SampleId> {
    let mut seen = Vec::new();
    for rank in 0..ranks {
        for step in 0..order.steps() {
            let len = order.batch_len(rank, step);
            assert!(len <= batch);
            assert!(len == batch || step + 1 == order.steps(), "short before the last step");
            let mut slot = 0;
            while slot < len {
                let run = order.run_length(rank, step, slot);
                assert!(run >= 1 && slot + run <= len);
                let first = order.sample(rank, step, slot);
                for ahead in 0..run {
                    let expected = SampleId { sample: first.sample + ahead, ..first };
                    assert_eq!(order.sample(rank, step, slot + ahead), expected);
                    assert_eq!(order.run_length(rank, step, slot + ahead), run - ahead);
                    seen.push(expected);
                }
                slot += run;
                let shuffled = matches!(order.arrangement, Arrangement::Samples(_));
                if slot < len && !shuffled {
                    let next = order.sample(rank, step, slot);
                    let follows = SampleId { sample: first.sample + run, ..first };
                    assert_ne!(next, follows, "the run could have been longer");
                }
            }
        }
    }
    seen
}

fn arrangement(choice: u8, files: u64, samples: u64, key: u64) -> Arrangement {
    match choice % 3 {
        0 => Arrangement::Identity,
        1 => Arrangement::Files(Permutation::new(files, key)),
        _ => Arrangement::Samples(Permutation::new(samples, key)),
    }
}

proptest! {
    #[test]
    fn native_epochs_read_each_sample_once(
        files in 1u64..50, spf in 1u64..8, ranks in 1u64..10, batch in 1u64..7,
        drop_last: bool, choice: u8, key: u64,
    ) {
        let samples = files * spf;
        let dealing = Dealing::native(files, spf, ranks, batch, drop_last);
        let order = dealing.epoch(arrangement(choice, files, samples, key));
        let seen = walk(&order, ranks, batch);
        let distinct: HashSet<_> = seen.iter().copied().collect();
        prop_assert_eq!(distinct.len(), seen.len());
        prop_assert!(seen.iter().all(|id| id.file < files && id.sample < spf));
        prop_assert_eq!(seen.len() as u64, order.samples());
        if drop_last {
            prop_assert_eq!(order.steps(), samples / (batch * ranks));
            prop_assert_eq!(order.samples(), order.steps() * batch * ranks);
        } else {
            prop_assert_eq!(order.steps(), samples.div_ceil(batch * ranks));
            prop_assert_eq!(order.samples(), samples);
            let last = order.steps() - 1;
            let totals: Vec<u64> =
                (0..ranks).map(|rank| last * batch + order.batch_len(rank, last)).collect();
            let shares: u64 = (0..ranks).map(|rank| dealing.share(rank)).sum();
            prop_assert_eq!(shares, samples);
            prop_assert!(totals.iter().max().unwrap() - totals.iter().min().unwrap() <= batch);
        }
    }

    #[test]
    fn reference_epochs_deal_whole_files(
        files in 1u64..50, spf in 1u64..8, ranks in 1u64..10, batch in 1u64..7,
        shuffled: bool, key: u64,
    ) {
        let dealing = Dealing::reference(files, spf, ranks, batch);
        let order = dealing.epoch(arrangement(u8::from(shuffled), files, files * spf, key));
        let seen = walk(&order, ranks, batch);
        let distinct: HashSet<_> = seen.iter().copied().collect();
        prop_assert_eq!(distinct.len(), seen.len());
        prop_assert!(seen.iter().all(|id| id.file < files && id.sample < spf));
        prop_assert_eq!(order.steps(), files / ranks * spf / batch);
        prop_assert_eq!(seen.len() as u64, order.samples());
        if !shuffled {
            for rank in 0..ranks {
                for step in 0..order.steps() {
                    prop_assert!(order.sample(rank, step, 0).file % ranks == rank);
                }
            }
        }
    }

    /// Against the reference's own steps, taken one by one: a share of the files, the share of the
    /// reader, whole batches again and again, as many as the reader counts, cut by the training.
    #[test]
    fn tfrecord_files_are_dealt_twice_in_reference_mode(
        files in 1u64..60, spf in 1u64..8, ranks in 1u64..6, batch in 1u64..7,
        shuffled: bool, epochs in 1u64..4,
    ) {
        let expected: Vec<Vec<Vec<SampleId>>> = (0..ranks).map(|rank| {
            let dealt: Vec<u64> =
                (0..files).filter(|f| f % ranks == rank).take((files / ranks) as usize).collect();
            let share = |all: usize| (rank as usize..all).step_by(ranks as usize);
            let few = (dealt.len() as u64) < ranks;
            let taken: Vec<u64> = match few {
                true => dealt.clone(),
                false => share(dealt.len()).map(|index| dealt[index]).collect(),
            };
            let of = |file: u64| (0..spf).map(move |sample| SampleId { file, sample });
            let samples: Vec<SampleId> = taken.into_iter().flat_map(of).collect();
            let samples: Vec<SampleId> = match few {
                true => share(samples.len()).map(|index| samples[index]).collect(),
                false => samples,
            };
            let local = dealt.len() as u64 * spf;
            let counted = local / (ranks * batch) * epochs;
            let most = if shuffled { local / batch } else { local.div_ceil(batch) };
            let batches = samples.chunks_exact(batch as usize).map(|batch| batch.to_vec());
            let batches: Vec<Vec<SampleId>> = batches.collect();
            batches.into_iter().cycle().take(counted.min(most) as usize).collect()
        }).collect();
        let dealing = Dealing::tfrecord((files, spf), ranks, batch, (shuffled, epochs));
        let order = dealing.epoch(Arrangement::Identity);
        let steps = expected.iter().map(|batches| batches.len() as u64).min().unwrap();
        prop_assert_eq!(order.steps(), steps);
        prop_assert_eq!(order.samples(), steps * batch * ranks);
        for (rank, batches) in expected.iter().enumerate() {
            for step in 0..steps {
                let mut slot = 0;
                while slot < order.batch_len(rank as u64, step) {
                    let run = order.run_length(rank as u64, step, slot);
                    let first = order.sample(rank as u64, step, slot);
                    for ahead in 0..run {
                        let wanted = SampleId { sample: first.sample + ahead, ..first };
                        prop_assert_eq!(batches[step as usize][(slot + ahead) as usize], wanted);
                    }
                    slot += run;
                }
                prop_assert_eq!(slot, batch);
            }
        }
    }

    #[test]
    fn a_cap_only_shortens(
        files in 1u64..50, spf in 1u64..8, ranks in 1u64..6, batch in 1u64..7,
        cap in 1u64..9, mode in 0u8..3, choice: u8, key: u64,
    ) {
        let whole = match mode {
            0 => Dealing::native(files, spf, ranks, batch, true),
            1 => Dealing::native(files, spf, ranks, batch, false),
            _ => Dealing::reference(files, spf, ranks, batch),
        };
        let choice = if mode == 2 { choice % 2 } else { choice };
        let arrangement = arrangement(choice, files, files * spf, key);
        let (whole, capped) = (whole.epoch(arrangement), whole.cap(cap).epoch(arrangement));
        prop_assert_eq!(capped.steps(), whole.steps().min(cap));
        let mut read = 0;
        for rank in 0..ranks {
            for step in 0..capped.steps() {
                prop_assert_eq!(capped.batch_len(rank, step), whole.batch_len(rank, step));
                for slot in 0..capped.batch_len(rank, step) {
                    prop_assert_eq!(
                        capped.sample(rank, step, slot),
                        whole.sample(rank, step, slot)
                    );
                    read += 1;
                }
            }
        }
        prop_assert_eq!(read, capped.samples());
    }
}

#[test]
fn a_huge_epoch_is_within_range() {
    let (files, ranks) = (1_000_000_000, 100_000);
    let dealing = Dealing::native(files, 1, ranks, 7, true);
    let order = dealing.epoch(Arrangement::Samples(Permutation::new(files, 1)));
    assert_eq!(order.steps(), 1428);
    for rank in [0, 1, ranks / 2, ranks - 1] {
        assert!(order.sample(rank, 1427, 6).file < files);
    }
}
