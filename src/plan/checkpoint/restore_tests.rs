//! Every byte that was written is read, by whom the manner says.

use super::*;
use crate::config::{CheckpointLayout, Parallelism, Transformer};
use proptest::prelude::*;
use std::collections::HashMap;

/// Two blocks by default, of a width that most grids divide.
fn config(layers: u64, tensor: u64, pipeline: u64, zero_stage: u64) -> Config {
    let mut config = Config::default();
    (config.workflow.checkpoint, config.workflow.train) = (true, false);
    config.model.num_layers = layers;
    config.model.transformer = Transformer {
        vocab_size: 24,
        hidden_size: 24,
        ffn_hidden_size: 36,
        num_attention_heads: 4,
        num_kv_heads: 2,
    };
    config.model.parallelism = Parallelism { tensor, pipeline, data: 0, zero_stage };
    config
}

fn plan(config: &Config, ranks: u64) -> CheckpointPlan {
    CheckpointPlan::new(config, ranks).unwrap().unwrap()
}

fn map(plan: &CheckpointPlan, config: &Config, hosts: &[u32]) -> RestoreMap {
    RestoreMap::new(plan, config, hosts).unwrap()
}

/// Reads of each byte of each file.
fn reads(map: &RestoreMap) -> HashMap<(u64, String), Vec<u32>> {
    let plan = &map.plan;
    let mut counts = HashMap::new();
    for writer in 0..plan.grid.ranks {
        for file in plan.files_of(writer) {
            counts.insert((writer, file.name), vec![0; file.bytes as usize]);
        }
    }
    for rank in 0..map.readers() {
        for piece in map.pieces_of(rank) {
            assert!(piece.range.start < piece.range.end);
            let count = counts.get_mut(&(piece.writer, piece.file.name)).unwrap();
            for byte in &mut count[piece.range.start as usize..piece.range.end as usize] {
                *byte += 1;
            }
        }
    }
    counts
}

#[test]
fn a_rank_reads_its_own_files_or_those_of_another() {
    let mut config = config(2, 2, 2, 1);
    let plan = plan(&config, 8);
    let hosts = [0, 0, 1, 1, 2, 2, 3, 3];
    for restore in [Restore::Same, Restore::Ring, Restore::Random, Restore::Broadcast] {
        config.checkpoint.restore = restore;
        let map = map(&plan, &config, &hosts);
        assert!(reads(&map).values().flatten().all(|&count| count == 1), "{restore:?}");
        for rank in 0..8 {
            let writer = map.writer_for(rank).unwrap();
            let files: Vec<_> = map.pieces_of(rank).into_iter().map(|piece| piece.file).collect();
            assert_eq!(files, plan.files_of(writer));
        }
    }
    config.checkpoint.restore = Restore::Random;
    let one = map(&plan, &config, &hosts);
    config.checkpoint.restore_seed += 1;
    let other = map(&plan, &config, &hosts);
    assert!((0..8).any(|rank| one.writer_for(rank) != other.writer_for(rank)));
}

#[test]
fn weights_alone_leave_the_optimizer() {
    let mut config = config(2, 2, 2, 1);
    config.checkpoint.weights_only = true;
    let plan = plan(&config, 8);
    for restore in [Restore::Same, Restore::Reshard] {
        config.checkpoint.restore = restore;
        let map = map(&plan, &config, &[0; 8]);
        let pieces = (0..8).flat_map(|rank| map.pieces_of(rank));
        let bytes = |piece: RestorePiece| {
            assert_eq!(piece.file.kind, ShardKind::Model);
            piece.range.end - piece.range.start
        };
        let copies = if restore == Restore::Reshard { 2 } else { 1 };
        assert_eq!(pieces.map(bytes).sum::<u64>(), copies * plan.model_bytes());
    }
}

#[test]
fn a_broadcast_sends_what_a_copy_did_not_read() {
    for (zero_stage, parts) in [(0, true), (1, false)] {
        let mut config = config(2, 2, 2, zero_stage);
        config.checkpoint.restore = Restore::Broadcast;
        let plan = plan(&config, 12);
        let map = map(&plan, &config, &[0; 12]);
        for rank in 0..4 {
            assert_eq!(map.sender_to(rank), None);
            let files = plan.files_of(rank).into_iter();
            let sent = files.filter(|file| parts || file.kind == ShardKind::Model);
            let sent = sent.map(|file| file.bytes).sum();
            assert_eq!(map.sender_to(rank + 4), Some((rank, sent)));
            assert_eq!(map.sender_to(rank + 8), Some((rank, sent)));
        }
    }
    let sharded = config(2, 2, 1, 3);
    let mut broadcast = sharded.clone();
    broadcast.checkpoint.restore = Restore::Broadcast;
    assert!(RestoreMap::new(&plan(&sharded, 4), &broadcast, &[0; 4]).is_err());
}

