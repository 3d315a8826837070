//! Counters of block devices over the time of each phase (`workflow.profiling`).
//!
//! The first rank of a host has a thread that looks at the devices once a second; neither the step
//! loop nor the I/O threads know of it. Memory is that of a [`Series`] for each device and phase,
//! and what rank 0 collects from all hosts is bounded too: with many of them bins become wider.

use super::compute::now_ns;
use super::session::Session;
use crate::config::Config;
use crate::metrics::Series;
use crate::metrics::series::COLUMNS;
use crate::report::csv::DeviceSeries;
use crate::storage::proof::{DeviceCounts, DeviceWatch, device_names};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bins that rank 0 collects of all devices, hosts and phases: 40 MiB.
const BINS_OF_ALL: u64 = 1 << 20;
/// ... but of each at least these.
const BINS_OF_EACH: u64 = 16;

/// The devices of a host and what was recorded of them.
pub struct DeviceRecorder {
    host: String,
    watches: Vec<DeviceWatch>,
    recorded: Mutex<Vec<Recorded>>,
}

struct Recorded {
    phase: &'static str,
    device: String,
    series: Series,
}

/// Names of the devices that `config` asks for on this host, and whether it names them itself.
fn wanted(config: &Config, data: Option<&Path>) -> (Vec<String>, bool) {
    let named = &config.profiling.iostat_devices;
    match data {
        _ if !named.is_empty() => (named.clone(), true),
        Some(path) => (device_names(path), false),
        None => (Vec::new(), false),
    }
}

/// Whether the devices that `config` names are there, on this host.
///
/// # Errors
/// One line that names the key, the device and where it was looked for.
pub fn check(config: &Config) -> Result<(), String> {
    if !config.records_devices() {
        return Ok(());
    }
    for name in &config.profiling.iostat_devices {
        DeviceWatch::open(name).map_err(|what| {
            format!("profiling.iostat_devices: {what}; lsblk names those that are there")
        })?;
    }
    Ok(())
}

impl DeviceRecorder {
    /// The recorder of this rank: on the first rank of a host, where the workload asks for one.
    pub fn of(session: &Session<'_>) -> Result<Option<DeviceRecorder>, String> {
        let world = session.world;
        if !session.config.records_devices() || world.rank_on_host() != 0 {
            return Ok(None);
        }
        let (names, named) = wanted(session.config, session.measured_path.as_deref());
        if names.is_empty() && !named {
            session.note(
                "note: profiling.iostat_devices: no block device lies below the data on this host, \
                 so none is recorded; name one to record it",
            );
        }
        let watches: Result<Vec<_>, _> = names.iter().map(|name| DeviceWatch::open(name)).collect();
        let watches = watches.map_err(|what| format!("profiling.iostat_devices: {what}"))?;
        let (host, recorded) = (world.host().to_string(), Mutex::new(Vec::new()));
        Ok(Some(DeviceRecorder { host, watches, recorded }))
    }

