//! `output.log_file`: the messages of a run with their times, in its results folder.

use super::timestamp;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// The file. One line a message, written at once, so that a killed job leaves what was said.
pub struct RunLog {
    file: Mutex<File>,
}

impl RunLog {
    /// Makes the file anew.
    ///
    /// # Errors
    /// One line that names it.
    pub fn create(path: &Path) -> Result<RunLog, String> {
        let file = File::create(path).map_err(|error| {
            format!("{}: {error}; give another output.log_file", path.display())
        })?;
        Ok(RunLog { file: Mutex::new(file) })
    }

    /// Adds a line. The same message goes to standard error, so a full disk loses nothing.
    pub fn line(&self, text: &str) {
        let now = timestamp::iso_utc(timestamp::unix_ns_now());
        let line = format!("{now} {}\n", text.replace('\n', " "));
        if let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_a_line_with_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dlio.log");
        let log = RunLog::create(&path).unwrap();
        log.line("note: one");
        log.line("two\nlines");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("20") && lines[0].ends_with(" note: one"), "{text}");
        assert!(lines[1].ends_with(" two lines"), "{text}");
        let refused = RunLog::create(&dir.path().join("no/such/folder.log"));
        assert!(refused.is_err_and(|what| what.contains("output.log_file")));
    }
}
