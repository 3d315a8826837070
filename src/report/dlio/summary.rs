//! DLIO's `summary.json`, written by rank 0 at the end of a run.

use super::write_json;
use crate::host::HostFacts;
use crate::report::atomic::write_atomic;
use crate::report::checkpoint::OfficialCheckpoints;
use crate::report::official::RunFigures;
use crate::report::timestamp::iso_local;
use serde_json::{Map, Value, json};
use std::io;
use std::path::Path;

const GIB: f64 = (1u64 << 30) as f64;

/// What `summary.json` tells of a run.
#[derive(Debug, Clone, Copy)]
pub struct RunFacts<'a> {
    /// Wall clock at the start of the run, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// The same at its end.
    pub end_unix_ns: u64,
    /// One entry for each host, that of rank 0 first.
    pub hosts: &'a [HostFacts],
    /// Accelerators of all ranks.
    pub accelerators: u64,
    /// Accelerators that each rank stands for.
    pub accelerators_per_rank: u64,
    /// `dataset.num_files_train`.
    pub files_train: u64,
    /// `dataset.num_files_eval`.
    pub files_eval: u64,
    /// `dataset.num_samples_per_file`.
    pub samples_per_file: u64,
    /// Configured bytes of a sample, see `plan::nominal_sample_bytes`.
    pub record_length_bytes: f64,
    /// Epochs.
    pub epochs: u64,
    /// `metric.au`, a fraction.
    pub required_au: f64,
    /// Official figures of the training.
    pub train: Option<&'a RunFigures>,
    /// Official figures of the evaluations.
    pub eval: Option<&'a RunFigures>,
    /// Official figures of checkpoints that were written.
    pub save: Option<OfficialCheckpoints>,
    /// Official figures of checkpoints that were read.
    pub load: Option<OfficialCheckpoints>,
    /// Bytes of a checkpoint; None without any.
    pub checkpoint_bytes: Option<u64>,
}

/// Memory of a host in GiB, which DLIO calls GB.
pub(super) fn memory_gib(host: &HostFacts) -> f64 {
    host.memory_bytes as f64 / GIB
}

/// GiB of training data that the ranks of one host read in an epoch, by DLIO's formula:
/// accelerators of the host x samples per file x (files // accelerators) x record length / 2^30.
pub fn data_gib_per_host(
    accelerators_on_host: u64,
    accelerators: u64,
    files_train: u64,
    samples_per_file: u64,
    record_length_bytes: f64,
) -> f64 {
    let files_each = files_train / accelerators.max(1);
    (accelerators_on_host * samples_per_file * files_each) as f64 * record_length_bytes / GIB
}

/// 1 if the host's memory could hold its share of the data, else 0: DLIO's `potential_caching`.
pub fn has_potential_caching(host: &HostFacts, data_gib_per_host: f64) -> u8 {
    u8::from(memory_gib(host) > data_gib_per_host)
}

/// The document, keys in DLIO's order.
pub fn summary_json(facts: &RunFacts) -> Value {
    let first = facts.hosts.first().cloned().unwrap_or_default();
    let data_gib = |host: &HostFacts| {
        let RunFacts { accelerators, files_train, samples_per_file, .. } = *facts;
        let record = facts.record_length_bytes;
        let on_host = host.ranks * facts.accelerators_per_rank;
        data_gib_per_host(on_host, accelerators, files_train, samples_per_file, record)
    };
    let per_host =
        |value: &dyn Fn(&HostFacts) -> Value| facts.hosts.iter().map(value).collect::<Vec<Value>>();
    let mut metric = Map::new();
    for (prefix, figures) in [("train", facts.train), ("eval", facts.eval)] {
        if let Some(figures) = figures {
            add_figures(&mut metric, prefix, figures, facts);
        }
    }
    for (prefix, figures) in [("save", facts.save), ("load", facts.load)] {
        if let Some(figures) = figures {
            add_checkpoints(&mut metric, prefix, &figures);
        }
    }
    if let Some(bytes) = facts.checkpoint_bytes {
        metric.insert("checkpoint_size_GB".into(), json!(bytes as f64 / GIB));
    }
    json!({
        "start": iso_local(facts.start_unix_ns),
        "num_accelerators": facts.accelerators,
        "num_hosts": facts.hosts.len(),
        "hostname": first.host,
        "metric": metric,
        "num_files_train": facts.files_train,
        "num_files_eval": facts.files_eval,
        "num_samples_per_file": facts.samples_per_file,
        "host_cpu_count": per_host(&|host| json!(host.cpus)),
        "host_processor_name": first.processor,
        "potential_caching": per_host(&|host| json!(has_potential_caching(host, data_gib(host)))),
        "host_cpuinfo": first.cpuinfo,
        "host_meminfo": first.meminfo,
        "host_memory_GB": per_host(&|host| json!(memory_gib(host))),
        "data_size_per_host_GB": data_gib(&first),
        "epochs": facts.epochs,
        "end": iso_local(facts.end_unix_ns),
    })
}

