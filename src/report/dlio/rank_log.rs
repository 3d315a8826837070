//! The step lists of one rank, written epoch by epoch.
//!
//! A rank of a long run has millions of steps, so an epoch goes to disk when it ends and is then
//! forgotten. Both files are complete JSON documents after each epoch: the closing bytes are
//! written behind every epoch and overwritten by the next one, so a run that is killed leaves files
//! that parse.

use super::{BlockLog, Indented, has_potential_caching, write_json};
use crate::host::HostFacts;
use crate::report::official::EpochValue;
use crate::report::timestamp::iso_local;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// One epoch of one rank.
#[derive(Debug, Clone, Copy)]
pub struct EpochLog<'a> {
    /// Number of the epoch, from 1.
    pub epoch: u64,
    /// Wall clock at the start of the epoch, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Wall clock at the end of the epoch, its evaluation included.
    pub end_unix_ns: u64,
    /// Length of the training part.
    pub train_duration_s: f64,
    /// Blocks with their official figures; one unless checkpoints cut the epoch.
    pub blocks: &'a [(BlockLog, EpochValue)],
    /// The checkpoint behind each block, as far as there are any.
    pub checkpoints: &'a [Option<CheckpointLog>],
    /// The evaluation after the epoch.
    pub eval: Option<&'a (BlockLog, EpochValue)>,
    /// `/proc/meminfo` at the end of the epoch.
    pub meminfo: &'a BTreeMap<String, String>,
}

/// One checkpoint written or read by this rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckpointLog {
    /// Wall clock at the start, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Wall clock at the end.
    pub end_unix_ns: u64,
    /// Time of this rank.
    pub duration_s: f64,
    /// Bytes of all ranks over the time of this one.
    pub gib_per_s: f64,
}

/// The two files of one rank.
#[derive(Debug)]
pub struct RankLog {
    output: OpenObject,
    epochs: OpenObject,
    /// The first of those that were kept until the end.
    failure: Option<io::Error>,
}

impl RankLog {
    /// Creates `<rank>_output.json` and `<rank>_per_epoch_stats.json` in `dir`, both without epochs
    /// and valid. `data_gib_per_host` decides `potential_caching`, see
    /// [`super::data_gib_per_host`].
    ///
    /// # Errors
    /// If a file cannot be created or written; the message names it.
    pub fn create(
        dir: &Path,
        rank: u64,
        host: &HostFacts,
        data_gib_per_host: f64,
    ) -> io::Result<RankLog> {
        let mut end = b",\n    \"hostname\": ".to_vec();
        write_json(&mut end, &host.host)?;
        end.extend_from_slice(b"\n}");
        let mut output = OpenObject::create(&dir.join(format!("{rank}_output.json")), end)?;
        let facts = [
            ("host_memory_GB", json!(super::summary::memory_gib(host))),
            ("host_cpu_count", json!(host.cpus)),
            ("host_processor_name", json!(host.processor)),
            ("potential_caching", json!(has_potential_caching(host, data_gib_per_host))),
            ("host_cpuinfo", json!(host.cpuinfo)),
            ("host_meminfo", json!(host.meminfo)),
        ];
        output.append(&facts)?;
        let stats = dir.join(format!("{rank}_per_epoch_stats.json"));
        let mut epochs = OpenObject::create(&stats, b"\n}".to_vec())?;
        epochs.append::<()>(&[])?;
        Ok(RankLog { output, epochs, failure: None })
    }

    /// Appends one epoch to both files. Both hold complete documents again afterwards, also if this
    /// fails.
    ///
    /// # Errors
    /// If writing fails (disk full); the message names the file.
    pub fn epoch(&mut self, epoch: &EpochLog) -> io::Result<()> {
        let key = epoch.epoch.to_string();
        self.output.append(&[(&key, StepLists(epoch))])?;
        self.epochs.append(&[(&key, Times(epoch))])
    }

