//! Every key a workload file may hold, in one table.
//!
//! One entry says where a key stands, what its value may be and what becomes of it. Reading,
//! checking, did-you-mean and the documentation all go by this table, so a key exists exactly where
//! it has a line in [`keys()`].

mod dlio;
mod document;
mod own;
mod sentences;
mod suggest;

pub use document::markdown;
pub(super) use suggest::{advice, closest};

use super::kind::Kind;

/// What becomes of the value of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Treatment {
    /// It is a field of [`Config`](super::Config) with the same path.
    Typed,
    /// It has an effect, but through the field of another key, which is named here.
    Folded(&'static str),
    /// It is checked and then has no effect; the reason follows "no effect: " in the note.
    Ignored(&'static str),
    /// A file that holds it cannot be run; the sentence says why.
    Refused(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and name, joined by dots.
    pub path: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What becomes of it.
    pub treatment: Treatment,
}

/// Other names of a section: (as it may be written, as the table has it).
pub const SECTION_ALIASES: [(&str, &str); 1] = [("data_reader", "reader")];

/// Sections that are optional as a whole: absent and `null` mean None.
pub const OPTIONAL_SECTIONS: [&str; 1] = ["io.delay"];

/// All keys, in the order of the documentation.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [dlio::RUN, dlio::MODEL, dlio::DATASET, dlio::READER, dlio::TIMES, dlio::CHECKPOINT]
        .into_iter()
        .chain([own::CHECKPOINT, dlio::STORAGE, dlio::OUTPUT])
        .chain([own::OBJECT, own::IO, own::VERIFY, own::OTHER_TOOLS])
        .flatten()
}

/// The key at `path` (dotted, aliases resolved).
pub(super) fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// The keys below a section.
pub(super) fn below(section: &str) -> impl Iterator<Item = &'static Key> {
    keys()
        .filter(move |key| key.path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
}

/// Whether `path` is a section: keys stand below it.
pub(super) fn is_section(path: &str) -> bool {
    below(path).next().is_some()
}

const fn typed(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, treatment: Treatment::Typed }
}

const fn folded(path: &'static str, kind: Kind, into: &'static str) -> Key {
    Key { path, kind, treatment: Treatment::Folded(into) }
}

const fn ignored(path: &'static str, kind: Kind, reason: &'static str) -> Key {
    Key { path, kind, treatment: Treatment::Ignored(reason) }
}

const fn refused(path: &'static str, reason: &'static str) -> Key {
    Key { path, kind: Kind::Any, treatment: Treatment::Refused(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DelaySpec};
    use serde_yaml::Value;
    use std::collections::BTreeSet;

    fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
        match value {
            Value::Mapping(mapping) if find(path).is_none() => {
                for (key, value) in mapping {
                    let key = key.as_str().expect("field names are strings");
                    let dot = if path.is_empty() { "" } else { "." };
                    leaves(value, &format!("{path}{dot}{key}"), out);
                }
            }
            _ => {
                out.insert(path.to_string());
            }
        }
    }

    #[test]
    fn the_typed_keys_are_the_fields_of_config() {
        let mut config = Config::default();
        config.io.delay = Some(DelaySpec::default());
        let value = serde_yaml::to_value(&config).expect("a Config is plain data");
        let mut fields = BTreeSet::new();
        leaves(&value, "", &mut fields);
        let typed = keys().filter(|key| key.treatment == Treatment::Typed);
        let typed: BTreeSet<_> = typed.map(|key| key.path.to_string()).collect();
        assert_eq!(fields, typed);
    }

    #[test]
    fn paths_are_unique_and_no_key_is_a_section() {
        let mut seen = BTreeSet::new();
        for key in keys() {
            assert!(seen.insert(key.path), "{} stands twice", key.path);
            assert!(!is_section(key.path), "{} is a key and a section", key.path);
            if let Treatment::Folded(into) = key.treatment {
                assert!(find(into).is_some_and(|into| into.treatment == Treatment::Typed));
            }
        }
        for (_, section) in SECTION_ALIASES {
            assert!(is_section(section));
        }
        for section in OPTIONAL_SECTIONS {
            assert!(is_section(section));
        }
    }
}
