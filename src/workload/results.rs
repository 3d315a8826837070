//! From the phases of a run to `result.json` and everything around it. Rank 0 writes; the others
//! learn the verdict.

use super::devices;
use super::housekeeping;
use super::phase::{RankRow, Reduced};
use super::run::{Finished, Phases, Request, Written};
use super::session::Session;
use crate::config::{Loaded, ReadType};
use crate::host::HostFacts;
use crate::metrics::{Histogram, Series};
use crate::report::checkpoint::OfficialCheckpoints;
use crate::report::csv::{self, DeviceSeries, PhaseSeries, RankFigures};
use crate::report::dlio::RunFacts;
use crate::report::files::{Attachments, write_all};
use crate::report::foreign::ForeignSamples;
use crate::report::hlog::Interval;
use crate::report::official::RunFigures;
use crate::report::result::{Calibration, Phase, Run, RunResult, SCHEMA, Status, Tool, Verdict};
use crate::report::verdict::{Evidence, judge};
use crate::report::{screen, text, timestamp};
use crate::world::World;
use std::path::Path;
use std::time::Duration;

/// What belongs to the result beside the phases.
pub(super) struct Collected<'a> {
    pub run_id: &'a str,
    pub folder: &'a Path,
    pub loaded: &'a Loaded,
    pub request: &'a Request,
    pub started_unix_ns: u64,
}

/// Official figures for `mlperf/summary.json`.
#[derive(Default)]
struct Official {
    train: Option<RunFigures>,
    eval: Option<RunFigures>,
}

/// Reduces what is left, writes all files and prints the summary. Collective.
pub(super) fn write_results(
    session: &Session<'_>,
    collected: &Collected<'_>,
    hosts: &[HostFacts],
    mut phases: Phases,
) -> Result<Finished, String> {
    let trained = phases.trained.take();
    let mut official = Official::default();
    if let Some(trained) = trained {
        let evaluated = trained.evaluation.is_some();
        official = Official {
            train: Some(trained.train_figures.official()),
            eval: evaluated.then(|| trained.eval_figures.official()),
        };
        phases.reduced.extend(trained.training);
        phases.reduced.extend(trained.evaluation);
        phases.reduced.extend(trained.saved);
        phases.reduced.extend(phases.restored.take());
        phases.series.push(("training", trained.series));
    }
    phases.reduced.extend(housekeeping::reduce(session));
    let series: Vec<(&'static str, Series)> =
        phases.series.drain(..).map(|(name, series)| (name, sum_series(session, series))).collect();
    let devices = devices::collect(session);
    let mut outcome = Ok(None);
    if session.world.is_root() {
        let series = Curves { ranks: &series, devices: &devices };
        outcome = write_on_root(session, collected, hosts, &phases, series, &official).map(Some);
    }
    let written = match outcome {
        Ok(written) => written,
        Err(message) => session.world.fail(&message),
    };
    let own = written.as_ref().map_or(Status::Valid, |written| written.result.verdict.status);
    let status = told_by_root(session.world, own);
    Ok(Finished { status, partial: phases.partial, written: written.map(Box::new) })
}

/// The status that rank 0 found. Collective.
pub(super) fn told_by_root(world: &World, own: Status) -> Status {
    match world.broadcast(vec![own as u8])[0] {
        code if code == Status::Valid as u8 => Status::Valid,
        code if code == Status::Cached as u8 => Status::Cached,
        code if code == Status::ClientBound as u8 => Status::ClientBound,
        _ => Status::Invalid,
    }
}

/// Adds the series of all ranks bin by bin, after all have the same bin width. Collective.
fn sum_series(session: &Session<'_>, mut series: Series) -> Series {
    let mut width = [series.width_ns()];
    session.world.max(&mut width);
    series.coarsen_to(width[0]);
    session.world.sum(series.words_mut());
    series
}

/// What happened over time.
struct Curves<'a> {
    ranks: &'a [(&'static str, Series)],
    devices: &'a [DeviceSeries],
}