    /// Appends checkpoints outside training to both files, as DLIO's epoch `epoch`: `save_ckpt1`,
    /// ..., `load_ckpt1`, ... with their times in the stats, an epoch without steps in the output.
    ///
    /// They have been measured when this is called, so a failure is kept until [`RankLog::finish`].
    pub fn checkpoints(
        &mut self,
        epoch: u64,
        (start_unix_ns, end_unix_ns): (u64, u64),
        checkpoints: &[(String, CheckpointLog)],
    ) {
        let mut times = serde_json::Map::new();
        times.insert("start".into(), json!(iso_local(start_unix_ns)));
        for (name, log) in checkpoints {
            times.insert(name.clone(), checkpoint_times(log));
        }
        times.insert("end".into(), json!(iso_local(end_unix_ns)));
        let no_steps = json!({
            "start": iso_local(start_unix_ns),
            "load": {},
            "proc": {},
            "throughput": {},
            "au": {},
            "compute": {},
            "end": iso_local(end_unix_ns),
        });
        let key = epoch.to_string();
        let failed = self.epochs.append(&[(&key, times)]).err();
        let failed = failed.or(self.output.append(&[(&key, no_steps)]).err());
        self.failure = self.failure.take().or(failed);
    }

    /// Makes both files durable.
    ///
    /// # Errors
    /// If syncing fails, or checkpoints could not be written; the message names the file.
    pub fn finish(self) -> io::Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.output.sync()?;
        self.epochs.sync()
    }
}

/// A file with one JSON object that grows at its end and is valid after each growth.
#[derive(Debug)]
struct OpenObject {
    file: File,
    path: String,
    /// Bytes that complete the document.
    end: Vec<u8>,
    /// Where they lie.
    end_at: u64,
    is_empty: bool,
}

impl OpenObject {
    fn create(path: &Path, end: Vec<u8>) -> io::Result<Self> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| at(&name, &error))?;
        (&file).write_all(b"{").map_err(|error| at(&name, &error))?;
        Ok(OpenObject { file, path: name, end, end_at: 1, is_empty: true })
    }

    /// Adds entries and the end of the document.
    fn append<T: Serialize>(&mut self, entries: &[(&str, T)]) -> io::Result<()> {
        let mut writer = BufWriter::new(&self.file);
        let written = write_entries(&mut writer, self.end_at, self.is_empty, entries, &self.end);
        // Without flushing: after an error the rest of the buffer must not reach the file.
        drop(writer.into_parts());
        match written {
            Ok(end_at) => {
                self.end_at = end_at;
                self.is_empty &= entries.is_empty();
                Ok(())
            }
            Err(error) => {
                // The first error is the one to report; a full disk has room for what was there.
                let _ = self.restore();
                Err(at(&self.path, &error))
            }
        }
    }

    /// Cuts off a half-written entry.
    fn restore(&self) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(self.end_at)?;
        file.seek(SeekFrom::Start(self.end_at))?;
        file.write_all(&self.end)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all().map_err(|error| at(&self.path, &error))
    }
}

/// Writes entries at `at`, then `end`; returns where `end` begins.
fn write_entries<T: Serialize>(
    writer: &mut BufWriter<&File>,
    at: u64,
    mut is_first: bool,
    entries: &[(&str, T)],
    end: &[u8],
) -> io::Result<u64> {
    writer.seek(SeekFrom::Start(at))?;
    for (key, value) in entries {
        writer.write_all(if is_first { b"\n    " } else { b",\n    " })?;
        write_json(writer, key)?;
        writer.write_all(b": ")?;
        write_json(&mut Indented(&mut *writer), value)?;
        is_first = false;
    }
    let end_at = writer.stream_position()?;
    writer.write_all(end)?;
    writer.flush()?;
    Ok(end_at)
}

fn at(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {path}: {error}"))
}

/// An epoch in `<rank>_output.json`.
struct StepLists<'a>(&'a EpochLog<'a>);

impl Serialize for StepLists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(7))?;
        for (key, column) in [
            ("load", Column::Load),
            ("proc", Column::Proc),
            ("throughput", Column::Throughput),
            ("au", Column::Au),
            ("compute", Column::Compute),
        ] {
            map.serialize_entry(key, &ByBlock(self.0, column))?;
        }
        map.serialize_entry("host_meminfo", self.0.meminfo)?;
        map.serialize_entry("end", &iso_local(self.0.end_unix_ns))?;
        map.end()
    }
}

