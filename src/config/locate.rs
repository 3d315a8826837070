//! Reads a YAML text and finds the line of a key in it.
//!
//! The parser reports positions only together with an error. So to find a key the text is read once
//! more by a visitor that fails on purpose when it stands on it; the position of that failure is
//! the key's. This costs a second parse on the error path only, and agrees with the parser on every
//! form of YAML (flow, quotes, block scalars, anchors).

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};
use std::cell::RefCell;
use std::fmt;

/// Why a text cannot be read.
#[derive(Debug, PartialEq)]
pub(super) struct Unreadable {
    /// Line from 1, where known.
    pub line: Option<usize>,
    /// The key that is wrong; empty where the text is no YAML.
    pub path: Vec<String>,
    /// What is wrong.
    pub text: String,
}

/// Reads `text` with merges (`<<`) applied. Repeated keys and tags are refused; an integer beyond
/// 64 bits becomes text, so that its key can refuse it.
pub(super) fn read(text: &str) -> Result<Value, Unreadable> {
    let stop = RefCell::default();
    let walk = Walk { target: None, path: Vec::new(), stop: &stop };
    let read = walk.deserialize(serde_yaml::Deserializer::from_str(text));
    let merged = read.and_then(|mut value| {
        value.apply_merge()?;
        Ok(value)
    });
    merged.map_err(|error| {
        let line = error.location().map(|place| place.line());
        let indent = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
        match stop.into_inner() {
            Some((path, text)) => Unreadable { line, path, text: text.into() },
            None => {
                let mut text = format!("not valid YAML: {}", without_place(&error));
                if indent.trim_start_matches(' ').starts_with('\t') {
                    text += "; indent with spaces, not with tabs";
                }
                Unreadable { line, path: Vec::new(), text }
            }
        }
    })
}

/// Line (from 1) of the key at `path`; list items are written `[0]`. None when the text has no such
/// key, for instance because it came in through a merge (`<<`).
pub(super) fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let stop = RefCell::default();
    let walk = Walk { target: Some(path), path: Vec::new(), stop: &stop };
    let error = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    let (stopped, _) = stop.into_inner()?;
    (stopped == path).then(|| error.location().map(|place| place.line()))?
}

/// The parser's message without the line and column at its end.
fn without_place(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_string()
}

/// Where and why a walk stopped.
type Stop = RefCell<Option<(Vec<String>, &'static str)>>;

/// Visits one value and what is inside it.
struct Walk<'a> {
    /// Stop here; None: read all.
    target: Option<&'a [String]>,
    path: Vec<String>,
    stop: &'a Stop,
}