fn write_on_root(
    session: &Session<'_>,
    collected: &Collected<'_>,
    hosts: &[HostFacts],
    phases: &Phases,
    curves: Curves<'_>,
    official: &Official,
) -> Result<Written, String> {
    let ended_unix_ns = super::compute::unix_ns();
    let result = result_of(session, collected, hosts, phases, ended_unix_ns);
    let window_ns = |name: &str| {
        let phase = result.phases.iter().find(|phase| phase.name == name);
        phase.map_or(0, |phase| (phase.window_s * 1e9) as u64)
    };
    let series: Vec<PhaseSeries<'_>> = curves
        .ranks
        .iter()
        .map(|(phase, series)| PhaseSeries { phase, window_ns: window_ns(phase), series })
        .collect();
    let histograms: Vec<Interval<'_>> = phases.reduced.iter().flat_map(intervals).collect();
    let mlperf = run_facts(session, collected, hosts, official, &result.phases, ended_unix_ns);
    let attachments = Attachments {
        effective_yaml: &collected.loaded.effective_yaml,
        start_unix_ns: collected.started_unix_ns,
        rank_rows: &mut phases.reduced.iter().flat_map(|phase| &phase.rows).map(csv_row),
        series: &series,
        devices: curves.devices,
        histograms: &histograms,
        mlperf,
    };
    let verdict = serde_json::to_string(&result.verdict).unwrap_or_default();
    session.log_line(&format!("verdict: {verdict}"));
    // First of all: what was measured must not be lost to a full results folder.
    let brief = collected.request.brief;
    let printed = if brief { Ok(()) } else { screen::print(text::summary(&result).trim_end()) };
    write_all(collected.folder, &result, attachments).map_err(|error| error.to_string())?;
    let place = format!("results: {}", collected.folder.display());
    printed
        .and_then(|()| if brief { Ok(()) } else { screen::print(&place) })
        .map_err(|message| format!("{message} ({place})"))?;
    let unix_ns = [collected.started_unix_ns, ended_unix_ns];
    Ok(Written { result, folder: collected.folder.to_path_buf(), unix_ns })
}

fn result_of(
    session: &Session<'_>,
    collected: &Collected<'_>,
    hosts: &[HostFacts],
    phases: &Phases,
    ended_unix_ns: u64,
) -> RunResult {
    let world = session.world;
    let all: Vec<_> = phases.reduced.iter().map(|reduced| reduced.phase.clone()).collect();
    let verdict = match all.iter().any(Phase::is_measured) {
        false => Verdict {
            status: Status::Invalid,
            reasons: vec!["workflow asks for nothing: no phase ran.".into()],
            held: Vec::new(),
        },
        true => judge(&Evidence {
            phases: &all,
            calibration: phases.calibration.as_ref(),
            ranks: world.size(),
            partial: phases.partial,
            foreign: phases.foreign.then(|| foreign_samples(session)),
        }),
    };
    RunResult {
        schema: SCHEMA,
        tool: Tool {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("RANKIO_COMMIT").into(),
            features: features(),
        },
        run: Run {
            id: collected.run_id.into(),
            command: collected.request.command.clone(),
            started: timestamp::iso_utc(collected.started_unix_ns),
            ended: timestamp::iso_utc(ended_unix_ns),
            ranks: world.size(),
            hosts: world.hosts(),
            ranks_per_host: world.size().div_ceil(world.hosts()),
            accelerators: session.plan.accelerators(),
            seed: session.run_seed,
            plan_hash: session.plan.hash(),
            partial: phases.partial,
        },
        config: serde_json::to_value(&collected.loaded.config).unwrap_or_default(),
        config_notes: collected.loaded.notes.clone(),
        environment: hosts.to_vec(),
        calibration: calibration(phases),
        phases: all,
        verdict,
    }
}

/// What samples of a dataset that rankio did not make should be like.
fn foreign_samples(session: &Session<'_>) -> ForeignSamples {
    use crate::config::FormatKind::{IndexedBinary, MmapIndexedBinary, Tfrecord};
    let dataset = &session.config.dataset;
    let samples_per_file = dataset.num_samples_per_file;
    let apart = matches!(dataset.format, Tfrecord | IndexedBinary | MmapIndexedBinary);
    ForeignSamples {
        nominal_bytes: crate::plan::nominal_sample_bytes(dataset),
        planned_bytes: session.plan.real_sample_bytes(),
        stdev_bytes: dataset.record_length_bytes_stdev,
        samples_per_file,
        read_apart: samples_per_file == 1
            || (apart && session.config.reader.read_type == ReadType::OnDemand),
    }
}

