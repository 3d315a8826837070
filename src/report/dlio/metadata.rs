//! `<benchmark>_<YYYYMMDD_HHMMSS>_metadata.json`, in which `mlpstorage` says what it was asked for,
//! and `results.json`, the list of runs that its report generator writes.
//!
//! The metadata have no `num_processes` at the top (it stands in `args`). With it the report
//! generator would take the run from the metadata alone, know no memory of the hosts and call each
//! training invalid. Without it, it reads `summary.json` and `dlio_config/`.

use super::{Mlperf, summary_json, write_json};
use crate::host::HostFacts;
use crate::report::atomic::write_atomic;
use crate::report::timestamp::stamp_local;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const RESULTS: &str = "results.json";

/// Writes both files into `folder`.
pub(super) fn write(folder: &Path, mlperf: &Mlperf) -> io::Result<()> {
    let stamp = stamp_local(mlperf.facts.start_unix_ns);
    let name = format!("{}_{stamp}_metadata.json", mlperf.job.kind.benchmark);
    let metadata = metadata(folder, mlperf, &stamp);
    write_atomic(&folder.join(name), |writer| write_json(writer, &metadata))?;
    let results = [entry(mlperf, &stamp)];
    write_atomic(&folder.join(RESULTS), |writer| write_json(writer, &results))
}

fn metadata(folder: &Path, mlperf: &Mlperf, stamp: &str) -> Value {
    let Mlperf { facts, job, .. } = mlperf;
    let path = |name: String| folder.join(name).display().to_string();
    let overrides = json!(job.overrides);
    json!({
        "benchmark_type": job.kind.benchmark,
        "model": job.model,
        "command": job.kind.command,
        "run_datetime": stamp,
        "accelerator": job.accelerator,
        "result_dir": folder.display().to_string(),
        // Either pair of names is read: by the tool's reports and by its submission checker.
        "parameters": job.parameters,
        "override_parameters": overrides,
        "combined_params": job.parameters,
        "params_dict": overrides,
        "system_info": system_info(facts.hosts),
        "runtime": facts.end_unix_ns.saturating_sub(facts.start_unix_ns) as f64 / 1e9,
        // Theirs to find out.
        "verification": null,
        "executed_command": mlperf.command_line,
        "command_output_files": [{
            "command": mlperf.command_line,
            "stdout": path(job.kind.log_name("stdout")),
            "stderr": path(job.kind.log_name("stderr")),
        }],
        "args": args(mlperf),
        "written_by": concat!("rankio ", env!("CARGO_PKG_VERSION")),
    })
}

/// The options of `mlpstorage` that would ask for this run.
fn args(mlperf: &Mlperf) -> Map<String, Value> {
    let Mlperf { facts, job, .. } = mlperf;
    let names: Vec<&str> = facts.hosts.iter().map(|host| host.host.as_str()).collect();
    let params = job.overrides.iter().map(|(key, value)| format!("{key}={value}"));
    let mut args = Map::new();
    for (key, value) in [
        ("benchmark", json!(job.kind.benchmark)),
        ("model", json!(job.model)),
        ("command", json!(job.kind.command)),
        ("hosts", json!(names)),
        ("num_client_hosts", json!(facts.hosts.len())),
        ("num_processes", json!(mlperf.processes)),
        ("params", params.collect()),
        ("results_dir", json!(mlperf.results_root.display().to_string())),
    ] {
        args.insert(key.into(), value);
    }
    let (folder, writes, reads) = &job.checkpoints;
    if job.kind.benchmark == "checkpointing" {
        args.insert("checkpoint_folder".into(), json!(folder));
        args.insert("num_checkpoints_write".into(), json!(writes));
        args.insert("num_checkpoints_read".into(), json!(reads));
        return args;
    }
    args.insert("data_dir".into(), json!(job.data_folder));
    if !job.kind.generates() {
        args.insert("num_accelerators".into(), json!(facts.accelerators));
        args.insert("accelerator_type".into(), json!(job.accelerator));
    }
    args
}

/// What is known of the hosts.
fn system_info(hosts: &[HostFacts]) -> Value {
    let memory = hosts.iter().map(|host| host.memory_bytes);
    let each = hosts.iter().map(|host| {
        json!({
            "hostname": host.host,
            "memory": {"total": host.memory_bytes},
            "cpu": {"num_logical_cores": host.cpus, "model": host.processor},
            "system": {"hostname": host.host, "kernel_version": host.kernel},
        })
    });
    json!({
        "total_memory_bytes": memory.clone().sum::<u64>(),
        "num_hosts": hosts.len(),
        "min_memory_bytes": memory.clone().min().unwrap_or(0),
        "max_memory_bytes": memory.max().unwrap_or(0),
        "collection_method": "rankio",
        "hosts": each.collect::<Value>(),
    })
}

/// One run in `results.json`.
fn entry(mlperf: &Mlperf, stamp: &str) -> Value {
    let Mlperf { facts, job, .. } = mlperf;
    let mut entry = json!({
        "run_id": format!("{}_{}_{}_{stamp}", job.kind.benchmark, job.kind.command, job.model),
        "benchmark_type": job.kind.benchmark,
        "model": job.model,
        "command": job.kind.command,
        "num_processes": mlperf.processes,
        "parameters": job.parameters,
        "system_info": system_info(facts.hosts),
        "metrics": summary_json(facts)["metric"],
    });
    if let (Some(accelerator), Some(entry)) = (&job.accelerator, entry.as_object_mut()) {
        entry.insert("accelerator".into(), json!(accelerator));
    }
    entry
}

/// Writes `results.json` of several runs into `phase`, from those in the `mlperf/` folders of
/// `runs`. One run is held at a time.
///
/// # Errors
/// If a file cannot be read or written; the message names it.
pub fn join_results(phase: &Path, runs: &[PathBuf]) -> io::Result<()> {
    write_atomic(&phase.join(RESULTS), |writer| {
        let mut between = "[\n";
        for run in runs {
            let path = run.join(crate::report::files::MLPERF_DIR).join(RESULTS);
            let failed = |what: String| io::Error::other(format!("{}: {what}", path.display()));
            let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
            let one: Vec<Value> =
                serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            for entry in one {
                writer.write_all(between.as_bytes())?;
                write_json(writer, &entry)?;
                between = ",\n";
            }
        }
        writer.write_all(if runs.is_empty() { b"[]\n" } else { b"\n]\n" })
    })
}
