//! `rankio doctor`: what this host can do, before a run depends on it.

use super::compute::{Pacer, now_ns};
use crate::config::{Dataset, Io};
use crate::data::{ContentSettings, Generator};
use crate::host::doctor::{Finding, Level, Need, doctor};
use crate::report::screen;
use crate::storage::{StoreSpec, connect, proof};
use crate::world::World;
use serde_json::json;
use std::path::Path;

const SAMPLE_BYTES: usize = 8 << 20;

/// Looks at every host's first rank, prints what was found on rank 0. False if something is bad.
/// Collective.
pub fn run(world: &World, path: &Path, as_json: bool) -> Result<bool, String> {
    let findings = if world.rank_on_host() == 0 { look(world, path) } else { Vec::new() };
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "host": world.host(),
                "name": finding.name,
                "level": level(finding.level),
                "text": finding.text,
                "remedy": finding.remedy,
            })
        })
        .collect();
    let bytes = serde_json::to_vec(&rows).map_err(|error| error.to_string())?;
    let gathered = world.gather(&bytes);
    let mut bad = [u64::from(findings.iter().any(|finding| finding.level == Level::Bad))];
    world.max(&mut bad);
    if let Some(parts) = gathered {
        let rows: Vec<serde_json::Value> = parts
            .iter()
            .filter_map(|part| serde_json::from_slice::<Vec<serde_json::Value>>(part).ok())
            .flatten()
            .collect();
        let text = match as_json {
            true => format!("{:#}", json!({ "findings": rows })),
            false => table(world, &rows),
        };
        screen::print(text.trim_end())?;
    }
    Ok(bad[0] == 0)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Bad => "bad",
    }
}

fn table(world: &World, rows: &[serde_json::Value]) -> String {
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or("").to_string();
    let mut host = String::new();
    let mut out = String::new();
    for row in rows {
        if text(row, "host") != host {
            host = text(row, "host");
            out += &format!("{host} (of {} host(s), {} rank(s))\n", world.hosts(), world.size());
        }
        let (level, name, what) = (text(row, "level"), text(row, "name"), text(row, "text"));
        out += &format!("  {level:<5}{name:<14}{what}\n");
        if !text(row, "remedy").is_empty() {
            out += &format!("       {:<14}-> {}\n", "", text(row, "remedy"));
        }
    }
    out
}

fn look(world: &World, path: &Path) -> Vec<Finding> {
    let io = Io::default();
    let threads = 4;
    let need = Need {
        ranks: world.ranks_on_host(),
        threads_per_rank: threads + 1,
        buffer_bytes_per_rank: threads * io.queue_depth * (io.block_size + 8192),
        open_files_per_rank: 128,
    };
    let mut findings = vec![mpi(world)];
    findings.extend(doctor(path, need));
    findings.push(engine(path));
    findings.push(direct(path));
    findings.push(device(path));
    findings.push(sleep());
    findings.extend(generator());
    findings
}

fn finding(name: &'static str, level: Level, text: String, remedy: &str) -> Finding {
    Finding { name, level, text, remedy: remedy.into() }
}

fn mpi(world: &World) -> Finding {
    if cfg!(feature = "mpi") {
        let text =
            format!("{}, {} rank(s) on {} host(s)", world.library(), world.size(), world.hosts());
        finding("mpi", Level::Ok, text, "")
    } else {
        let text = "this build has no MPI: one rank only".to_string();
        finding("mpi", Level::Warn, text, "build with the default feature `mpi`")
    }
}

/// Opens a store as a run would and says what it got.
fn engine(path: &Path) -> Finding {
    let io = Io::default();
    let root = path.to_string_lossy().into_owned();
    let (buffer_bytes, object) = (io.block_size as usize, Default::default());
    let spec = StoreSpec { root, buffers: 8, buffer_bytes, io, object, rank: 0 };
    match connect(&spec) {
        Err(error) => finding("engine", Level::Bad, error.to_string(), "use --engine sync"),
        Ok(store) => {
            let facts = store.facts();
            let registered = if facts.registered_buffers { "registered" } else { "not registered" };
            let text = format!("{}, buffers {registered}, pages {}", facts.engine, facts.page_size);
            let level = if facts.fallbacks.is_empty() { Level::Ok } else { Level::Warn };
            finding("engine", level, text, &facts.fallbacks.join("; "))
        }
    }
}

fn direct(path: &Path) -> Finding {
    match proof::alignment_probe(path) {
        Err(error) => finding(
            "direct I/O",
            Level::Bad,
            error.to_string(),
            "name a folder that exists and can be written: rankio doctor PATH",
        ),
        Ok(probe) if probe.enforced => finding("direct I/O", Level::Ok, probe.verdict, ""),
        Ok(probe) => finding(
            "direct I/O",
            Level::Warn,
            probe.verdict,
            "figures from here may be those of memory",
        ),
    }
}

fn device(path: &Path) -> Finding {
    if let Some(reason) = proof::memory_device(path) {
        let what = "figures from here will be those of memory";
        return finding("device", Level::Warn, reason, what);
    }
    match proof::device_counters(path) {
        Some(_) => {
            finding("device", Level::Ok, "its counters can be read: claims are checked".into(), "")
        }
        None => finding(
            "device",
            Level::Warn,
            "no block device with counters behind this folder: claims cannot be checked".into(),
            "",
        ),
    }
}

/// How far a sleep of one millisecond misses.
fn sleep() -> Finding {
    let mut pacer = Pacer::new();
    let mut worst_ns = 0;
    for _ in 0..50 {
        let start = now_ns();
        let end = pacer.wait(start, 1_000_000);
        worst_ns = worst_ns.max(end - start - 1_000_000);
    }
    let text = format!("a compute step of 1 ms is at most {:.1} us late", worst_ns as f64 / 1e3);
    if worst_ns < 100_000 {
        finding("sleep", Level::Ok, text, "")
    } else {
        finding(
            "sleep",
            Level::Warn,
            text,
            "the CPUs are busy or throttled: short steps will suffer",
        )
    }
}

fn generator() -> Vec<Finding> {
    let dataset = Dataset::default();
    let settings = ContentSettings {
        seed: dataset.seed,
        pcg: false,
        stamped: false,
        compress_ratio: 1.0,
        dedup_ratio: 1.0,
    };
    let generator = Generator::new(settings);
    let (fill, verify) = super::calibrate::generator_speed(&generator, SAMPLE_BYTES);
    let text = format!("{fill:.1} GiB/s to make, {verify:.1} GiB/s to check, for each thread");
    vec![finding("content", Level::Ok, text, "")]
}
