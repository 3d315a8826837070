//! File names, computed and never listed: exactly those that DLIO writes and looks for.
//!
//! `<train|valid>/[<i mod n>/]<prefix>_<i>_of_<N>.<suffix>`; `i` is padded with zeros to the digits
//! of `N`, the subfolder to the digits of `n`, and it exists only for `n > 1`.

use std::fmt::Write;
use std::sync::Arc;

/// The naming rule of one split.
#[derive(Debug, Clone)]
pub struct Names {
    /// `train` or `valid`.
    pub folder: &'static str,
    /// First part of the file name.
    pub prefix: Arc<str>,
    /// Suffix without the dot.
    pub suffix: &'static str,
    /// N.
    pub files: u64,
    /// n; 0 and 1: none.
    pub subfolders: u64,
}

impl Names {
    /// Replaces `out` by the name of file `index`.
    pub fn write(&self, index: u64, out: &mut String) {
        out.clear();
        out.push_str(self.folder);
        let width = digits(self.files);
        let written = if self.subfolders > 1 {
            let folder_width = digits(self.subfolders);
            write!(out, "/{:0folder_width$}", index % self.subfolders)
        } else {
            Ok(())
        };
        let (prefix, suffix, files) = (&self.prefix, self.suffix, self.files);
        written
            .and_then(|()| write!(out, "/{prefix}_{index:0width$}_of_{files}.{suffix}"))
            .expect("a String takes any text");
    }
}

/// The index in a name, whether or not it is one of these names.
pub fn index_in(name: &str) -> Option<u64> {
    let file = name.rsplit('/').next()?;
    file.rsplit_once("_of_")?.0.rsplit('_').next()?.parse().ok()
}

/// Decimal digits of `value`.
fn digits(value: u64) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(files: u64, subfolders: u64, index: u64) -> String {
        let names =
            Names { folder: "train", prefix: "img".into(), suffix: "npz", files, subfolders };
        let mut out = String::from("left over");
        names.write(index, &mut out);
        out
    }

    #[test]
    fn names_are_those_of_the_reference() {
        assert_eq!(name(168, 0, 7), "train/img_007_of_168.npz");
        assert_eq!(name(168, 1, 167), "train/img_167_of_168.npz");
        assert_eq!(name(10, 0, 3), "train/img_03_of_10.npz");
        assert_eq!(name(9, 0, 3), "train/img_3_of_9.npz");
        assert_eq!(name(4, 2, 3), "train/1/img_3_of_4.npz");
        assert_eq!(name(100, 10, 13), "train/03/img_013_of_100.npz");
        assert_eq!(name(1000, 12, 13), "train/01/img_0013_of_1000.npz");
    }

    #[test]
    fn a_long_enough_string_is_reused() {
        let names = Names {
            folder: "valid",
            prefix: "img".into(),
            suffix: "indexed_binary",
            files: 1_000_000_000,
            subfolders: 1000,
        };
        let mut out = String::with_capacity(128);
        let place = out.as_ptr();
        for index in [0, 999_999_999] {
            names.write(index, &mut out);
        }
        assert_eq!(out.as_ptr(), place);
        assert_eq!(out, "valid/0999/img_0999999999_of_1000000000.indexed_binary");
    }
}
