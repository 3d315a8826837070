//! Who reads what when a checkpoint is restored.
//!
//! A map says for each reading rank which byte ranges of which writer's files it reads. Ranks that
//! read a writer's files whole (`same`, `ring`, `random`, `broadcast`) differ in the writer only.
//! `reshard` is a job with another grid: each of its ranks reads its part of every tensor of its
//! stage, wherever the writing grid put it.
//!
//! For that, a tensor is taken as flat and its parts lie in the order of the ranks that hold them,
//! tensor parallel first: of `M` readers of `N` elements number i reads `i N div M .. (i + 1) N div
//! M`. So all that was written is read, once by each copy of the reading grid (once by all together
//! with ZeRO 3, and for the optimizer with any ZeRO). Matrices whose columns are shared would
//! really be read in strides; the bytes are as many.

use super::{CheckpointPlan, Contents, Grid, PlanError, ShardFile, ShardKind, is_state};
use crate::config::{CheckpointMode, Config, Restore};
use crate::plan::Permutation;
use crate::plan::permutation::key_of;
use std::collections::BTreeMap;
use std::ops::Range;

/// Domain of the keys of `restore: random`.
const DRAWN_WRITERS: u64 = 0x7265_7374;

/// A range of a file that a rank reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePiece {
    /// Rank that wrote the file.
    pub writer: u64,
    /// The file.
    pub file: ShardFile,
    /// Bytes of it.
    pub range: Range<u64>,
}

/// Who reads what.
#[derive(Debug, Clone)]
pub struct RestoreMap {
    plan: CheckpointPlan,
    manner: Manner,
    readers: u64,
    weights_only: bool,
}

#[derive(Debug, Clone)]
enum Manner {
    /// A rank reads what it wrote.
    Same,
    /// The first copy of the model reads what all copies have, and sends it.
    Broadcast,
    /// What the rank wrote that stands here.
    Ring(Vec<u64>),
    /// What a drawn rank wrote.
    Random(Permutation),
    /// Its part on another grid.
    Reshard(Grid),
}

impl RestoreMap {
    /// The map of `config` for ranks of which rank r stands on host `host_of[r]`.
    ///
    /// # Errors
    /// Another number of ranks than wrote, except with `reshard`; hosts that cannot be exchanged; a
    /// grid that does not go with the ranks: one sentence that names the key.
    pub fn new(
        plan: &CheckpointPlan,
        config: &Config,
        host_of: &[u32],
    ) -> Result<RestoreMap, PlanError> {
        let (checkpoint, readers) = (&config.checkpoint, host_of.len() as u64);
        let fullest = fullest(host_of);
        RestoreMap::check(plan, config, (readers, fullest))?;
        let manner = match checkpoint.restore {
            Restore::Same => Manner::Same,
            Restore::Broadcast => Manner::Broadcast,
            Restore::Ring => Manner::Ring(next_host(host_of, fullest as usize)),
            Restore::Random => {
                let key = key_of(&[DRAWN_WRITERS, checkpoint.restore_seed]);
                Manner::Random(Permutation::new(readers, key))
            }
            Restore::Reshard => Manner::Reshard(target_grid(plan, config, readers)?),
        };
        let weights_only = checkpoint.weights_only;
        Ok(RestoreMap { plan: plan.clone(), manner, readers, weights_only })
    }

