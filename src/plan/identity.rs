//! What makes two datasets, or two plans, the same: canonical JSON and its digest.
//!
//! Canonical: keys sorted, no white space, numbers as serde_json prints them. Settings that change
//! neither names nor sizes nor content stay out of a dataset's identity, so that the same files
//! serve any number of ranks, and so do settings that the format in question does not look at.

use super::Plan;
use super::sizes::{follows_mode, nominal_sample_bytes};
use crate::config::{
    Config, Dataset, FormatKind, IoMode, ParquetColumn, ParquetEncoding, ReadType,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Version of generator, layouts and sizes: raised when the same settings begin to mean other
/// bytes.
pub const CONTENT_VERSION: u32 = 1;

/// Everything that decides names, sizes and content.
pub fn dataset(config: &Config) -> Value {
    let dataset = &config.dataset;
    let subfolders = |count: u64| if count > 1 { count } else { 0 };
    let mut identity = json!({
        "content_version": CONTENT_VERSION,
        "format": dataset.format,
        "num_files_train": dataset.generated_files(),
        "num_files_eval": dataset.num_files_eval,
        "num_samples_per_file": dataset.num_samples_per_file,
        "record_length_bytes": nominal_sample_bytes(dataset),
        "record_length_bytes_stdev": dataset.record_length_bytes_stdev,
        "record_dims": dataset.record_dims,
        "record_element_type": dataset.record_element_type,
        "num_subfolders_train": subfolders(dataset.num_subfolders_train),
        "num_subfolders_eval": subfolders(dataset.num_subfolders_eval),
        "file_prefix": dataset.file_prefix,
        "image_content": image_content(dataset),
        "seed": dataset.seed,
        "compress_ratio": dataset.compress_ratio,
        "dedup_ratio": dataset.dedup_ratio,
        "pattern": dataset.pattern,
        "mode": sizes_by(config),
    });
    if dataset.format == FormatKind::Parquet {
        add_parquet(dataset, &mut identity);
    }
    if !dataset.has_exact_sizes() {
        identity["compression"] = json!(dataset.compression);
        identity["compression_level"] = json!(dataset.compression_level_used());
    }
    if let (Some(shape), Some(settings)) = (hdf5_shape(dataset), identity.as_object_mut()) {
        settings.insert("hdf5".into(), shape);
    }
    identity
}

/// The mode that decides sizes; `native` where both yield the same files, so that either runs on
/// them.
fn sizes_by(config: &Config) -> IoMode {
    if follows_mode(&config.dataset) { config.io.mode } else { IoMode::Native }
}

/// Columns and row groups. Not which columns are read and how: that leaves the files as they are.
fn add_parquet(dataset: &Dataset, identity: &mut Value) {
    let parquet = &dataset.parquet;
    let column = |column: &ParquetColumn| json!([column.name, column.dtype, column.size]);
    identity["parquet_columns"] = parquet.columns.iter().map(column).collect();
    identity["parquet_row_group_size"] =
        json!(parquet.row_group_size.min(dataset.num_samples_per_file));
    if parquet.encoding != ParquetEncoding::Plain {
        identity["parquet_encoding"] = json!(parquet.encoding);
    }
    if !parquet.columns.is_empty() {
        identity["record_dims"] = json!([]);
        identity["record_element_type"] = Value::Null;
    }
}

/// What shapes HDF5 files, in the spelling that decides: `chunk_dims` go before `chunk_size`.
fn hdf5_shape(dataset: &Dataset) -> Option<Value> {
    if !matches!(dataset.format, FormatKind::Hdf5 | FormatKind::Hdf5Opt) {
        return None;
    }
    let chunk_dims = &dataset.hdf5.chunk_dims;
    let by_size = dataset.enable_chunking && chunk_dims.is_empty();
    Some(json!({
        "chunk_dims": chunk_dims,
        "chunk_size": if by_size { dataset.chunk_size } else { 0 },
        "num_dset_per_record": dataset.hdf5.num_dset_per_record,
    }))
}

fn image_content(dataset: &Dataset) -> Value {
    match dataset.format {
        FormatKind::Jpeg | FormatKind::Png => json!(dataset.image_content),
        _ => Value::Null,
    }
}

/// Everything that ranks must agree on to run together. Facts about a host (its memory) and
/// settings that each rank may have for itself (folders, threads, queue depth) are not among it.
pub fn execution(plan: &Plan) -> Value {
    let config = &plan.config;
    let (workflow, reader, train) = (&config.workflow, &config.reader, &config.train);
    let evaluation = &config.evaluation;
    let mut identity = json!({
        "dataset": dataset(config),
        "bytes": u64::try_from(plan.train.total_bytes()).ok(),
        "ranks": plan.world.ranks,
        "hosts": plan.world.hosts,
        "generate_data": workflow.generate_data,
        "train": workflow.train,
        "evaluation": workflow.evaluation,
        "checkpoint": checkpoint(plan),
        "batch_size": reader.batch_size,
        "batch_size_eval": reader.batch_size_eval,
        "file_shuffle": reader.file_shuffle,
        "sample_shuffle": reader.sample_shuffle,
        "preprocess_time": reader.preprocess_time,
        "drop_last": config.io.drop_last,
        "steps": plan.train_dealing.steps(),
        "epochs": train.epochs,
        "computation_time": train.computation_time,
        "seed": train.seed,
        "seed_change_epoch": train.seed_change_epoch,
        "eval_time": evaluation.eval_time,
        "eval_after_epoch": evaluation.eval_after_epoch,
        "epochs_between_evals": evaluation.epochs_between_evals,
    });
    if train.accelerators_per_rank != 1 {
        identity["accelerators_per_rank"] = json!(train.accelerators_per_rank);
    }
    if config.io.mode != sizes_by(config) {
        identity["mode"] = json!(config.io.mode);
    }
    if plan.train.files() != plan.generated.files() {
        identity["num_files_used"] = json!(plan.train.files());
    }
    if workflow.object {
        identity["object"] = json!(config.object);
    }
    if reader.read_type != ReadType::OnDemand {
        identity["read_type"] = json!(reader.read_type);
    }
    identity
}

/// Grid, model and manner of checkpoints; False without. Folder and files in flight are a rank's
/// own.
fn checkpoint(plan: &Plan) -> Value {
    let Some(checkpoint) = &plan.checkpoint else { return json!(false) };
    let mut manner = json!(plan.config.checkpoint);
    if let Some(manner) = manner.as_object_mut() {
        manner.remove("checkpoint_folder");
        manner.remove("files_in_flight");
    }
    json!({ "grid": checkpoint.grid(), "model": plan.config.model, "manner": manner })
}

/// First 16 hex digits of SHA-256 over the canonical text of `value`.
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            separated(out, ('{', '}'), entries, |(key, value), out| {
                canonical(&Value::String(key.clone()), out);
                out.push(':');
                canonical(value, out);
            });
        }
        Value::Array(values) => separated(out, ('[', ']'), values, canonical),
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn separated<T>(
    out: &mut String,
    (open, close): (char, char),
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ColumnType, ElementType};

    #[test]
    fn canonical_text_does_not_depend_on_the_order_of_keys() {
        let one = json!({"b": [1, 2.5, null], "a": {"y": "q\"", "x": true}});
        let other = json!({"a": {"x": true, "y": "q\""}, "b": [1, 2.5, null]});
        let mut text = String::new();
        canonical(&one, &mut text);
        assert_eq!(text, r#"{"a":{"x":true,"y":"q\""},"b":[1,2.5,null]}"#);
        assert_eq!(digest(&one), digest(&other));
    }

    fn parquet() -> Config {
        let mut config = Config::default();
        config.dataset.format = FormatKind::Parquet;
        config.dataset.num_samples_per_file = 288;
        config.dataset.parquet.columns = vec![ParquetColumn {
            name: "a".into(),
            dtype: ColumnType::Float16,
            size: 3,
            read: None,
        }];
        config
    }

    /// How the identity of a parquet dataset answers a change.
    fn changes(change: impl Fn(&mut Dataset)) -> bool {
        let mut config = parquet();
        change(&mut config.dataset);
        digest(&dataset(&config)) != digest(&dataset(&parquet()))
    }

    #[test]
    fn files_are_told_apart_by_columns_and_row_groups_but_not_by_what_is_read() {
        assert!(changes(|d| d.parquet.columns[0].name = "b".into()));
        assert!(changes(|d| d.parquet.columns[0].size = 4));
        assert!(changes(|d| d.parquet.columns[0].dtype = ColumnType::Int16));
        assert!(changes(|d| d.parquet.row_group_size = 100));
        assert!(!changes(|d| d.parquet.row_group_size = 288));
        assert!(!changes(|d| d.parquet.columns[0].read = Some(true)));
        assert!(!changes(|d| d.parquet.coalesce_gap = 1));
        assert!(!changes(|d| d.record_dims = vec![3]));
        assert!(!changes(|d| d.record_element_type = ElementType::Int8));
    }

    #[test]
    fn other_formats_do_not_look_at_parquet_settings() {
        let tfrecord = Config::default();
        let mut other = tfrecord.clone();
        other.dataset.parquet = parquet().dataset.parquet;
        assert_eq!(dataset(&tfrecord), dataset(&other));
        // Pinned: datasets that exist keep their identity.
        assert_eq!(digest(&dataset(&tfrecord)), "578132052a4360b8");
    }

    #[test]
    fn only_hdf5_files_depend_on_its_settings() {
        let of = |format, change: fn(&mut Dataset)| {
            let mut config = Config::default();
            config.dataset.format = format;
            change(&mut config.dataset);
            digest(&dataset(&config))
        };
        let changes: [fn(&mut Dataset); 3] = [
            |dataset| (dataset.enable_chunking, dataset.chunk_size) = (true, 4096),
            |dataset| dataset.hdf5.chunk_dims = vec![1, 2, 2],
            |dataset| dataset.hdf5.num_dset_per_record = 2,
        ];
        for change in changes {
            assert_ne!(of(FormatKind::Hdf5, change), of(FormatKind::Hdf5, |_| {}));
            assert_eq!(of(FormatKind::Npz, change), of(FormatKind::Npz, |_| {}));
        }
        let unused: fn(&mut Dataset) = |dataset| dataset.chunk_size = 4096;
        assert_eq!(of(FormatKind::Hdf5, unused), of(FormatKind::Hdf5, |_| {}));
    }

    #[test]
    fn digest_is_sha256() {
        // SHA-256 of "[]" begins with 4f53cda18c2baa0c.
        assert_eq!(digest(&json!([])), "4f53cda18c2baa0c");
    }
}