    /// Looks once a second until `done`.
    fn record(&self, phase: &'static str, done: &AtomicBool) {
        let look = |watch: &DeviceWatch| watch.counts().unwrap_or_default();
        let mut seen: Vec<DeviceCounts> = self.watches.iter().map(look).collect();
        let mut series: Vec<Series> = self.watches.iter().map(|_| Series::new()).collect();
        let start = now_ns();
        let mut at = 0;
        loop {
            let last = done.load(Ordering::SeqCst);
            let now = now_ns() - start;
            for ((watch, seen), series) in self.watches.iter().zip(&mut seen).zip(&mut series) {
                // A device that went away adds nothing.
                let Some(counts) = watch.counts() else { continue };
                series.spread_words(at, now, &words(&counts.since(seen)));
                *seen = counts;
            }
            at = now;
            if last {
                break;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        let mut recorded = self.recorded.lock().expect("no thread panics while it holds this lock");
        recorded.extend(self.watches.iter().zip(series).map(|(watch, series)| Recorded {
            phase,
            device: watch.name().to_string(),
            series,
        }));
    }
}

/// The columns of a series of a device.
fn words(counts: &DeviceCounts) -> [u64; COLUMNS] {
    let DeviceCounts { read_bytes, write_bytes, reads, writes, io_ms } = *counts;
    [read_bytes, write_bytes, reads, writes, io_ms]
}

/// Runs `body` while the devices of this host are recorded, if they are.
pub fn recording<R>(session: &Session<'_>, phase: &'static str, body: impl FnOnce() -> R) -> R {
    let Some(recorder) = session.devices.as_ref().filter(|of| !of.watches.is_empty()) else {
        return body();
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("devices".into());
        let thread = builder.spawn_scoped(scope, || recorder.record(phase, &done));
        let outcome = body();
        done.store(true, Ordering::SeqCst);
        if let Ok(thread) = &thread {
            thread.thread().unpark();
        }
        outcome
    })
}

/// What all hosts recorded, on rank 0. Collective.
pub fn collect(session: &Session<'_>) -> Vec<DeviceSeries> {
    if !session.config.records_devices() {
        return Vec::new();
    }
    let mut own = Vec::new();
    if let Some(recorder) = &session.devices {
        let mut recorded =
            recorder.recorded.lock().expect("no thread panics while it holds this lock");
        own = recorded.drain(..).collect();
    }
    let mut count = [own.len() as u64];
    session.world.sum(&mut count);
    let bins = (BINS_OF_ALL / count[0].max(1)).max(BINS_OF_EACH) as usize;
    let host = session.devices.as_ref().map_or("", |recorder| recorder.host.as_str());
    let own: Vec<_> = own.into_iter().map(|recorded| shortened(recorded, host, bins)).collect();
    let bytes = serde_json::to_vec(&own).expect("a series is plain data");
    let gathered = session.world.gather(&bytes).unwrap_or_default();
    let parse = |bytes: Vec<u8>| serde_json::from_slice::<Vec<DeviceSeries>>(&bytes);
    let all = gathered.into_iter().map(parse);
    all.flat_map(|series| series.expect("all ranks run the same program")).collect()
}

/// A series in at most so many bins.
fn shortened(recorded: Recorded, host: &str, bins: usize) -> DeviceSeries {
    let Recorded { phase, device, mut series } = recorded;
    while series.used_bins() > bins {
        series.coarsen_to(2 * series.width_ns());
    }
    let used = series.used_bins();
    let words = series.words().chunks_exact(COLUMNS).take(used);
    DeviceSeries {
        phase: phase.to_string(),
        device: format!("{device}@{host}"),
        width_ns: series.width_ns(),
        bins: words.map(|words| words.try_into().expect("a chunk has that length")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hosts_have_wider_bins_and_lose_nothing() {
        let mut series = Series::new();
        for second in 0..100u64 {
            series.spread_words(
                second * 1_000_000_000,
                (second + 1) * 1_000_000_000,
                &[1, 2, 3, 4, 5],
            );
        }
        let recorded = Recorded { phase: "training", device: "vda".into(), series };
        let short = shortened(recorded, "node7", 30);
        assert_eq!((short.width_ns, short.bins.len()), (4_000_000_000, 25));
        assert_eq!(short.device, "vda@node7");
        assert!(short.bins.iter().all(|bin| *bin == [4, 8, 12, 16, 20]));
    }

    #[test]
    fn a_device_that_is_named_must_be_there() {
        let mut config = Config::default();
        config.profiling.iostat_devices = vec!["nosuchdisk7".into()];
        assert_eq!(check(&config), Ok(()));
        config.workflow.profiling = true;
        let error = check(&config).unwrap_err();
        assert!(error.starts_with("profiling.iostat_devices: nosuchdisk7: no counters"), "{error}");
    }
}
