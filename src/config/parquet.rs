//! `dataset.parquet`: columns and row groups of parquet files.
//!
//! Names and defaults are DLIO's; `coalesce_gap` is ours. Which columns are read is a property of
//! the reader, not of the files, so neither `read` nor the gap decides what a file holds.

use super::compression::ParquetEncoding;
use serde::{Deserialize, Serialize};

/// `dataset.parquet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parquet {
    /// The columns, in file order; none: one column `data` with a list of a sample's elements.
    pub columns: Vec<ParquetColumn>,
    /// Rows of each row group but the last of a file.
    pub row_group_size: u64,
    /// How values lie in pages (ours).
    pub encoding: ParquetEncoding,
    /// Selected column chunks with at most this many bytes between them are read as one range
    /// (ours).
    pub coalesce_gap: u64,
}

/// On dlrm's 40 of 200 columns this joins the 29 runs of selected chunks to 23 ranges for 8 % more
/// bytes; 64 KiB would make 19 of them for 22 % more (`docs/workloads.md`).
const COALESCE_GAP_BYTES: u64 = 32 << 10;

impl Default for Parquet {
    fn default() -> Self {
        Parquet {
            columns: Vec::new(),
            row_group_size: 1024,
            encoding: ParquetEncoding::Plain,
            coalesce_gap: COALESCE_GAP_BYTES,
        }
    }
}

impl Parquet {
    /// Nominal bytes of a row: size times element width over all columns, read or not. 0 without
    /// columns; saturating.
    pub fn row_bytes(&self) -> u64 {
        let bytes = |column: &ParquetColumn| column.size.saturating_mul(column.dtype.bytes());
        self.columns.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Takes over how the files of a dataset that exists were made; which columns are read stays.
    /// A run reads files as they are, and the benchmark's own files give row groups of 8192 rows to
    /// the generator and 6144 to the run. Returns a note where that differs from what was asked.
    pub fn take_row_groups(&mut self, made: &Parquet) -> Option<String> {
        let asked = std::mem::replace(&mut self.row_group_size, made.row_group_size);
        (asked != made.row_group_size).then(|| {
            format!(
                "dataset.parquet.row_group_size: no effect: the dataset has row groups of {} rows",
                made.row_group_size
            )
        })
    }

    /// Whether column `index` is read. Where a column says `read: true`, exactly those that do;
    /// else all but those that say `read: false`.
    pub fn is_read(&self, index: usize) -> bool {
        let chosen = self.columns.iter().any(|column| column.read == Some(true));
        match self.columns[index].read {
            Some(read) => read,
            None => !chosen,
        }
    }
}

/// One entry of `dataset.parquet.columns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParquetColumn {
    /// Name.
    pub name: String,
    /// Type of an element.
    #[serde(default)]
    pub dtype: ColumnType,
    /// Elements of a row: above 1 a list of that many; of `binary`, its bytes.
    #[serde(default = "one")]
    pub size: u64,
    /// Whether training reads the column.
    #[serde(default)]
    pub read: Option<bool>,
}

fn one() -> u64 {
    1
}

/// `dtype` of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ColumnType {
    Int8,
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float16,
    #[default]
    Float32,
    Float64,
    Bool,
    /// A list of float32 whatever its size.
    List,
    /// Text of fixed length.
    String,
    /// Bytes of fixed length.
    Binary,
}

impl ColumnType {
    /// Nominal bytes of an element.
    pub fn bytes(self) -> u64 {
        use ColumnType::*;
        match self {
            Int8 | Uint8 | Bool | String | Binary => 1,
            Int16 | Uint16 | Float16 => 2,
            Int32 | Uint32 | Float32 | List => 4,
            Int64 | Uint64 | Float64 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(dtype: ColumnType, size: u64, read: Option<bool>) -> ParquetColumn {
        ParquetColumn { name: "x".into(), dtype, size, read }
    }

    fn read(flags: &[Option<bool>]) -> Vec<bool> {
        let columns = flags.iter().map(|&read| column(ColumnType::Int8, 1, read)).collect();
        let parquet = Parquet { columns, ..Parquet::default() };
        (0..flags.len()).map(|index| parquet.is_read(index)).collect()
    }

    #[test]
    fn chosen_columns_exclude_the_others() {
        assert_eq!(read(&[None, None]), [true, true]);
        assert_eq!(read(&[None, Some(false)]), [true, false]);
        assert_eq!(read(&[None, Some(true), Some(false)]), [false, true, false]);
    }

    #[test]
    fn row_groups_are_those_of_the_files() {
        let made = Parquet { row_group_size: 8192, ..Parquet::default() };
        let mut asked = Parquet { row_group_size: 6144, coalesce_gap: 7, ..Parquet::default() };
        let note = asked.take_row_groups(&made).unwrap();
        assert!(note.ends_with("row groups of 8192 rows"), "{note}");
        assert_eq!((asked.row_group_size, asked.coalesce_gap), (8192, 7));
        assert_eq!(asked.take_row_groups(&made), None);
    }

    #[test]
    fn a_row_is_the_sum_of_its_columns() {
        let columns = vec![
            column(ColumnType::Float16, 1, None),
            column(ColumnType::Float32, 409, None),
            column(ColumnType::Binary, 10, Some(false)),
        ];
        assert_eq!(Parquet { columns, ..Parquet::default() }.row_bytes(), 2 + 1636 + 10);
        let endless = vec![column(ColumnType::Int64, u64::MAX, None); 2];
        assert_eq!(Parquet { columns: endless, ..Parquet::default() }.row_bytes(), u64::MAX);
    }
}