    /// Whether `readers` ranks can read at all, of which the fullest host has `fullest`: what can
    /// be known before anything is written.
    ///
    /// # Errors
    /// Those of [`RestoreMap::new`].
    pub fn check(
        plan: &CheckpointPlan,
        config: &Config,
        (readers, fullest): (u64, u64),
    ) -> Result<(), PlanError> {
        let (restore, written) = (config.checkpoint.restore, plan.grid.ranks);
        if restore != Restore::Reshard && readers != written {
            return Err(PlanError(format!(
                "{readers} ranks cannot read what {written} wrote with checkpoint.restore: {}; \
                 give reshard",
                serde_json::json!(restore).as_str().unwrap_or_default()
            )));
        }
        match restore {
            Restore::Broadcast if plan.grid.zero_stage >= 3 => Err(PlanError(
                "checkpoint.restore: broadcast needs copies that have the same weights, and with \
                 model.parallelism.zero_stage 3 each has its own; give same"
                    .into(),
            )),
            Restore::Ring if fullest > readers / 2 => Err(PlanError(format!(
                "checkpoint.restore: ring needs other hosts to read from, but {fullest} of \
                 {readers} ranks stand on one; use more hosts, or give same or random"
            ))),
            Restore::Reshard => target_grid(plan, config, readers).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Ranks that read.
    pub fn readers(&self) -> u64 {
        self.readers
    }

    /// The rank whose files `rank` reads whole; None where it reads parts of many.
    pub fn writer_for(&self, rank: u64) -> Option<u64> {
        match &self.manner {
            Manner::Same | Manner::Broadcast => Some(rank),
            Manner::Ring(writers) => writers.get(rank as usize).copied(),
            Manner::Random(permutation) => Some(permutation.apply(rank)),
            Manner::Reshard(_) => None,
        }
    }

    /// With `broadcast`, what the first copy of the model reads and sends to the place of `rank` in
    /// all others; empty where nothing is sent. The same for all ranks of a place.
    pub fn shared_by(&self, rank: u64) -> Vec<RestorePiece> {
        let grid = &self.plan.grid;
        let first = grid.place(rank).model;
        let listener = first + grid.model_ranks();
        if !matches!(self.manner, Manner::Broadcast) || listener >= self.readers {
            return Vec::new();
        }
        // A model of given size may be written by every rank; the copies have nothing else.
        let own = self.whole(listener).into_iter();
        let has_state = own.clone().any(|piece| piece.file.kind == ShardKind::Model);
        let mut sent = self.whole(first);
        sent.retain(|piece| match piece.file.kind {
            ShardKind::Model => !(has_state && is_state(&piece.file)),
            // The optimizer is sent where the copies share it, that is without ZeRO.
            ShardKind::Optimizer => grid.zero_stage == 0,
        });
        sent
    }

    /// With `broadcast`, the rank that sends to `rank` what it did not read, and how many bytes;
    /// None where nothing is sent.
    pub fn sender_to(&self, rank: u64) -> Option<(u64, u64)> {
        let place = self.plan.grid.place(rank);
        let shared = self.shared_by(rank).into_iter();
        let missing: u64 = shared.map(|piece| piece.range.end - piece.range.start).sum();
        (place.data > 0 && missing > 0).then_some((place.model, missing))
    }

    /// What `rank` reads, by writer and file; ranges of a file in order and apart.
    pub fn pieces_of(&self, rank: u64) -> Vec<RestorePiece> {
        match (&self.manner, self.writer_for(rank)) {
            (Manner::Reshard(target), _) => self.parts(rank, target),
            (_, Some(writer)) => self.whole(writer),
            (_, None) => Vec::new(),
        }
    }

    fn whole(&self, writer: u64) -> Vec<RestorePiece> {
        let wanted = |file: &ShardFile| !self.weights_only || file.kind == ShardKind::Model;
        let files = self.plan.files_of(writer).into_iter().filter(wanted);
        files.map(|file| RestorePiece { writer, range: 0..file.bytes, file }).collect()
    }

    fn parts(&self, rank: u64, target: &Grid) -> Vec<RestorePiece> {
        let mut reads = Reads { plan: &self.plan, ranges: BTreeMap::new() };
        let place = target.place(rank);
        for layer in self.plan.model.stage_layers(place.pipeline, target.pipeline) {
            reads.layer(layer, rank, target);
        }
        // Without ZeRO every copy reads the whole optimizer.
        let (part, parts) = match target.zero_stage {
            0 => (place.model, target.model_ranks()),
            _ => (rank, target.ranks),
        };
        if !self.weights_only {
            reads.optimizer(part, parts);
        }
        reads.pieces()
    }
}

/// Ranges by writer and number of its file.
struct Reads<'a> {
    plan: &'a CheckpointPlan,
    ranges: BTreeMap<(u64, usize), Vec<Range<u64>>>,
}

impl Reads<'_> {
    /// The part of every tensor of `layer` that `rank` of `target` holds.
    fn layer(&mut self, layer: u64, rank: u64, target: &Grid) {
        let (model, written) = (&self.plan.model, self.plan.grid);
        let place = target.place(rank);
        // Given tensors are not divided among copies.
        let is_sharded = model.layer_parameters.is_empty();
        let shards = |grid: &Grid| if is_sharded { grid.weight_shards() } else { 1 };
        let (from, to) = (shards(&written), shards(target));
        let copy = if to > 1 { place.data } else { 0 };
        let stage = (0..written.pipeline)
            .find(|&stage| model.stage_layers(stage, written.pipeline).contains(&layer))
            .unwrap_or_default();
        let first = stage * written.tensor;
        let width = model.weights.bytes();
        let (number, mut offset) = self.place_of(first, layer);
        for tensor in model.layer_tensors(model.kind_of(layer), written.tensor, from) {
            let each = tensor.elements;
            let (parts, part, held) = match tensor.is_replicated {
                true => (to, copy, from),
                false => (target.tensor * to, place.tensor * to + copy, written.tensor * from),
            };
            // Where every tensor parallel rank has all of it, one of them is asked.
            let beside = place.tensor * written.tensor / target.tensor;
            for (holder, range) in split(each, held, part, parts) {
                let (column, shard) = match tensor.is_replicated {
                    true => (beside, holder),
                    false => (holder / from, holder % from),
                };
                let writer = shard * written.model_ranks() + first + column;
                let bytes = offset + range.start * width..offset + range.end * width;
                self.add(writer, number, bytes);
            }
            offset += each * width;
        }
    }