/// DLIO's keys; its GB are GiB.
fn add_checkpoints(metric: &mut Map<String, Value>, prefix: &str, figures: &OfficialCheckpoints) {
    let (io, duration) = (figures.gib_per_s, figures.duration_s);
    for (name, value) in [
        ("io_mean_GB_per_second", io.mean),
        ("io_stdev_GB_per_second", io.stdev),
        ("duration_mean_seconds", duration.mean),
        ("duration_stdev_seconds", duration.stdev),
    ] {
        metric.insert(format!("{prefix}_checkpoint_{name}"), json!(value));
    }
}

fn add_figures(
    metric: &mut Map<String, Value>,
    prefix: &str,
    figures: &RunFigures,
    facts: &RunFacts,
) {
    let mib = figures.mib_per_s(facts.record_length_bytes);
    let met = if figures.au_pass(facts.required_au) { "success" } else { "fail" };
    let (au, samples) = (figures.au_percent, figures.samples_per_s);
    for (name, value) in [
        ("au_percentage", json!(figures.au_percent_per_epoch)),
        ("au_mean_percentage", json!(au.mean)),
        ("au_meet_expectation", json!(met)),
        ("au_stdev_percentage", json!(au.stdev)),
        ("throughput_samples_per_second", json!(figures.samples_per_s_per_epoch)),
        ("throughput_mean_samples_per_second", json!(samples.mean)),
        ("throughput_stdev_samples_per_second", json!(samples.stdev)),
        ("io_mean_MB_per_second", json!(mib.mean)),
        ("io_stdev_MB_per_second", json!(mib.stdev)),
    ] {
        metric.insert(format!("{prefix}_{name}"), value);
    }
}

/// Writes `summary.json` into `dir`.
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write_summary(dir: &Path, facts: &RunFacts) -> io::Result<()> {
    write_atomic(&dir.join("summary.json"), |writer| write_json(writer, &summary_json(facts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::official::EpochSums;

    #[test]
    fn a_run_without_evaluation_has_no_such_keys() {
        let train = RunFigures::new(&[EpochSums::from_array([180.0, 4.0, 2.0])]);
        let hosts = [HostFacts {
            host: "n1".into(),
            ranks: 2,
            memory_bytes: 1 << 30,
            ..Default::default()
        }];
        let facts = RunFacts {
            start_unix_ns: 0,
            end_unix_ns: 1,
            hosts: &hosts,
            accelerators: 2,
            accelerators_per_rank: 1,
            files_train: 5,
            files_eval: 0,
            samples_per_file: 3,
            record_length_bytes: 1024.0 * 1024.0 * 1024.0 / 6.0,
            epochs: 1,
            required_au: 0.90,
            train: Some(&train),
            eval: None,
            save: None,
            load: None,
            checkpoint_bytes: None,
        };
        let summary = summary_json(&facts);
        assert_eq!(summary["metric"]["train_au_meet_expectation"], "success");
        assert_eq!(summary["metric"]["train_au_percentage"], json!([90.0]));
        assert!(summary["metric"].get("eval_au_percentage").is_none());
        // Two ranks with two whole files of three samples each.
        assert_eq!(summary["data_size_per_host_GB"], json!(2.0));
        assert_eq!(summary["potential_caching"], json!([0]));
        assert_eq!(summary["host_memory_GB"], json!([1.0]));
    }
}