#[derive(Clone, Copy)]
enum Column {
    Load,
    Proc,
    Throughput,
    Au,
    Compute,
}

/// One column of an epoch: `block1`, `block2`, ..., `eval`.
struct ByBlock<'a>(&'a EpochLog<'a>, Column);

impl Serialize for ByBlock<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, (block, value)) in named_blocks(self.0) {
            match self.1 {
                Column::Load => map.serialize_entry(&name, &block.load_s)?,
                Column::Proc => map.serialize_entry(&name, &Proc(block))?,
                Column::Throughput => map.serialize_entry(&name, &value.samples_per_s)?,
                Column::Au => map.serialize_entry(&name, &value.au_percent)?,
                Column::Compute => map.serialize_entry(&name, &block.compute_s)?,
            }
        }
        map.end()
    }
}

struct Proc<'a>(&'a BlockLog);

impl Serialize for Proc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.proc_s())
    }
}

fn named_blocks<'a>(
    epoch: &EpochLog<'a>,
) -> impl Iterator<Item = (String, &'a (BlockLog, EpochValue))> {
    let blocks = epoch.blocks.iter().enumerate();
    let blocks = blocks.map(|(index, block)| (format!("block{}", index + 1), block));
    blocks.chain(epoch.eval.map(|eval| ("eval".to_owned(), eval)))
}

fn checkpoint_times(log: &CheckpointLog) -> serde_json::Value {
    json!({
        "start": iso_local(log.start_unix_ns),
        "end": iso_local(log.end_unix_ns),
        "duration": log.duration_s,
        "throughput": log.gib_per_s,
    })
}

