//! `result.json`: the schema of `result`, indented, there whole or not at all.

use super::atomic::write_atomic;
use super::result::{RunResult, SCHEMA};
use std::io::{self, Write};
use std::path::Path;

/// Writes a result.
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write(path: &Path, result: &RunResult) -> io::Result<()> {
    write_atomic(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, result)?;
        writer.write_all(b"\n")
    })
}

/// Reads a result.
///
/// # Errors
/// If the file cannot be read, is no result, or has another schema version; the message names it.
pub fn read(path: &Path) -> io::Result<RunResult> {
    let failed = |what: String| io::Error::other(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| failed(format!("not a result of rankio: {error}")))?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64);
    if schema != Some(u64::from(SCHEMA)) {
        let found = schema.map_or("none".to_owned(), |version| version.to_string());
        let remedy = "use the rankio that wrote it";
        return Err(failed(format!("schema {SCHEMA} is wanted, {found} found; {remedy}")));
    }
    serde_json::from_value(value)
        .map_err(|error| failed(format!("not a result of schema {SCHEMA}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_result_survives_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        let result = sample::result();
        write(&path, &result).unwrap();
        let again = read(&path).unwrap();
        let value = |result| serde_json::to_value(result).unwrap();
        assert_eq!(value(&again), value(&result));
    }

    #[test]
    fn another_schema_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        std::fs::write(&path, r#"{"schema": 99}"#).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("result.json: schema 1 is wanted, 99 found"), "{message}");
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("not a result"));
    }
}