#[test]
fn a_ring_needs_another_host() {
    let mut config = config(2, 1, 1, 3);
    config.checkpoint.restore = Restore::Ring;
    let ring = |hosts: &[u32]| {
        let ranks = hosts.len() as u64;
        let map = RestoreMap::new(&plan(&config, ranks), &config, hosts).map_err(|error| error.0);
        map.map(|map| (0..ranks).filter_map(|rank| map.writer_for(rank)).collect::<Vec<_>>())
    };
    assert_eq!(ring(&[0, 0, 1, 1]), Ok(vec![2, 3, 0, 1]));
    // Round robin: the same place on the next host.
    assert_eq!(ring(&[0, 1, 2, 0, 1, 2]), Ok(vec![1, 2, 0, 4, 5, 3]));
    let error = ring(&[0, 0, 0, 1]).unwrap_err();
    assert!(error.contains("3 of 4 ranks stand on one"), "{error}");
    assert!(ring(&[0]).is_err());
}

#[test]
fn other_ranks_can_only_reshard() {
    let mut config = config(2, 2, 1, 1);
    let plan = plan(&config, 4);
    let error = RestoreMap::new(&plan, &config, &[0; 6]).unwrap_err().0;
    assert_eq!(
        error,
        "6 ranks cannot read what 4 wrote with checkpoint.restore: same; give reshard"
    );
    config.checkpoint.restore = Restore::Reshard;
    assert_eq!(map(&plan, &config, &[0; 6]).readers(), 6);
    assert!(RestoreMap::new(&plan, &config, &[0; 5]).unwrap_err().0.starts_with("5 ranks are no"));
    config.checkpoint.reshard.pipeline = 3;
    let error = RestoreMap::new(&plan, &config, &[0; 6]).unwrap_err().0;
    assert!(error.starts_with("checkpoint.reshard.pipeline is 3"), "{error}");
    config.checkpoint.mode = CheckpointMode::Subset;
    assert!(RestoreMap::new(&plan, &config, &[0; 6]).unwrap_err().0.contains("subset writes"));
}