/// The calibration with the sleep error of the steps that were really computed.
fn calibration(phases: &Phases) -> Option<Calibration> {
    let errors = phases.reduced.iter().flat_map(|reduced| &reduced.histograms);
    let mut errors = errors.filter(|(name, _)| name == "compute_error_ns");
    let mut calibration = phases.calibration.clone()?;
    calibration.sleep_error_ns = errors.next().map(|(_, h)| h.summary()).unwrap_or_default();
    Some(calibration)
}

fn features() -> Vec<String> {
    let mut features = Vec::new();
    if cfg!(feature = "mpi") {
        features.push("mpi".into());
    }
    features.push(format!("profile={}", env!("RANKIO_PROFILE")));
    features.push(format!("target_features={}", env!("RANKIO_TARGET_FEATURES")));
    features
}

fn intervals(reduced: &Reduced) -> Vec<Interval<'_>> {
    let recorder = &reduced.recorder;
    let named: [(&str, &Histogram); 4] = [
        ("read", &recorder.read),
        ("write", &recorder.write),
        ("sync", &recorder.sync),
        ("open", &recorder.open),
    ];
    let own = reduced.histograms.iter().map(|(name, histogram)| (name.as_str(), histogram));
    named
        .into_iter()
        .chain(own)
        .filter(|(_, histogram)| histogram.count() > 0)
        .map(|(operation, histogram)| Interval {
            phase: &reduced.phase.name,
            operation,
            start: Duration::ZERO,
            length: Duration::from_secs_f64(reduced.phase.window_s),
            histogram,
        })
        .collect()
}

fn csv_row(row: &RankRow) -> csv::RankRow {
    let window_s = row.window_ns as f64 / 1e9;
    let seconds = |ns: Option<u64>| ns.unwrap_or(0) as f64 / 1e9;
    let figures = RankFigures {
        window_s,
        bytes: row.bytes,
        operations: row.operations,
        samples_per_s: if window_s > 0.0 { row.samples as f64 / window_s } else { 0.0 },
        au_percent: row.columns.au_percent.unwrap_or(0.0),
        load_mean_s: seconds(row.columns.load_mean_ns),
        compute_mean_s: seconds(row.columns.compute_mean_ns),
        barrier_mean_s: seconds(row.columns.barrier_mean_ns),
        cpu_s: row.cpu_s,
        peak_rss_bytes: row.peak_rss_bytes,
    };
    csv::RankRow { rank: row.rank, host: row.host.clone(), phase: row.phase.clone(), figures }
}

fn run_facts<'a>(
    session: &Session<'_>,
    collected: &Collected<'_>,
    hosts: &'a [HostFacts],
    official: &'a Official,
    phases: &[Phase],
    end_unix_ns: u64,
) -> Option<RunFacts<'a>> {
    let config = session.config;
    let (save, load) =
        (official_of(phases, "checkpoint_save"), official_of(phases, "checkpoint_restore"));
    let checkpoint_bytes = save.as_ref().or(load.as_ref()).map(|(bytes, _)| *bytes);
    if official.train.is_none() && checkpoint_bytes.is_none() {
        return None;
    }
    Some(RunFacts {
        start_unix_ns: collected.started_unix_ns,
        end_unix_ns,
        hosts,
        accelerators: session.plan.accelerators(),
        accelerators_per_rank: session.plan.accelerators_per_rank(),
        files_train: config.dataset.num_files_train,
        files_eval: config.dataset.num_files_eval,
        samples_per_file: config.dataset.num_samples_per_file,
        record_length_bytes: crate::plan::nominal_sample_bytes(&config.dataset),
        epochs: config.train.epochs,
        required_au: config.metric.au,
        train: official.train.as_ref(),
        eval: official.eval.as_ref(),
        save: save.map(|(_, figures)| figures),
        load: load.map(|(_, figures)| figures),
        checkpoint_bytes,
    })
}

/// Bytes of a checkpoint and DLIO's figures of the phase `kind`, if there was one.
fn official_of(phases: &[Phase], kind: &str) -> Option<(u64, OfficialCheckpoints)> {
    let phase = phases.iter().find(|phase| phase.kind == kind)?;
    let metrics = phase.checkpoint()?;
    Some((metrics.bytes, OfficialCheckpoints::of(&metrics.operations)))
}