impl Walk<'_> {
    fn below(&self, segment: &str) -> Self {
        let mut path = self.path.clone();
        path.push(segment.to_string());
        Walk { target: self.target, path, stop: self.stop }
    }

    fn fail<E: Error>(&self, why: &'static str) -> E {
        *self.stop.borrow_mut() = Some((self.path.clone(), why));
        E::custom(why)
    }

    /// `value`, unless this is the target. That is so for list items only: keys stop before their
    /// value.
    fn yields<E: Error>(self, value: impl Into<Value>) -> Result<Value, E> {
        self.stop_at_target()?;
        Ok(value.into())
    }

    fn stop_at_target<E: Error>(&self) -> Result<(), E> {
        if self.target == Some(&self.path) { Err(self.fail("found")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.stop_at_target()?;
        let mut out = Mapping::new();
        while let Some(key) = map.next_key_seed(Key { walk: &self, seen: &out })? {
            let value = map.next_value_seed(self.below(&key))?;
            out.insert(key.into(), value);
        }
        Ok(Value::Mapping(out))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.stop_at_target()?;
        let mut out = Vec::new();
        while let Some(value) = seq.next_element_seed(self.below(&format!("[{}]", out.len())))? {
            out.push(value);
        }
        Ok(Value::Sequence(out))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        self.stop_at_target()?;
        Err(self.fail("tags (`!...`) are not allowed; remove it"))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.yields(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.yields(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.yields(value)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.yields(value.to_string())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.yields(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.yields(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.yields(value)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.yields(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.yields(Value::Null)
    }
}

/// Visits one key of a mapping; fails on the target and on a key that was seen before.
struct Key<'k, 'a> {
    walk: &'k Walk<'a>,
    seen: &'k Mapping,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a plain key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        let here = self.walk.below(key);
        here.stop_at_target()?;
        if self.seen.contains_key(key) {
            return Err(here.fail("given twice; keep one"));
        }
        Ok(key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_string).collect()
    }

    const NESTED: &str = "\
# a comment with dataset: in it
model: {name: x, type: cnn}
dataset:
 format: npz   # narrow indentation
 \"num_files_train\": 3
 note: |
   reader:
     batch_size: 1
 parquet:
   columns:
     - name: a
       dtype: int8
     - {name: b,
        dtype: int16}
reader: {
  batch_size: 4,
  'read_threads': 2 }
? train
: epochs: 3
list: [
  4, 5,
  text]
";

    #[test]
    fn keys_are_found_in_every_form() {
        let cases = [
            ("model", Some(2)),
            ("model.type", Some(2)),
            ("dataset", Some(3)),
            ("dataset.format", Some(4)),
            ("dataset.num_files_train", Some(5)),
            ("dataset.parquet.columns", Some(10)),
            ("dataset.parquet.columns.[0].dtype", Some(12)),
            ("dataset.parquet.columns.[1].name", Some(13)),
            ("dataset.parquet.columns.[1].dtype", Some(14)),
            ("dataset.parquet.columns.[1]", Some(13)),
            ("list.[0]", Some(21)),
            ("list.[2]", Some(22)),
            ("list.[3]", None),
            ("reader", Some(15)),
            ("reader.batch_size", Some(16)),
            ("reader.read_threads", Some(17)),
            ("train.epochs", Some(19)),
            ("train.seed", None),
            ("batch_size", None),
        ];
        for (key, line) in cases {
            assert_eq!(line_of(NESTED, &path(key)), line, "{key}");
        }
    }

    #[test]
    fn a_broken_text_has_no_lines() {
        assert_eq!(line_of("a: [1, 2", &path("b")), None);
        assert_eq!(line_of("", &path("b")), None);
    }

    #[test]
    fn repeated_keys_and_tags_are_refused_with_their_place() {
        let twice = "given twice; keep one";
        let tag = "tags (`!...`) are not allowed; remove it";
        let cases = [
            ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, "a.b", twice),
            ("a: {x: 1, x: 2}", 1, "a.x", twice),
            ("a: 1\nb:\n - {c: 1}\na: 2\n", 4, "a", twice),
            ("a:\n  b: !x 3\n", 2, "a.b", tag),
            ("a:\n- 1\n- !x [3]\n", 3, "a.[1]", tag),
        ];
        for (text, line, key, why) in cases {
            let refused = Unreadable { line: Some(line), path: path(key), text: why.into() };
            assert_eq!(read(text), Err(refused), "{text}");
        }
        let broken = read("a: 1\nb: [2\n");
        assert_eq!(broken.map_err(|error| (error.line, error.path)), Err((Some(3), vec![])));
    }

    #[test]
    fn what_is_read_is_what_the_parser_reads() {
        let text = NESTED.replace("train", "more");
        let parsed: Value = serde_yaml::from_str(&text).expect("valid");
        assert_eq!(read(&text), Ok(parsed));
        let scalars = "[1, -2, 3.5, 1e6, true, null, ~, text, '4', \"5\", 0x10, 010, .inf, [], {}]";
        let parsed: Value = serde_yaml::from_str(scalars).expect("valid");
        assert_eq!(read(scalars), Ok(parsed));
        assert_eq!(read(""), Ok(Value::Null));
        assert_eq!(read("99999999999999999999999"), Ok("99999999999999999999999".into()));
    }
}
