//! The terminal: what a command prints. Nothing else in the program writes to it, but errors and
//! progress.

use std::io::{ErrorKind, Write};

/// Prints a command's output. A reader that went away (`| head`) is no error.
///
/// # Errors
/// One line, if standard output cannot be written: a full device, say.
pub fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output cannot be written: {error}; send it elsewhere"))
        }
        _ => Ok(()),
    }
}

/// Tells the user something beside the output.
pub fn notice(text: &str) {
    // One write, so that a launcher which collects many ranks' output cannot cut it.
    let _ = std::io::stderr().lock().write_all(format!("rankio: {text}\n").as_bytes());
}
