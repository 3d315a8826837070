//! From the given keys to the typed [`Config`], with one note for each key that changes nothing.

use super::cache::Wishes;
use super::catalogue::{Key, Treatment};
use super::coerce::coerce;
use super::source::{Entry, Sources};
use super::{Config, ConfigError, ObjectClient};
use serde_yaml::{Mapping, Value};

/// Keys whose value joins a distribution as its standard deviation.
const STDEV_OF: [(&str, &str); 3] = [
    ("train.computation_time_stdev", "train.computation_time"),
    ("evaluation.eval_time_stdev", "evaluation.eval_time"),
    ("reader.preprocess_time_stdev", "reader.preprocess_time"),
];

/// Checks and converts every entry.
pub(super) fn resolve(sources: &Sources) -> Result<(Config, Vec<String>), ConfigError> {
    let mut typed = Mapping::new();
    let mut notes = Vec::new();
    for entry in sources.entries() {
        if let Treatment::Refused(reason) = entry.key.treatment {
            return Err(sources.error(entry, &[], reason));
        }
        let value = converted(sources, entry)?;
        match entry.key.treatment {
            Treatment::Typed => insert(&mut typed, entry.key.path, value),
            Treatment::Ignored(reason) => notes.push(ignored(entry.key, reason)),
            Treatment::Folded(_) | Treatment::Refused(_) => {}
        }
    }
    let mut config: Config = serde_yaml::from_value(Value::Mapping(typed))
        .map_err(|error| ConfigError(format!("the settings do not fit together: {error}")))?;
    fold(sources, &mut config, &mut notes)?;
    Ok((config, notes))
}

fn ignored(key: &Key, reason: &str) -> String {
    format!("{}: no effect: {reason}", key.path)
}

/// The value of `entry` in the form of its field.
pub(super) fn converted(sources: &Sources, entry: &Entry) -> Result<Value, ConfigError> {
    let companion = STDEV_OF.iter().find(|(_, time)| *time == entry.key.path);
    let stdev = companion.and_then(|(stdev, _)| sources.get(stdev));
    let joined = match stdev {
        Some(stdev) => with_stdev(sources, entry, stdev)?,
        None => entry.value.clone(),
    };
    coerce(&entry.key.kind, &joined)
        .map_err(|problem| sources.error(entry, &problem.at, &problem.text))
}

/// `time` with `stdev` in it, as a mapping.
fn with_stdev(sources: &Sources, time: &Entry, stdev: &Entry) -> Result<Value, ConfigError> {
    let mut mapping = match &time.value {
        Value::Mapping(mapping) => mapping.clone(),
        number => Mapping::from_iter([("mean".into(), number.clone())]),
    };
    let time_path = time.key.path;
    if mapping.contains_key("stdev") {
        let text = format!("{time_path} has a stdev already; keep one");
        return Err(sources.error(stdev, &[], &text));
    }
    if mapping.get("type").is_some_and(|kind| kind.as_str() != Some("normal")) {
        let text = format!("only a normal distribution has one; remove it or change {time_path}");
        return Err(sources.error(stdev, &[], &text));
    }
    // A plain number is checked by itself first, so that its error speaks of what was written.
    if !time.value.is_mapping() {
        coerce(&time.key.kind, &time.value)
            .map_err(|problem| sources.error(time, &problem.at, &problem.text))?;
    }
    mapping.insert("stdev".into(), stdev.value.clone());
    Ok(Value::Mapping(mapping))
}

