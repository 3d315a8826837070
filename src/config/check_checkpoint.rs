//! What must hold between the keys of `model` and `checkpoint` where checkpoints are written. What
//! depends on the number of ranks is the plan's to refuse.

use super::source::Sources;
use super::{
    Checkpoint, CheckpointContent, CheckpointMode, Config, ConfigError, Model, Pattern, Restore,
};

type Refusal = Option<(&'static str, String)>;

/// Refuses settings that contradict each other.
pub(super) fn check(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let model = &config.model;
    let refusal = grid(model, config.checkpoint.mode)
        .or_else(|| sizes(model))
        .or_else(|| counts(&config.checkpoint, config.workflow.train))
        .or_else(|| restores(&config.checkpoint, model))
        .or_else(|| content(config))
        .or_else(|| background(&config.checkpoint, config.workflow.train));
    match refusal {
        Some((path, text)) => Err(sources.error_about(path, &text)),
        None => Ok(()),
    }
}

fn grid(model: &Model, mode: CheckpointMode) -> Refusal {
    let parallelism = &model.parallelism;
    let (layers, stages) = (model.num_layers, parallelism.pipeline);
    if layers > 0 && layers < stages {
        let text = format!(
            "`{layers}` blocks for {stages} stages of model.parallelism.pipeline; give at least as \
             many blocks as stages"
        );
        return Some(("model.num_layers", text));
    }
    if parallelism.zero_stage >= 3 && stages > 1 {
        let text = format!(
            "`3` cannot go with model.parallelism.pipeline {stages}; set the pipeline to 1 or the \
             stage to 1"
        );
        return Some(("model.parallelism.zero_stage", text));
    }
    match (mode, parallelism.data) {
        (CheckpointMode::Default, 1..) => Some((
            "model.parallelism.data",
            "goes with checkpoint.mode: subset only, since it follows from the number of ranks \
             otherwise; remove it or set the mode"
                .into(),
        )),
        (CheckpointMode::Subset, 0) => Some((
            "checkpoint.mode",
            "`subset` needs model.parallelism.data, the copies of the model in the whole job; give \
             it"
            .into(),
        )),
        _ => None,
    }
}

fn sizes(model: &Model) -> Refusal {
    let transformer = &model.transformer;
    if model.num_layers == 0 && !model.layer_parameters.is_empty() {
        let text = "needs model.num_layers, the layers that have these tensors; give it";
        return Some(("model.layer_parameters", text.into()));
    }
    if model.num_layers == 0 && model.is_transformer() {
        return Some(("model.num_layers", "a transformer has blocks; give their number".into()));
    }
    if transformer.num_attention_heads > transformer.hidden_size {
        let text = format!(
            "`{}` heads for model.transformer.hidden_size {}; give at most one for each unit",
            transformer.num_attention_heads, transformer.hidden_size
        );
        return Some(("model.transformer.num_attention_heads", text));
    }
    None
}

fn counts(checkpoint: &Checkpoint, trains: bool) -> Refusal {
    let (written, read) = (checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read);
    if !trains && written == 0 && read == 0 {
        return Some((
            "workflow.checkpoint",
            "there is nothing to do without training; give checkpoint.num_checkpoints_write or \
             checkpoint.num_checkpoints_read of at least 1"
                .into(),
        ));
    }
    if written > 0 && read > written {
        let text = format!(
            "`{read}` is more than checkpoint.num_checkpoints_write ({written}); give less"
        );
        return Some(("checkpoint.num_checkpoints_read", text));
    }
    let kept = checkpoint.keep_last;
    if kept > 0 && written > 0 && read > kept {
        let text = format!(
            "`{kept}` checkpoints stay, but checkpoint.num_checkpoints_read is {read}; keep as many"
        );
        return Some(("checkpoint.keep_last", text));
    }
    None
}

/// Bytes after which stamped content repeats, so that a buffer of so many may keep it.
const STAMPED_PERIOD_BYTES: u64 = 1 << 20;

fn content(config: &Config) -> Refusal {
    if config.checkpoint.content == CheckpointContent::Full {
        return None;
    }
    let block_bytes = config.io.block_size;
    if !block_bytes.is_multiple_of(STAMPED_PERIOD_BYTES) {
        let text = format!(
            "`stamped` repeats each MiB, and io.block_size is {block_bytes} bytes; give a multiple \
             of 1 MiB, or full"
        );
        return Some(("checkpoint.content", text));
    }
    let dataset = &config.dataset;
    let shaped = dataset.compress_ratio != 1.0 || dataset.dedup_ratio != 1.0;
    if shaped || dataset.pattern != Pattern::Pool {
        let text = "`stamped` goes with neither dataset.compress_ratio, dataset.dedup_ratio nor \
                    dataset.pattern: pcg, which shape content that is made anew; give full";
        return Some(("checkpoint.content", text.into()));
    }
    None
}

fn background(checkpoint: &Checkpoint, trains: bool) -> Refusal {
    if !checkpoint.is_async {
        return None;
    }
    if !trains {
        let text = "`True` writes while a training goes on, and workflow.train is False; set one \
                    of them";
        return Some(("checkpoint.async", text.into()));
    }
    if checkpoint.rank_sync {
        let text = "`True` waits for all ranks in each checkpoint, which checkpoint.async: True \
                    does not; set one of them";
        return Some(("checkpoint.rank_sync", text.into()));
    }
    None
}

fn restores(checkpoint: &Checkpoint, model: &Model) -> Refusal {
    let reshard = &checkpoint.reshard;
    let reshards = checkpoint.restore == Restore::Reshard;
    for (path, given) in [
        ("checkpoint.reshard.tensor", reshard.tensor),
        ("checkpoint.reshard.pipeline", reshard.pipeline),
        ("checkpoint.reshard.written_ranks", reshard.written_ranks),
    ] {
        if given > 0 && !reshards {
            return Some((path, "goes with checkpoint.restore: reshard; set that as well".into()));
        }
    }
    if reshard.written_ranks > 0 && checkpoint.num_checkpoints_write > 0 {
        let text = "goes with checkpoints of an earlier run; set checkpoint.num_checkpoints_write \
                    to 0";
        return Some(("checkpoint.reshard.written_ranks", text.into()));
    }
    if checkpoint.restore == Restore::Broadcast && model.parallelism.zero_stage >= 3 {
        let text = "`broadcast` needs copies that have the same weights, and with \
                    model.parallelism.zero_stage 3 each has its own; give same";
        return Some(("checkpoint.restore", text.into()));
    }
    None
}
