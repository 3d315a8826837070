//! The messages of a run, copied to files while it goes on: `output.log_file` in its results
//! folder, and what the reference's tool keeps of its own in `mlperf/`.

use super::timestamp;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// What a line of a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Time in UTC and message: `output.log_file`.
    Utc,
    /// Local time and message behind `[OUTPUT]`: DLIO's `dlio.log`.
    Dlio,
    /// As on the terminal, and only what was said there.
    Screen,
}

/// The files. One line a message, written at once, so that a killed job leaves what was said.
#[derive(Default)]
pub struct RunLog {
    files: Mutex<Vec<(Form, File)>>,
}

impl RunLog {
    /// Makes the file at `path` anew and copies messages to it from now on.
    ///
    /// # Errors
    /// What the file system said.
    pub fn add(&mut self, form: Form, path: &Path) -> std::io::Result<()> {
        let file = File::create(path)?;
        self.files.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).push((form, file));
        Ok(())
    }

    /// Adds a line that the user is not told on the terminal.
    pub fn line(&self, text: &str) {
        self.write(text, false);
    }

    /// Adds a line that stands on the terminal too.
    pub fn said(&self, text: &str) {
        self.write(text, true);
    }

    /// The message is also elsewhere, so a full disk loses nothing.
    fn write(&self, text: &str, said: bool) {
        let (now, text) = (timestamp::unix_ns_now(), text.replace('\n', " "));
        let Ok(mut files) = self.files.lock() else { return };
        for (form, file) in files.iter_mut() {
            let line = match form {
                Form::Utc => format!("{} {text}\n", timestamp::iso_utc(now)),
                Form::Dlio => format!("[OUTPUT] {} {text}\n", timestamp::iso_local(now)),
                Form::Screen if said => format!("rankio: {text}\n"),
                Form::Screen => continue,
            };
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
        let mut log = RunLog::default();
        for (form, name) in [(Form::Utc, "own"), (Form::Dlio, "dlio"), (Form::Screen, "screen")] {
            log.add(form, &dir.path().join(name)).unwrap();
        }
        log.said("note: one");
        log.line("two\nlines");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let text = read("own");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("20") && lines[0].ends_with("Z note: one"), "{text}");
        assert!(lines[1].ends_with(" two lines"), "{text}");
        let text = read("dlio");
        assert!(text.starts_with("[OUTPUT] 20") && text.ends_with(" two lines\n"), "{text}");
        assert_eq!(read("screen"), "rankio: note: one\n");
        assert!(log.add(Form::Utc, &dir.path().join("no/such/folder.log")).is_err());
    }
}
