//! Reads workload files and `--set` overrides into one flat list of keys and values.
//!
//! Every entry remembers where it was written, so that whatever is found wrong later can name file,
//! line and key. A later file or override replaces an earlier one key by key.

use super::ConfigError;
use super::catalogue::{self, Key, OPTIONAL_SECTIONS, SECTION_ALIASES, Treatment};
use super::coerce::quoted;
use super::locate::{Unreadable, line_of, read};
use serde_yaml::Value;
use std::path::{Path, PathBuf};

/// Prefixes of Hydra's spelling of an override, removed in this order.
const HYDRA_PREFIXES: [&str; 3] = ["++", "+", "workload."];

/// Sections of weights: given as a mapping one replaces the weights below it as a whole, because
/// those of another mix would change what was asked for.
const WHOLE_SECTIONS: [&str; 1] = ["object.mix"];

/// One key that was given.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its line in the table.
    pub key: &'static Key,
    /// Its value as written.
    pub value: Value,
    origin: Origin,
    /// Path as written, an alias unresolved.
    spelled: Vec<String>,
}

/// Where an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Origin {
    /// Index into [`Sources::files`].
    File(usize),
    Override,
    /// Left out of a section that was given whole.
    Whole,
}

#[derive(Debug)]
struct File {
    name: String,
    text: String,
}

/// All that was given.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<File>,
    entries: Vec<Entry>,
}

impl Sources {
    /// Reads `files` in order, then `overrides`.
    pub fn read(files: &[PathBuf], overrides: &[String]) -> Result<Sources, ConfigError> {
        let mut sources = Sources::default();
        for path in files {
            sources.add_file(path)?;
        }
        for text in overrides {
            sources.add_override(text)?;
        }
        Ok(sources)
    }

    /// Lays the figures of `accelerator` over the files; an override stays above them.
    pub fn take_accelerator(&mut self, accelerator: &str) -> Result<(), ConfigError> {
        let model = self.get("model.name").and_then(|entry| entry.value.as_str());
        let figures = super::accelerators::find(model.unwrap_or("default"), accelerator)
            .map_err(|text| ConfigError(format!("--accelerator: {text}")))?;
        let figures: [(&[&str; 2], Value); 2] = [
            (&["reader", "batch_size"], figures.batch_size.into()),
            (&["train", "computation_time"], figures.computation_time.into()),
        ];
        for (spelled, value) in figures {
            let path = spelled.join(".");
            if self.get(&path).is_some_and(|entry| entry.origin == Origin::Override) {
                continue;
            }
            let spelled: Vec<_> = spelled.iter().map(|name| name.to_string()).collect();
            let key = catalogue::find(&path).expect("both are keys");
            self.put(Entry { key, value, origin: Origin::Override, spelled })?;
        }
        Ok(())
    }

