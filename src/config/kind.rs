//! What the value of a key may be.
//!
//! A [`Kind`] is data, so that one table of keys serves reading, error messages and documentation.
//! [`Kind::describe`] is the sentence that follows "give" in an error.

use std::fmt::Write;

/// Requests are multiples of this.
pub const PAGE_BYTES: u64 = 4096;

/// Largest `io.block_size`.
pub const BLOCK_BYTES_MAX: u64 = 1 << 30;

/// Counts end here: larger ones are surely mistakes, and a float holds them exactly.
pub const COUNT_MAX: u64 = 1 << 53;

/// About 30 years: longer times are surely mistakes, and every sum of a run's times stays in range.
const SECONDS_MAX: f64 = 1e9;

/// Compression and deduplication beyond this cannot be told from data that are all the same.
const RATIO_MAX: f64 = 1e6;

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `True`, `false`, `yes`, `off`, ...
    Bool,
    /// A whole number.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A whole number, or -1 or `null` for none.
    Cap,
    /// A whole number; -1 or `null` mean 0.
    Tally,
    /// Any finite number of a range.
    Number {
        /// Lower end.
        min: f64,
        /// Upper end, included.
        max: f64,
        /// The lower end itself is not allowed.
        above_min: bool,
    },
    /// Whole bytes, with or without a unit.
    Bytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// The value is a multiple of this.
        multiple: u64,
    },
    /// A mean of byte sizes: not necessarily whole, with or without a unit, at most [`COUNT_MAX`].
    MeanBytes {
        /// Smallest.
        min: f64,
    },
    /// Text that is not empty.
    Text,
    /// Text that may be empty.
    FreeText,
    /// One of some words; where `off` is one of them, YAML's false forms mean it too.
    Choice(&'static [&'static str]),
    /// A list of counts of at least 1.
    Counts,
    /// A list of texts.
    Texts,
    /// Seconds, constant or drawn.
    Distribution,
    /// A list of mappings.
    Records(&'static [Field]),
    /// The inner kind, or `null` or `None`.
    Optional(&'static Kind),
    /// Anything.
    Any,
}

/// One key of a mapping in [`Kind::Records`].
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Key.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// It must be there.
    pub required: bool,
}

pub(super) const BOOL: Kind = Kind::Bool;
pub(super) const COUNT: Kind = Kind::Count { min: 0, max: COUNT_MAX };
pub(super) const POSITIVE: Kind = Kind::Count { min: 1, max: COUNT_MAX };
pub(super) const SEED: Kind = Kind::Count { min: 0, max: u64::MAX };
pub(super) const SECONDS: Kind = Kind::Number { min: 0.0, max: SECONDS_MAX, above_min: false };
/// Seconds, or anything from -1 to 0 for none.
pub(super) const PAUSE: Kind = Kind::Number { min: -1.0, max: SECONDS_MAX, above_min: false };
pub(super) const RATIO: Kind = Kind::Number { min: 1.0, max: RATIO_MAX, above_min: false };
pub(super) const BYTES: Kind = Kind::Bytes { min: 0, max: u64::MAX, multiple: 1 };
pub(super) const TEXT: Kind = Kind::Text;
pub(super) const WORD: Kind = Kind::Optional(&Kind::FreeText);
pub(super) const COUNTS: Kind = Kind::Counts;
pub(super) const RANK: Kind = Kind::Optional(&Kind::Count { min: 0, max: u32::MAX as u64 });

impl Kind {
    /// What is allowed, as the object of "give".
    pub fn describe(&self) -> String {
        match *self {
            Kind::Bool => "True or False".into(),
            Kind::Count { min, max } => format!("a whole number {}", range(min, max)),
            Kind::Cap => "a whole number of at least 1, or -1 for no limit".into(),
            Kind::Tally => "a whole number of at least 0, or -1 for none".into(),
            Kind::Number { min, max, above_min } => {
                let mut text = String::from("a number ");
                text += if above_min { "above " } else { "of at least " };
                let _ = write!(text, "{min}");
                let _ = write!(text, " and at most {max}");
                text
            }
            Kind::Bytes { min, max, multiple } => describe_bytes(min, max, multiple),
            Kind::MeanBytes { min } => {
                format!("a size from {min} B to 8 PiB, such as 114660.07, 4MiB or 16 MB")
            }
            Kind::Text => {
                "a text that is not empty (in quotes where it looks like a number)".into()
            }
            Kind::FreeText => "a text (in quotes where it looks like a number)".into(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Counts => "a list of whole numbers of at least 1, such as [4, 8]".into(),
            Kind::Texts => "a list of texts, such as [sda, sdb]".into(),
            Kind::Distribution => "seconds of at least 0, {mean: M, stdev: S}, or a mapping with \
                 `type` normal, uniform, gamma, exponential or poisson"
                .into(),
            Kind::Records(fields) => {
                let names: Vec<_> = fields.iter().map(|field| field.name).collect();
                format!("a list of mappings with the keys {}", names.join(", "))
            }
            Kind::Optional(inner) => format!("{}, or null", inner.describe()),
            Kind::Any => "anything".into(),
        }
    }

    /// Whether an override is taken as it was typed, not as YAML.
    pub(super) fn is_text(&self) -> bool {
        match self {
            Kind::Text | Kind::FreeText => true,
            Kind::Optional(inner) => inner.is_text(),
            _ => false,
        }
    }
}

fn range(min: u64, max: u64) -> String {
    match max {
        COUNT_MAX => format!("of at least {min} (and at most 2^53)"),
        u64::MAX => format!("of at least {min} (and below 2^64)"),
        _ => format!("from {min} to {max}"),
    }
}

fn describe_bytes(min: u64, max: u64, multiple: u64) -> String {
    let size = super::units::format_bytes_iec;
    let mut text = String::from("a size");
    if multiple > 1 {
        let _ = write!(text, " that is a multiple of {}", size(multiple));
    }
    if max < u64::MAX {
        let _ = write!(text, " from {} to {}", size(min), size(max));
    } else if min > 0 {
        let _ = write!(text, " of at least {}", size(min));
    }
    text + if multiple > 1 { ", such as 65536 or 4MiB" } else { ", such as 65536, 4MiB or 16 MB" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_say_the_range() {
        let cases = [
            (POSITIVE, "a whole number of at least 1 (and at most 2^53)"),
            (Kind::Count { min: 1, max: 4096 }, "a whole number from 1 to 4096"),
            (SEED, "a whole number of at least 0 (and below 2^64)"),
            (RATIO, "a number of at least 1 and at most 1000000"),
            (
                Kind::Number { min: 0.0, max: 1.0, above_min: true },
                "a number above 0 and at most 1",
            ),
            (BYTES, "a size, such as 65536, 4MiB or 16 MB"),
            (
                Kind::Bytes { min: 4096, max: 1 << 30, multiple: 4096 },
                "a size that is a multiple of 4 KiB from 4 KiB to 1 GiB, such as 65536 or 4MiB",
            ),
            (Kind::Optional(&BOOL), "True or False, or null"),
        ];
        for (kind, text) in cases {
            assert_eq!(kind.describe(), text);
        }
    }
}