/// An epoch in `<rank>_per_epoch_stats.json`.
struct Times<'a>(&'a EpochLog<'a>);

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let epoch = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("start", &iso_local(epoch.start_unix_ns))?;
        for (index, (name, (block, _))) in named_blocks(epoch).enumerate() {
            let times = json!({
                "start": iso_local(block.start_unix_ns),
                "end": iso_local(block.end_unix_ns),
                "duration": format!("{:.2}", block.duration_s),
            });
            map.serialize_entry(&name, &times)?;
            if let Some(Some(log)) = epoch.checkpoints.get(index) {
                map.serialize_entry(&format!("save_ckpt{}", index + 1), &checkpoint_times(log))?;
            }
        }
        map.serialize_entry("end", &iso_local(epoch.end_unix_ns))?;
        map.serialize_entry("duration", &format!("{:.2}", epoch.train_duration_s))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(dir: &Path, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap()
    }

    fn block(steps: usize) -> (BlockLog, EpochValue) {
        let log = BlockLog {
            start_unix_ns: 1_000_000_000,
            end_unix_ns: 2_500_000_000,
            duration_s: 1.5,
            load_s: vec![0.25; steps],
            compute_s: vec![0.5; steps],
            barrier_s: vec![0.125; steps],
            samples: vec![4; steps],
        };
        (log, EpochValue { au_percent: 66.0, samples_per_s: 4.0, steps: steps as u64 })
    }

    fn log<'a>(
        epoch: u64,
        blocks: &'a [(BlockLog, EpochValue)],
        eval: Option<&'a (BlockLog, EpochValue)>,
        meminfo: &'a BTreeMap<String, String>,
    ) -> EpochLog<'a> {
        EpochLog {
            epoch,
            start_unix_ns: 0,
            end_unix_ns: 3_000_000_000,
            train_duration_s: 1.5,
            blocks,
            checkpoints: &[],
            eval,
            meminfo,
        }
    }

    #[test]
    fn the_files_are_valid_after_every_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let host = HostFacts { host: "node\"7".into(), cpus: 4, ..Default::default() };
        let meminfo = BTreeMap::from([("MemFree".to_owned(), "1 kB".to_owned())]);
        let mut rank = RankLog::create(dir.path(), 3, &host, 0.0).unwrap();
        assert_eq!(read(dir.path(), "3_per_epoch_stats.json"), json!({}));
        assert_eq!(read(dir.path(), "3_output.json")["hostname"], "node\"7");
        let (blocks, eval) = ([block(2), block(1)], block(1));
        rank.epoch(&log(1, &blocks, None, &meminfo)).unwrap();
        assert_eq!(read(dir.path(), "3_output.json")["1"]["proc"]["block1"], json!([0.75, 0.75]));
        rank.epoch(&log(2, &blocks, Some(&eval), &meminfo)).unwrap();
        // Interrupted: `finish` is not called.
        drop(rank);
        let output = read(dir.path(), "3_output.json");
        assert_eq!(output["2"]["load"]["block2"], json!([0.25]));
        assert_eq!(output["2"]["au"], json!({"block1": 66.0, "block2": 66.0, "eval": 66.0}));
        assert_eq!(output["2"]["host_meminfo"]["MemFree"], "1 kB");
        assert_eq!(output["hostname"], "node\"7");
        let stats = read(dir.path(), "3_per_epoch_stats.json");
        assert_eq!(stats["2"]["eval"]["start"], iso_local(1_000_000_000));
        assert_eq!(stats["1"]["duration"], "1.50");
        assert_eq!(stats["1"]["end"], iso_local(3_000_000_000));
        // The MLCommons version of DLIO says there too when an epoch ended.
        assert_eq!(output["1"]["end"], stats["1"]["end"]);
    }

    #[test]
    fn the_layout_is_that_of_python() {
        let dir = tempfile::tempdir().unwrap();
        let meminfo = BTreeMap::new();
        let mut rank = RankLog::create(dir.path(), 0, &HostFacts::default(), 0.0).unwrap();
        rank.epoch(&log(1, &[block(1)], None, &meminfo)).unwrap();
        rank.finish().unwrap();
        let text = std::fs::read_to_string(dir.path().join("0_per_epoch_stats.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut again = Vec::new();
        write_json(&mut again, &value).unwrap();
        assert_eq!(text.as_bytes(), again);
    }

    /// A value whose serialization fails after some output.
    struct Fails;

    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("written", &vec![1.5; 100_000])?;
            Err(serde::ser::Error::custom("no more"))
        }
    }

    #[test]
    fn a_failed_epoch_leaves_the_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object.json");
        let mut object = OpenObject::create(&path, b"\n}".to_vec()).unwrap();
        object.append(&[("1", 1)]).unwrap();
        let error = object.append(&[("2", Fails)]).unwrap_err().to_string();
        assert!(error.contains("object.json") && error.contains("no more"), "{error}");
        assert_eq!(read(dir.path(), "object.json"), json!({"1": 1}));
        object.append(&[("2", 2)]).unwrap();
        assert_eq!(read(dir.path(), "object.json"), json!({"1": 1, "2": 2}));
    }

    /// A full disk under the log took the figures of all checkpoints with it.
    #[test]
    fn checkpoints_that_cannot_be_logged_fail_at_the_end_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut rank = RankLog::create(dir.path(), 0, &HostFacts::default(), 0.0).unwrap();
        // Cannot be written to.
        rank.epochs.file = File::open(dir.path().join("0_per_epoch_stats.json")).unwrap();
        let log = CheckpointLog::default();
        rank.checkpoints(1, (0, 1), &[("save_ckpt1".into(), log)]);
        rank.checkpoints(2, (0, 1), &[("save_ckpt1".into(), log)]);
        let error = rank.finish().unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("0_per_epoch_stats"), "{error}");
    }

    #[test]
    fn checkpoints_without_training_are_an_epoch_of_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut rank = RankLog::create(dir.path(), 0, &HostFacts::default(), 0.0).unwrap();
        let log = CheckpointLog { duration_s: 0.5, gib_per_s: 2.0, ..Default::default() };
        rank.checkpoints(1, (0, 2_000_000_000), &[("save_ckpt1".into(), log)]);
        rank.finish().unwrap();
        let stats = read(dir.path(), "0_per_epoch_stats.json");
        assert_eq!(stats["1"]["save_ckpt1"]["throughput"], 2.0);
        let epoch = &read(dir.path(), "0_output.json")["1"];
        assert_eq!(epoch["end"], iso_local(2_000_000_000));
        assert_eq!((&epoch["load"], &epoch["start"]), (&json!({}), &json!(iso_local(0))));
    }

    #[test]
    fn an_impossible_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = RankLog::create(&missing, 0, &HostFacts::default(), 0.0).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