    /// The entries, in the order in which their keys first appeared.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of the key at `path`, if it was given.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.path == path)
    }

    /// An error about `entry`, or about what is at `inside` in its value.
    pub fn error(&self, entry: &Entry, inside: &[String], text: &str) -> ConfigError {
        let path: Vec<_> = entry.spelled.iter().chain(inside).cloned().collect();
        self.error_at(entry.origin, &path, text)
    }

    /// An error about the key at `path`, which names the file only where the key was not given.
    pub fn error_about(&self, path: &str, text: &str) -> ConfigError {
        match (self.get(path), self.files.last()) {
            (Some(entry), _) => self.error(entry, &[], text),
            (None, Some(file)) => ConfigError(format!("{}: {path}: {text}", file.name)),
            (None, None) => ConfigError(format!("{path}: {text}")),
        }
    }

    fn error_at(&self, origin: Origin, path: &[String], text: &str) -> ConfigError {
        let key = dotted(path);
        ConfigError(match origin {
            Origin::Override => format!("--set {key}: {text}"),
            Origin::Whole => format!("{key}: {text}"),
            Origin::File(index) => {
                let File { name, text: yaml } = &self.files[index];
                match line_of(yaml, path) {
                    Some(line) => format!("{name}:{line}: {key}: {text}"),
                    None => format!("{name}: {key}: {text}"),
                }
            }
        })
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("{name}: cannot be read: {error}; give a workload file"))
        })?;
        let root = parse(&name, &text)?;
        let origin = Origin::File(self.files.len());
        self.files.push(File { name: name.clone(), text });
        match root {
            Value::Mapping(_) => self.add(origin, &[], "", root),
            other => Err(ConfigError(format!(
                "{name}: holds {}; a workload file is a mapping of sections (dataset:, reader:, \
                 train:)",
                quoted(&other)
            ))),
        }
    }

    fn add_override(&mut self, text: &str) -> Result<(), ConfigError> {
        let Some((written, value)) = text.split_once('=') else {
            let text = format!("--set {text}: has no `=`; write section.key=value");
            return Err(ConfigError(text));
        };
        let mut path = written.trim();
        for prefix in HYDRA_PREFIXES {
            path = path.strip_prefix(prefix).unwrap_or(path);
        }
        if path.is_empty() {
            let text = format!("--set {text}: has no key; write section.key=value");
            return Err(ConfigError(text));
        }
        let spelled: Vec<_> = path.split('.').map(str::to_string).collect();
        let parsed = override_value(&canonical(&spelled), value)
            .map_err(|text| self.error_at(Origin::Override, &spelled, &text))?;
        let (name, sections) = spelled.split_last().expect("split yields at least one part");
        if !sections.is_empty() && !catalogue::is_section(&canonical(sections)) {
            return Err(self.error_at(Origin::Override, &spelled, &misplaced(&spelled)));
        }
        self.add(Origin::Override, sections, name, parsed)
    }

    /// Adds the value of key `name` in `sections` and, where that is a section, everything below
    /// it. The root is `""`.
    fn add(
        &mut self,
        origin: Origin,
        sections: &[String],
        name: &str,
        value: Value,
    ) -> Result<(), ConfigError> {
        let mut spelled = sections.to_vec();
        spelled.extend((!name.is_empty()).then(|| name.to_string()));
        let path = canonical(&spelled);
        if let Some(key) = catalogue::find(&path) {
            return self.put(Entry { key, value, origin, spelled });
        }
        if !path.is_empty() && !catalogue::is_section(&path) {
            // A file of another benchmark is better told by the section that makes it one.
            if let Some((entry, reason)) = self.entries.iter().find_map(refused_section) {
                return Err(self.error(entry, &[], reason));
            }
            let text = format!("unknown key; {}", catalogue::advice(&path));
            return Err(self.error_at(origin, &spelled, &text));
        }
        match value {
            Value::Mapping(mapping) => {
                if WHOLE_SECTIONS.contains(&path.as_str()) {
                    self.replace_section(origin, &path);
                }
                for (key, value) in mapping {
                    let Some(key) = key.as_str().filter(|key| !key.is_empty()) else {
                        let text = format!("{} is no name for a key", quoted(&key));
                        return Err(self.error_at(origin, &spelled, &text));
                    };
                    self.add(origin, &spelled, key, value)?;
                }
                Ok(())
            }
            Value::Null => {
                if OPTIONAL_SECTIONS.contains(&path.as_str()) {
                    self.entries.retain(|entry| !is_below(entry.key.path, &path));
                }
                Ok(())
            }
            other => {
                let text = format!("{} is not allowed; give a mapping of keys", quoted(&other));
                Err(self.error_at(origin, &spelled, &text))
            }
        }
    }

    /// A section that is given whole: what is not in it is 0, whatever lies below or is usual.
    fn replace_section(&mut self, origin: Origin, section: &str) {
        // What the same file says elsewhere stays, and is refused as a second value.
        let is_same = |entry: &Entry| origin != Origin::Override && entry.origin == origin;
        self.entries.retain(|entry| !is_below(entry.key.path, section) || is_same(entry));
        for key in catalogue::below(section) {
            let spelled = key.path.split('.').map(str::to_string).collect();
            let is_there = self.entries.iter().any(|entry| entry.key.path == key.path);
            if !is_there {
                self.entries.push(Entry { key, value: 0.into(), origin: Origin::Whole, spelled });
            }
        }
    }

    fn put(&mut self, entry: Entry) -> Result<(), ConfigError> {
        let earlier = self.entries.iter_mut().find(|other| other.key.path == entry.key.path);
        let Some(earlier) = earlier else {
            self.entries.push(entry);
            return Ok(());
        };
        if matches!(entry.origin, Origin::File(_)) && entry.origin == earlier.origin {
            let text = format!("also given as {}; keep one", dotted(&earlier.spelled));
            return Err(self.error(&entry, &[], &text));
        }
        *earlier = entry;
        Ok(())
    }
}

fn is_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// The path in the table's spelling.
fn canonical(spelled: &[String]) -> String {
    let path = spelled.join(".");
    let (section, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    match SECTION_ALIASES.iter().find(|(alias, _)| *alias == section) {
        Some((_, name)) => format!("{name}{rest}"),
        None => path,
    }
}

/// A path for people: `io.fault[0].kind`.
fn dotted(path: &[String]) -> String {
    let mut out = String::new();
    for segment in path {
        if !out.is_empty() && !segment.starts_with('[') {
            out.push('.');
        }
        out.extend(segment.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    out
}

/// Why no key can be at `spelled`, whose parent is not a section.
fn misplaced(spelled: &[String]) -> String {
    let parents = (1..spelled.len()).map(|depth| canonical(&spelled[..depth]));
    match parents.filter_map(|path| catalogue::find(&path)).next() {
        Some(Key { path, .. }) => {
            format!("{path} is one value; give it whole: --set {path}='...'")
        }
        None => format!("unknown key; {}", catalogue::advice(&canonical(spelled))),
    }
}

fn parse(name: &str, text: &str) -> Result<Value, ConfigError> {
    read(text).map_err(|Unreadable { line, path, text }| {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        let key = if path.is_empty() { String::new() } else { format!("{}: ", dotted(&path)) };
        ConfigError(format!("{name}{line}: {key}{text}"))
    })
}

/// Parses the value of an override: text as it was typed, anything else as YAML.
fn override_value(path: &str, text: &str) -> Result<Value, String> {
    let quoted_text = text.trim_start().starts_with(['"', '\'']);
    let plain_text = catalogue::find(path).is_some_and(|key| key.kind.is_text()) && !quoted_text;
    let null = matches!(text.trim(), "" | "null" | "~");
    if plain_text && !null {
        return Ok(text.into());
    }
    read(text).map_err(|Unreadable { path, text, .. }| {
        if path.is_empty() {
            format!("{text}; put it in quotes")
        } else {
            format!("{}: {text}", dotted(&path))
        }
    })
}

/// A whole section that is refused, with the reason.
fn refused_section(entry: &Entry) -> Option<(&Entry, &'static str)> {
    match entry.key.treatment {
        Treatment::Refused(reason) if !entry.key.path.contains('.') => Some((entry, reason)),
        _ => None,
    }
}
