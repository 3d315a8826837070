//! Finds the line of a key in a YAML text.
//!
//! The parser reports positions only together with an error. So the text is read once more by a visitor that fails on
//! purpose when it stands on the wanted key; the position of that failure is the key's. This costs a second parse on the
//! error path only, and agrees with the parser on every form of YAML (flow, quotes, block scalars, anchors).

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// What to stop at.
#[derive(Clone, Copy)]
enum Goal<'a> {
    /// The key at this path.
    Key(&'a [String]),
    /// The second appearance of a key in its mapping.
    Repeated,
}

/// Line (from 1) of the key at `path`; list items are written `[0]`. None when the text has no such key, for instance
/// because it came in through a merge (`<<`).
pub(super) fn line_of(text: &str, path: &[String]) -> Option<usize> {
    stop_at(text, Goal::Key(path)).map(|(line, _)| line)
}

/// Line and path of the first key that stands twice in one mapping.
pub(super) fn repeated_key(text: &str) -> Option<(usize, Vec<String>)> {
    stop_at(text, Goal::Repeated)
}

fn stop_at(text: &str, goal: Goal<'_>) -> Option<(usize, Vec<String>)> {
    let found = RefCell::new(None);
    let walk = Walk { goal, path: Vec::new(), found: &found };
    let error = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    let path = found.into_inner()?;
    Some((error.location()?.line(), path))
}

/// Visits one value and what is inside it.
struct Walk<'a> {
    goal: Goal<'a>,
    path: Vec<String>,
    found: &'a RefCell<Option<Vec<String>>>,
}

impl Walk<'_> {
    fn below(&self, segment: String) -> Self {
        let mut path = self.path.clone();
        path.push(segment);
        Walk { goal: self.goal, path, found: self.found }
    }

    /// Fails where this value is the goal, which is so for list items only: keys stop before their value.
    fn arrive<E: Error>(&self) -> Result<(), E> {
        match self.goal {
            Goal::Key(target) if self.path == target => {
                *self.found.borrow_mut() = Some(self.path.clone());
                Err(E::custom("found"))
            }
            _ => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Values that cannot hold the goal are skipped, which also spares tagged and odd scalars a visit.
        match self.goal {
            Goal::Key(target) if !target.starts_with(&self.path) => {
                deserializer.deserialize_ignored_any(IgnoredAny).map(drop)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.arrive()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(Key { walk: &self, seen: &seen })? {
            map.next_value_seed(self.below(key.clone()))?;
            seen.insert(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.arrive()?;
        let mut index = 0;
        while seq.next_element_seed(self.below(format!("[{index}]")))?.is_some() {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.arrive()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.arrive()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.arrive()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.arrive()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.arrive()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.arrive()
    }
}

/// Visits one key of a mapping; fails on the goal.
struct Key<'k, 'a> {
    walk: &'k Walk<'a>,
    seen: &'k HashSet<String>,
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
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        let mut path = self.walk.path.clone();
        path.push(key.to_string());
        let hit = match self.walk.goal {
            Goal::Key(target) => path == target,
            Goal::Repeated => self.seen.contains(key),
        };
        if hit {
            *self.walk.found.borrow_mut() = Some(path);
            return Err(E::custom("found"));
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
    fn repeated_keys_are_found() {
        assert_eq!(repeated_key(NESTED), None);
        let text = "a:\n  b: 1\n  c: 2\n  b: 3\n";
        assert_eq!(repeated_key(text), Some((4, path("a.b"))));
        assert_eq!(repeated_key("a: {x: 1, x: 2}"), Some((1, path("a.x"))));
        assert_eq!(repeated_key("a: 1\nb:\n - {c: 1}\na: 2\n"), Some((4, path("a"))));
    }
}
