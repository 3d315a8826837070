//! `dataset.compression` and `dataset.parquet.encoding`: files whose lengths are known only once
//! they are made.

use super::{Dataset, FormatKind};
use serde::{Deserialize, Serialize};

/// `dataset.compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Zstd,
    Lz4,
}

impl Compression {
    /// Least, default and greatest level; None: the codec has no levels. The defaults are those of
    /// zlib and, for zstd, of pyarrow.
    pub fn levels(self) -> Option<(u64, u64, u64)> {
        match self {
            Compression::Gzip => Some((1, 6, 9)),
            Compression::Zstd => Some((1, 1, 22)),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        }
    }
}

/// `dataset.parquet.encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ParquetEncoding {
    /// Values as they are; only integers of 8 and 16 bits go through a dictionary.
    #[default]
    Plain,
    /// Every chunk begins with a dictionary, and goes on plainly once that has 1 MiB.
    Dictionary,
}

impl Dataset {
    /// Level of the compression, whether given or not; None where there are no levels.
    pub fn compression_level_used(&self) -> Option<u64> {
        let (_, default, _) = self.compression.levels()?;
        Some(self.compression_level.unwrap_or(default))
    }

    /// Whether the lengths of files follow from the settings alone.
    pub fn has_exact_sizes(&self) -> bool {
        match self.format {
            FormatKind::Parquet => {
                self.compression == Compression::None
                    && self.parquet.encoding == ParquetEncoding::Plain
            }
            FormatKind::Csv => self.compression == Compression::None,
            _ => true,
        }
    }
}