    /// Which of its files holds `layer` and where the layer begins in it, which is the same for all
    /// ranks of a stage that hold it.
    fn place_of(&self, writer: u64, layer: u64) -> (usize, u64) {
        let files = self.plan.planned(writer).into_iter().enumerate();
        let mut holding = files.filter_map(|(number, file)| match &file.contents {
            Contents::Layers(layers) if layers.contains(&layer) => {
                let before = self.plan.payload_bytes(&Contents::Layers(layers.start..layer));
                Some((number, self.plan.header_bytes(&file.contents) + before))
            }
            _ => None,
        });
        holding.next().expect("a stage's ranks hold its layers")
    }

    /// Part `part` of `parts` of every optimizer array.
    fn optimizer(&mut self, part: u64, parts: u64) {
        let (model, sharers) = (&self.plan.model, self.plan.grid.optimizer_sharers());
        let base = self.plan.header_bytes(&Contents::Optimizer);
        let width = model.optimizer.bytes();
        let mut offset = base;
        for each in model.optimizer_elements(sharers) {
            for (writer, range) in split(each, sharers, part, parts) {
                let number = self.plan.planned(writer).len() - 1;
                let bytes = offset + range.start * width..offset + range.end * width;
                self.add(writer, number, bytes);
            }
            offset += each * width;
        }
    }

    fn add(&mut self, writer: u64, number: usize, bytes: Range<u64>) {
        let ranges = self.ranges.entry((writer, number)).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ => ranges.push(bytes),
        }
    }

    fn pieces(self) -> Vec<RestorePiece> {
        let mut pieces = Vec::new();
        for ((writer, number), ranges) in self.ranges {
            let file = self.plan.files_of(writer).swap_remove(number);
            let piece = |range| RestorePiece { writer, file: file.clone(), range };
            pieces.extend(ranges.into_iter().map(piece));
        }
        pieces
    }
}

/// Of `held` holders with `each` elements, what part `part` of `parts` reads: (holder, elements of
/// its own), in order.
fn split(each: u64, held: u64, part: u64, parts: u64) -> Vec<(u64, Range<u64>)> {
    let all = u128::from(each) * u128::from(held);
    let border = |part: u64| all * u128::from(part) / u128::from(parts);
    let (start, end) = (border(part), border(part + 1));
    let mut out = Vec::new();
    let mut at = start;
    while at < end {
        let holder = at / u128::from(each);
        let first = holder * u128::from(each);
        let stop = end.min(first + u128::from(each));
        // Both are below `each`, and the holder is below `held`.
        out.push((holder as u64, (at - first) as u64..(stop - first) as u64));
        at = stop;
    }
    out
}

/// Ranks of the host that has most of them.
fn fullest(host_of: &[u32]) -> u64 {
    let mut ranks = BTreeMap::<u32, u64>::new();
    for host in host_of {
        *ranks.entry(*host).or_default() += 1;
    }
    ranks.into_values().max().unwrap_or(0)
}

/// For each rank one on the next host: ranks in the order of their hosts, moved on by as many as
/// the `largest` host has, at most half, so that every rank's files are read by one other.
fn next_host(host_of: &[u32], largest: usize) -> Vec<u64> {
    let ranks = host_of.len();
    let mut order: Vec<usize> = (0..ranks).collect();
    order.sort_by_key(|&rank| host_of[rank]);
    let mut writers = vec![0; ranks];
    for (position, &rank) in order.iter().enumerate() {
        writers[rank] = order[(position + largest) % ranks] as u64;
    }
    writers
}

/// The grid of the ranks that read.
fn target_grid(plan: &CheckpointPlan, config: &Config, readers: u64) -> Result<Grid, PlanError> {
    let (reshard, written) = (&config.checkpoint.reshard, plan.grid);
    if config.checkpoint.mode == CheckpointMode::Subset {
        return Err(PlanError(
            "checkpoint.restore: reshard needs the whole model, and checkpoint.mode: subset writes \
             a part of it; give the mode default"
                .into(),
        ));
    }
    if plan.model.state_bytes > 0 {
        return Err(PlanError(
            "checkpoint.restore: reshard needs tensors, and model.model_size_bytes is one piece; \
             give model.type: transformer, or a model_size_bytes of 0"
                .into(),
        ));
    }
    let or = |given: u64, kept: u64| if given > 0 { given } else { kept };
    let (tensor, pipeline) =
        (or(reshard.tensor, written.tensor), or(reshard.pipeline, written.pipeline));
    if written.zero_stage >= 3 && pipeline > 1 || pipeline > plan.model.layers.max(1) {
        return Err(PlanError(format!(
            "checkpoint.reshard.pipeline is {pipeline}; give at most as many stages as blocks, and \
             1 with model.parallelism.zero_stage 3"
        )));
    }
    let copy = tensor.saturating_mul(pipeline);
    if readers == 0 || !readers.is_multiple_of(copy) {
        return Err(PlanError(format!(
            "{readers} ranks are no multiple of checkpoint.reshard.tensor x pipeline = {copy}; \
             give one"
        )));
    }
    let zero_stage = written.zero_stage;
    Ok(Grid { ranks: readers, tensor, pipeline, data: readers / copy, zero_stage })
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
