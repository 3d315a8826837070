//! The terminal: what a command prints. Nothing else in the program writes to it, but errors and
//! progress.

use std::io::Write;

/// Prints a command's output. A reader that went away (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Tells the user something beside the output.
pub fn notice(text: &str) {
    // One write, so that a launcher which collects many ranks' output cannot cut it.
    let _ = std::io::stderr().lock().write_all(format!("rankio: {text}\n").as_bytes());
}
