//! `profiling`: what is recorded beside the run while `workflow.profiling` is on.

use super::source::Sources;
use super::{Config, ConfigError};
use serde::{Deserialize, Serialize};

/// `profiling`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Profiling {
    /// What records.
    pub profiler: Profiler,
    /// Block devices whose counters are recorded on each host; empty: those below the data.
    pub iostat_devices: Vec<String>,
}

/// `profiling.profiler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Profiler {
    /// Nothing.
    None,
    /// Counters of block devices, each second.
    #[default]
    Iostat,
    /// A library for MPI programs; refused.
    Darshan,
    /// A profiler of TensorFlow; refused.
    Tensorboard,
}

impl Config {
    /// Whether the counters of block devices are recorded.
    pub fn records_devices(&self) -> bool {
        self.workflow.profiling && self.profiling.profiler == Profiler::Iostat
    }
}

/// Devices of a host that may be recorded: a series of each is kept in memory.
const DEVICES_MAX: usize = 16;

/// Refuses profilers that are not there, and notes settings that nothing looks at.
pub(super) fn check(
    sources: &Sources,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let on = config.workflow.profiling;
    let profiler = config.profiling.profiler;
    let refused = match profiler {
        Profiler::Darshan => Some(
            "`darshan` is a library that the job is started with (LD_PRELOAD), not a setting of \
             it; give iostat or none",
        ),
        Profiler::Tensorboard => {
            Some("`tensorboard` profiles TensorFlow, which does not run here; give iostat or none")
        }
        Profiler::None | Profiler::Iostat => None,
    };
    if let (true, Some(text)) = (on, refused) {
        return Err(sources.error_about("profiling.profiler", text));
    }
    let devices = &config.profiling.iostat_devices;
    if devices.len() > DEVICES_MAX {
        let text = format!("{} devices; give at most {DEVICES_MAX}", devices.len());
        return Err(sources.error_about("profiling.iostat_devices", &text));
    }
    if let Some(name) = devices.iter().find(|name| name.contains('/') || name.starts_with('.')) {
        let text =
            format!("`{name}` is no name of a block device; give one such as sda or nvme0n1");
        return Err(sources.error_about("profiling.iostat_devices", &text));
    }
    let named = !devices.is_empty();
    // The effective configuration of a run writes out what nobody asked for.
    let other = profiler != Profiler::default();
    for (path, said) in [("profiling.profiler", other), ("profiling.iostat_devices", named)] {
        if !on && said {
            notes.push(format!("{path}: no effect: workflow.profiling is False"));
        }
    }
    if on && profiler == Profiler::None {
        let keys = [("workflow.profiling", true), ("profiling.iostat_devices", named)];
        let said = keys.into_iter().filter(|(_, said)| *said);
        notes
            .extend(said.map(|(path, _)| format!("{path}: no effect: profiling.profiler is none")));
    }
    Ok(())
}
