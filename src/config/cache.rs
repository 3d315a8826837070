//! `io.cache`: what becomes of the page cache, and the one rule by which the other keys that speak
//! of it (`io.direct`, `reader.odirect`, `storage.storage_type: direct_fs`) say the same.

use super::source::Sources;
use super::{Config, ConfigError, Engine, Io, IoMode};
use serde::{Deserialize, Serialize};

/// `io.cache` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// O_DIRECT: the page cache is passed by.
    #[default]
    Direct,
    /// Buffered; the pages of the files are dropped before every epoch.
    Drop,
    /// Buffered; nothing is dropped.
    Keep,
    /// Buffered; the pages of a file are dropped when it is closed.
    Evict,
}

impl CacheMode {
    /// As it is written in a file.
    pub fn name(self) -> &'static str {
        match self {
            CacheMode::Direct => "direct",
            CacheMode::Drop => "drop",
            CacheMode::Keep => "keep",
            CacheMode::Evict => "evict",
        }
    }

    /// Whether pages of the files are to be gone when an epoch begins.
    pub fn empties(self) -> bool {
        matches!(self, CacheMode::Drop | CacheMode::Evict)
    }
}

impl Io {
    /// Sets `cache`, and `direct` with it.
    pub fn set_cache(&mut self, cache: CacheMode) {
        self.cache = cache;
        self.direct = cache == CacheMode::Direct;
    }
}

/// What the keys of the reference say, true: O_DIRECT.
pub(super) struct Wishes<'a> {
    /// `reader.odirect`.
    pub odirect: Option<bool>,
    /// `storage.storage_type`.
    pub storage: Option<&'a str>,
}

/// Decides: `io.cache`, else `io.direct` or `reader.odirect` (False: `keep`), else `direct_fs`,
/// else the mode. Keys that say different things are refused.
pub(super) fn fold(
    sources: &Sources,
    wishes: &Wishes<'_>,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let io = &mut config.io;
    let given = |path: &str| sources.get(path).is_some();
    let claims = [
        ("io.direct", given("io.direct").then_some(io.direct)),
        ("reader.odirect", wishes.odirect),
        ("storage.storage_type", (wishes.storage == Some("direct_fs")).then_some(true)),
    ];
    let mut claims = claims.into_iter().filter_map(|(path, claim)| Some((path, claim?)));
    let first = match given("io.cache") {
        true => Some(("io.cache", io.cache == CacheMode::Direct)),
        false => claims.next(),
    };
    let Some((first_path, direct)) = first else {
        by_mode(io, notes);
        note_local(wishes, io, notes);
        return Ok(());
    };
    if let Some((path, claim)) = claims.find(|(_, claim)| *claim != direct) {
        let word = |direct| if direct { "O_DIRECT" } else { "buffered reads" };
        let (its, other) = (word(claim), word(direct));
        let text = format!("asks for {its}, but {first_path} for {other}; change or remove one");
        return Err(sources.error_about(path, &text));
    }
    if direct && io.engine == Engine::Mmap {
        let text = "asks for O_DIRECT, which cannot be had with io.engine mmap; give io.cache \
                    drop, keep or evict, or another engine";
        return Err(sources.error_about(first_path, text));
    }
    let by_claim = if direct { CacheMode::Direct } else { CacheMode::Keep };
    io.set_cache(if given("io.cache") { io.cache } else { by_claim });
    note_local(wishes, io, notes);
    Ok(())
}

/// Nothing was said: the Python tool reads through the page cache, we do not.
fn by_mode(io: &mut Io, notes: &mut Vec<String>) {
    if io.engine == Engine::Mmap {
        // A mapping has no O_DIRECT.
        io.set_cache(CacheMode::Keep);
    } else if io.mode == IoMode::Reference {
        io.set_cache(CacheMode::Keep);
        notes.push(
            "io.mode: `reference` reads through the page cache, as the Python tool does, unless \
             io.cache is direct"
                .into(),
        );
    }
}

fn note_local(wishes: &Wishes<'_>, io: &Io, notes: &mut Vec<String>) {
    if wishes.storage == Some("local_fs") && io.direct {
        notes.push(
            "storage.storage_type: rankio reads `local_fs` with O_DIRECT unless io.cache is drop, \
             keep or evict"
                .into(),
        );
    }
}