#[test]
fn a_checkpoint_of_another_number_of_ranks_is_planned_as_it_was_written() {
    let mut config = config(2, 2, 1, 1);
    let written = plan(&config, 4);
    config.checkpoint.restore = Restore::Reshard;
    config.checkpoint.reshard.written_ranks = 4;
    config.checkpoint.reshard.tensor = 1;
    let again = plan(&config, 3);
    assert_eq!(again, written);
    assert!(again.files_of(4).is_empty());
    // Each copy of the whole model reads both columns of the weights, and its third of an
    // optimizer that four ranks wrote.
    let pieces = map(&again, &config, &[0; 3]).pieces_of(1);
    let writers = |kind| {
        let own = pieces.iter().filter(|piece| piece.file.kind == kind);
        own.map(|piece| piece.writer).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(writers(ShardKind::Model), [0, 1].into());
    assert_eq!(writers(ShardKind::Optimizer), [1, 2].into());
}

/// The same grid reads what it wrote; with ZeRO 1, later copies read the weights of the first.
#[test]
fn an_equal_grid_reads_whole_files() {
    for (tensor, pipeline, zero_stage) in [(2, 2, 1), (3, 1, 3), (2, 1, 2)] {
        let mut config = config(4, tensor, pipeline, zero_stage);
        config.checkpoint.restore = Restore::Reshard;
        let plan = plan(&config, tensor * pipeline * 2);
        let map = map(&plan, &config, &vec![0; plan.grid.ranks as usize]);
        for rank in 0..plan.grid.ranks {
            let pieces = map.pieces_of(rank);
            assert!(pieces.iter().all(|piece| piece.range == (0..piece.file.bytes)), "{pieces:?}");
            let mut read: Vec<_> = pieces.into_iter().map(|piece| piece.file).collect();
            let weights = if zero_stage == 3 { rank } else { rank % (tensor * pipeline) };
            let own =
                |rank, kind| plan.files_of(rank).into_iter().filter(move |file| file.kind == kind);
            let mut wanted: Vec<_> = own(weights, ShardKind::Model).collect();
            wanted.extend(own(rank, ShardKind::Optimizer));
            read.sort_by_key(|file| file.object_id);
            wanted.sort_by_key(|file| file.object_id);
            assert_eq!(read, wanted);
        }
    }
}

/// Bytes of norms, of which one tensor parallel rank's are enough.
fn norms(plan: &CheckpointPlan, writer: u64, name: &str) -> Vec<Range<u64>> {
    let written = plan.grid;
    let planned = plan.planned(writer).into_iter();
    let mut named = planned.filter(|file| name == format!("{}.{}", file.name, plan.suffix));
    let Some(Contents::Layers(layers)) = named.next().map(|file| file.contents) else {
        return Vec::new();
    };
    let mut at = plan.header_bytes(&Contents::Layers(layers.clone()));
    let mut found = Vec::new();
    for layer in layers {
        let kind = plan.model.kind_of(layer);
        for tensor in plan.model.layer_tensors(kind, written.tensor, written.weight_shards()) {
            let end = at + tensor.elements * plan.model.weights.bytes();
            if tensor.is_replicated {
                found.push(at..end);
            }
            at = end;
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn resharding_reads_every_byte(
        layers in 1u64..6, zero_stage in 0u64..4, copies in 1u64..4, readers in 1u64..4,
        (tensor, pipeline) in (1u64..5, 1u64..4), (to_tensor, to_pipeline) in (1u64..5, 1u64..4),
        safetensors: bool, given: bool,
    ) {
        let staged = zero_stage < 3;
        let stages = |wanted: u64| if staged { wanted.min(layers) } else { 1 };
        let mut config = config(layers, tensor, stages(pipeline), zero_stage);
        if safetensors {
            config.checkpoint.layout = CheckpointLayout::Safetensors;
        }
        if given {
            config.model.kind = Some("other".into());
            config.model.model_size_bytes = 0;
            config.model.layer_parameters = vec![7, 60, 24];
            config.model.optimization_groups = vec![5, 11];
        }
        config.checkpoint.restore = Restore::Reshard;
        config.checkpoint.reshard.tensor = to_tensor;
        config.checkpoint.reshard.pipeline = stages(to_pipeline);
        let plan = plan(&config, tensor * stages(pipeline) * copies);
        let readers = to_tensor * stages(to_pipeline) * readers;
        let map = map(&plan, &config, &vec![0; readers as usize]);
        let target = readers / to_tensor / stages(to_pipeline);
        let counts = reads(&map);
        for ((writer, name), bytes) in &counts {
            let header = plan.planned(*writer).into_iter()
                .find(|file| *name == format!("{}.{}", file.name, plan.suffix))
                .map(|file| plan.header_bytes(&file.contents)).unwrap() as usize;
            prop_assert!(bytes[..header].iter().all(|&count| count == 0));
            let is_model = !name.contains("optim");
            // With ZeRO 3 given tensors are whole in every copy, and the first one's are read.
            let expected = match (is_model, zero_stage) {
                (true, 3) if given => if *writer < tensor { target } else { 0 },
                (true, 3) => 1,
                (true, _) | (false, 0) => target,
                (false, _) => 1,
            } as u32;
            let mut counted = bytes.clone();
            for norm in norms(&plan, *writer, name) {
                counted[norm.start as usize..norm.end as usize].fill(expected);
            }
            let wrong = counted[header..].iter().position(|&count| count != expected);
            prop_assert_eq!(wrong, None, "{} of {}, {} reads", name, writer, expected);
        }
        // Of the columns that all have a norm, one at least is asked for it.
        let staged_files = (0..stages(pipeline)).flat_map(|stage| {
            let first = stage * tensor;
            plan.files_of(first).into_iter().map(move |file| (first, file.name))
        });
        for (first, name) in staged_files.filter(|_| !given) {
            for norm in norms(&plan, first, &name) {
                let asked = (first..first + tensor).any(|writer| {
                    let bytes = &counts[&(writer, name_at(&name, first, writer))];
                    bytes[norm.start as usize..norm.end as usize].iter().all(|&count| count > 0)
                });
                prop_assert!(asked, "{} {:?}", name, norm);
            }
        }
    }
}

/// The name of the same file of another place in the copy.
fn name_at(name: &str, from: u64, to: u64) -> String {
    for part in ["model_", "mp_rank_"] {
        let (old, new) = (format!("{part}{from}_model"), format!("{part}{to}_model"));
        if name.contains(&old) {
            return name.replace(&old, &new);
        }
    }
    panic!("{name} names no place");
}
