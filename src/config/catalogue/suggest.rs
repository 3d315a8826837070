//! Did-you-mean: what a misspelt key was probably meant to be.

use super::{Key, SECTION_ALIASES, Treatment, keys, older};
use std::collections::BTreeSet;

/// Likeness (0 to 1, normalised Damerau-Levenshtein) from which a name is offered.
const LIKELY: f64 = 0.7;

/// What to do about the unknown key `path`: the likely key, or else what its section has.
pub(in crate::config) fn advice(path: &str) -> String {
    if let Some(likely) = likely(path) {
        return format!("did you mean {likely}?");
    }
    let mut section = path;
    let mut known = BTreeSet::new();
    while known.is_empty() && !section.is_empty() {
        section = section.rsplit_once('.').map_or("", |(section, _)| section);
        let useful = |key: &Key| !matches!(key.treatment, Treatment::Ignored(_));
        known = children(section, useful);
        if known.is_empty() {
            known = children(section, |_| true);
        }
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    if section.is_empty() {
        format!("the sections are {known}")
    } else {
        format!("the keys of {section} are {known}")
    }
}

/// The most similar name: of the same section first, then the same name in another section, then
/// anything.
fn likely(path: &str) -> Option<String> {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut siblings = children(section, |_| true);
    if section.is_empty() {
        siblings.extend(SECTION_ALIASES.iter().map(|&(alias, _)| alias));
    }
    if let Some(sibling) = closest(name, siblings) {
        let dot = if section.is_empty() { "" } else { "." };
        return Some(format!("{section}{dot}{sibling}"));
    }
    let likeness = |other: &&str| strsim::normalized_damerau_levenshtein(path, other);
    let moved = candidates()
        .filter(|candidate| candidate.rsplit('.').next() == Some(name))
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    moved.or_else(|| closest(path, candidates())).map(str::to_string)
}

fn candidates() -> impl Iterator<Item = &'static str> {
    allowed().map(|key| key.path)
}

fn allowed() -> impl Iterator<Item = &'static Key> {
    let current = |key: &&Key| !older::holds(key);
    keys().filter(current).filter(|key| !matches!(key.treatment, Treatment::Refused(_)))
}

/// Names directly below `section` that lead to a key which is `wanted`.
fn children(section: &str, wanted: impl Fn(&Key) -> bool) -> BTreeSet<&'static str> {
    allowed()
        .filter(|key| wanted(key))
        .map(|key| key.path)
        .filter_map(|path| match section {
            "" => Some(path),
            _ => path.strip_prefix(section)?.strip_prefix('.'),
        })
        .filter_map(|rest| rest.split('.').next())
        .collect()
}

/// The most similar of `names`, if one is similar enough.
pub(in crate::config) fn closest(
    name: &str,
    names: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    names
        .into_iter()
        .map(|other| (strsim::normalized_damerau_levenshtein(name, other), other))
        .filter(|(likeness, _)| *likeness >= LIKELY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_understood() {
        let cases = [
            ("dataset.num_file_train", "did you mean dataset.num_files_train?"),
            ("datasets", "did you mean dataset?"),
            ("data_raeder", "did you mean data_reader?"),
            ("dataset.batch_size", "did you mean reader.batch_size?"),
            ("batch_size", "did you mean reader.batch_size?"),
            ("trian.epochs", "did you mean train.epochs?"),
            ("trian.seed", "did you mean train.seed?"),
            ("dtaset.seed", "did you mean dataset.seed?"),
            ("output.metrics", "did you mean output.metric?"),
            ("verify.xyzzy", "the keys of verify are mode, sample_fraction"),
        ];
        for (path, said) in cases {
            assert_eq!(advice(path), said, "{path}");
        }
        let sections = advice("q");
        assert!(sections.starts_with("the sections are checkpoint, dataset,"), "{sections}");
    }
}