/// Puts `value` at the dotted `path`.
fn insert(root: &mut Mapping, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            root.insert(path.into(), value);
        }
        Some((section, rest)) => {
            let inner = root.entry(section.into()).or_insert_with(|| Mapping::new().into());
            if let Value::Mapping(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Applies the keys that act through another key's field, and notes what they leave to say.
fn fold(
    sources: &Sources,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (stdev, time) in STDEV_OF {
        if sources.get(stdev).is_some() && sources.get(time).is_none() {
            return Err(sources.error_about(stdev, &format!("needs {time}; give that as well")));
        }
    }
    fold_sizes(sources, config, notes)?;
    super::requests::fold(sources, config, notes)?;
    // Before O_DIRECT is decided: a container may be read through a mapping.
    super::containers::fold(sources, config, notes);
    fold_storage(sources, config, notes)?;
    super::object::fold(sources, config, notes)?;
    fold_checkpoint(sources, config, notes)?;
    let loader = sources.get("reader.data_loader").and_then(|entry| entry.value.as_str());
    let framework =
        if config.framework == super::Framework::Pytorch { "pytorch" } else { "tensorflow" };
    if let Some(loader @ ("tensorflow" | "pytorch")) = loader
        && loader != framework
    {
        notes.push(format!(
            "reader.data_loader: `{loader}` under framework `{framework}`: the reference refuses \
             this pair"
        ));
    }
    Ok(())
}

fn fold_sizes(
    sources: &Sources,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let dataset = &mut config.dataset;
    if let Some(entry) = sources.get("dataset.record_length") {
        if sources.get("dataset.record_length_bytes").is_some() {
            notes.push(
                "dataset.record_length: no effect: dataset.record_length_bytes is given".into(),
            );
        } else if let Some(bytes) = converted(sources, entry)?.as_f64() {
            dataset.record_length_bytes = bytes;
            notes.push(
                "dataset.record_length: used as dataset.record_length_bytes; the reference does \
                 not read it"
                    .into(),
            );
        }
    }
    if !dataset.record_dims.is_empty() && sources.get("dataset.record_length_bytes").is_some() {
        notes.push(
            "dataset.record_length_bytes: no effect: dataset.record_dims gives the size".into(),
        );
    }
    let row_bytes = dataset.parquet.row_bytes();
    let by_columns = dataset.format == super::FormatKind::Parquet && row_bytes > 0;
    if by_columns
        && sources.get("dataset.record_length_bytes").is_some()
        && dataset.record_length_bytes != row_bytes as f64
    {
        notes.push(format!(
            "dataset.record_length_bytes: no effect: dataset.parquet.columns add up to \
             {row_bytes} bytes"
        ));
    }
    Ok(())
}

/// `fsync` and `recovery_rank_shift` say the same as keys of ours, which go before them.
fn fold_checkpoint(
    sources: &Sources,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let checkpoint = &mut config.checkpoint;
    let mut switch = |path: &str, instead: &str| -> Result<bool, ConfigError> {
        let Some(entry) = sources.get(path) else { return Ok(false) };
        let value = converted(sources, entry)?.as_bool() == Some(true);
        if sources.get(instead).is_some() {
            notes.push(format!("{path}: no effect: {instead} is given"));
            return Ok(false);
        }
        Ok(value)
    };
    if switch("checkpoint.fsync", "checkpoint.durability")? {
        checkpoint.durability = super::Durability::Fsync;
    }
    if switch("checkpoint.recovery_rank_shift", "checkpoint.restore")? {
        checkpoint.restore = super::Restore::Ring;
    }
    checkpoint.checkpoint_folder = without_slash(&checkpoint.checkpoint_folder);
    Ok(())
}

fn fold_storage(
    sources: &Sources,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let word = |path| sources.get(path).map(|entry| converted(sources, entry)).transpose();
    let kind = word("storage.storage_type")?;
    let kind = kind.as_ref().and_then(Value::as_str);
    match kind {
        None | Some("local_fs" | "direct_fs" | "s3") => {}
        Some("parallel_fs") => {
            return Err(sources.error_about(
                "storage.storage_type",
                "`parallel_fs` opens no store in the reference either; give local_fs and a path on \
                 the parallel file system",
            ));
        }
        Some(other) => {
            let text = format!(
                "`{other}` is not available in this version; give local_fs, direct_fs or s3"
            );
            return Err(sources.error_about("storage.storage_type", &text));
        }
    }
    let odirect = word("reader.odirect")?.and_then(|value| value.as_bool());
    super::cache::fold(sources, &Wishes { odirect, storage: kind }, config, notes)?;
    let root = word("storage.storage_root")?;
    if let Some(root) = root.as_ref().and_then(Value::as_str) {
        // On S3 the reference's root is the bucket, and the folder a prefix in it.
        let root = match (kind, root.contains("://")) {
            (Some("s3"), false) => format!("s3://{root}"),
            _ => root.to_string(),
        };
        config.dataset.data_folder = below(&root, &config.dataset.data_folder);
    } else if kind == Some("s3") {
        let text = "storage.storage_type: `s3` without storage.storage_root (the bucket) names no \
                    bucket: data lie where dataset.data_folder or --data-dir says";
        notes.push(text.into());
    }
    config.dataset.data_folder = without_slash(&config.dataset.data_folder);
    if sources.get("storage.storage_options.client").is_none()
        && let Some(client) = word("storage.client")?
    {
        // The word was checked against those that there are.
        config.storage.storage_options.client = match client.as_str() {
            Some("sdk") => ObjectClient::Sdk,
            _ => ObjectClient::Raw,
        };
    }
    Ok(())
}

/// `folder` below `root` where it is relative.
fn below(root: &str, folder: &str) -> String {
    if folder.starts_with('/') || folder.contains("://") {
        return folder.into();
    }
    let root = without_slash(root);
    let folder = folder.strip_prefix("./").unwrap_or(folder);
    match root.as_str() {
        "." => folder.into(),
        "/" => format!("/{folder}"),
        _ => format!("{root}/{folder}"),
    }
}

/// A folder without its trailing slashes; the root stays, and so does a scheme.
fn without_slash(folder: &str) -> String {
    if let Some((scheme, rest)) = folder.split_once("://") {
        return format!("{scheme}://{}", rest.trim_end_matches('/'));
    }
    let bare = folder.trim_end_matches('/');
    if bare.is_empty() { "/".into() } else { bare.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_below_the_root() {
        let cases = [
            ("/mnt/x", "data/unet3d/", "/mnt/x/data/unet3d"),
            ("/mnt/x/", "./data", "/mnt/x/data"),
            ("./", "data", "data"),
            ("/", "data", "/data"),
            ("/mnt", "/abs", "/abs"),
            ("/mnt", "null://x", "null://x"),
        ];
        for (root, folder, path) in cases {
            assert_eq!(without_slash(&below(root, folder)), path);
        }
        assert_eq!(without_slash("/"), "/");
        // Bug: it became `null:`, which is a folder of that name.
        assert_eq!(without_slash("null://"), "null://");
        assert_eq!(without_slash("s3://bench/x/"), "s3://bench/x");
    }
}
