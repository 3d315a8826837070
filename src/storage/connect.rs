//! From a URI and the `io` section to a store: the one table of what there is.

use super::delay::DelayStore;
use super::fault::FaultStore;
use super::file::{Engine, FileOptions, FileStore, MmapEngine, SyncEngine};
use super::file::{UringEngine, UringOptions};
use super::null::NullStore;
use super::object::{ObjectStore, Service};
use super::{BufferPool, Storage, StorageError, StoreSpec};
use crate::config;
use std::io;
use std::path::Path;

/// What a scheme stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// A folder; `true`: direct whatever `io.direct` says.
    Folder(bool),
    Null,
    /// Objects.
    Objects(Service),
}

/// Every scheme beside those of objects. A root without one is a folder.
const SCHEMES: &[(&str, Scheme)] = &[
    ("file://", Scheme::Folder(false)),
    ("direct://", Scheme::Folder(true)),
    ("null://", Scheme::Null),
];

/// Scheme and the rest of a root.
fn parse(root: &str) -> Result<(Scheme, &str), StorageError> {
    for (prefix, scheme) in SCHEMES {
        if let Some(rest) = root.strip_prefix(prefix) {
            return Ok((*scheme, rest));
        }
    }
    if let Some((service, rest)) = Service::of(root) {
        return Ok((Scheme::Objects(service), rest));
    }
    if let Some((scheme, _)) = root.split_once("://") {
        let what = format!(
            "unknown scheme `{scheme}`: use a path, file://, direct://, s3://, az://, gs:// or \
             null://"
        );
        return Err(StorageError::own("connect", Path::new(root), what));
    }
    Ok((Scheme::Folder(false), root))
}

/// Opens a store instance for one I/O thread.
///
/// # Errors
/// A scheme that is unknown or not available, buffers that cannot be had, a ring that is refused
/// while `io.engine` insists on it, a fault entry that makes no sense.
pub fn connect(spec: &StoreSpec) -> Result<Box<dyn Storage>, StorageError> {
    let (scheme, path) = parse(&spec.root)?;
    let own = |what: String| StorageError::own("connect", Path::new(&spec.root), what);
    let mut store: Box<dyn Storage> = match scheme {
        Scheme::Objects(_) if spec.io.engine == config::Engine::Null => {
            Box::new(NullStore::new(pool_of(spec)?))
        }
        // The root is not repeated while it may hold a secret.
        Scheme::Objects(service) => {
            let store = ObjectStore::new(spec, (service, path), pool_of(spec)?);
            let scheme = Path::new(service.scheme());
            Box::new(store.map_err(|what| StorageError::own("connect", scheme, what))?)
        }
        Scheme::Null => Box::new(NullStore::new(pool_of(spec)?)),
        Scheme::Folder(_) if path.is_empty() => return Err(own("the path is empty".into())),
        Scheme::Folder(_) if spec.io.engine == config::Engine::Null => {
            Box::new(NullStore::new(pool_of(spec)?))
        }
        Scheme::Folder(direct) => connect_folder(spec, Path::new(path), direct)?,
    };
    if spec.io.fault.iter().any(|f| f.rank.is_none_or(|r| r == spec.rank)) {
        store = Box::new(FaultStore::new(store, path, &spec.io.fault, spec.rank)?);
    }
    match &spec.io.delay {
        Some(delay) if delay.rank.is_none_or(|r| r == spec.rank) => {
            Ok(Box::new(DelayStore::new(store, delay)))
        }
        _ => Ok(store),
    }
}

fn pool_of(spec: &StoreSpec) -> Result<BufferPool, StorageError> {
    BufferPool::new(spec.buffers, spec.buffer_bytes, spec.io.huge_pages).map_err(|e| {
        let what = format!(
            "no memory for {} buffers of {} bytes ({e}): lower io.queue_depth or io.block_size",
            spec.buffers, spec.buffer_bytes
        );
        StorageError::own("connect", Path::new(&spec.root), what)
    })
}

fn connect_folder(
    spec: &StoreSpec,
    path: &Path,
    force_direct: bool,
) -> Result<Box<dyn Storage>, StorageError> {
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let pool = pool_of(spec)?;
    let depth = pool.count();
    let mut fallbacks = Vec::new();
    if matches!(spec.io.engine, config::Engine::Auto | config::Engine::Uring) {
        let options = UringOptions {
            root: path.to_path_buf(),
            submit_batch: usize::try_from(spec.io.submit_batch).unwrap_or(usize::MAX),
            request_bytes: spec.buffer_bytes,
            registered: spec.io.registered,
        };
        match UringEngine::new(&pool, options) {
            Ok(engine) => return boxed(engine, pool, spec, path, force_direct, fallbacks),
            Err(e) if spec.io.engine == config::Engine::Uring => {
                let mut error = StorageError::own("connect", path, ring_refused(&e));
                error.errno = e.raw_os_error().unwrap_or(0);
                return Err(error);
            }
            Err(e) => fallbacks.push(format!("{}; pread/pwrite instead", ring_refused(&e))),
        }
    }
    if spec.io.engine == config::Engine::Mmap {
        if spec.io.direct || force_direct {
            let sentence = "mmap reads through the page cache: O_DIRECT is not possible";
            fallbacks.push(sentence.into());
        }
        return boxed(MmapEngine::new(depth), pool, spec, path, false, fallbacks);
    }
    boxed(SyncEngine::new(depth), pool, spec, path, force_direct, fallbacks)
}

fn boxed<E: Engine + 'static>(
    engine: E,
    pool: BufferPool,
    spec: &StoreSpec,
    root: &Path,
    force_direct: bool,
    fallbacks: Vec<String>,
) -> Result<Box<dyn Storage>, StorageError> {
    let mapped = spec.io.engine == config::Engine::Mmap;
    let direct = (spec.io.direct || force_direct) && !mapped;
    let evict = spec.io.cache == config::CacheMode::Evict;
    let options = FileOptions { root, direct, reserve: spec.io.fallocate, evict, fallbacks };
    Ok(Box::new(FileStore::new(engine, pool, options)?))
}

/// Why there is no ring, and what would help.
fn ring_refused(error: &io::Error) -> String {
    let reason = match error.raw_os_error() {
        Some(libc::EPERM) => {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            match sysctl.as_deref().map(str::trim) {
                Ok(value) if value != "0" => {
                    format!("sysctl kernel.io_uring_disabled is {value}, set it to 0")
                }
                _ => "a seccomp filter or container profile forbids it (sysctl \
                      kernel.io_uring_disabled is not set)"
                    .into(),
            }
        }
        Some(libc::ENOSYS) => "this kernel is older than 5.11 or built without it (sysctl \
                               kernel.io_uring_disabled plays no part)"
            .into(),
        Some(libc::ENOMEM) => "no memory for the ring: raise `ulimit -l`".into(),
        _ => "see sysctl kernel.io_uring_disabled".into(),
    };
    format!("io_uring is refused ({error}): {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Io;

    fn spec(root: &str) -> StoreSpec {
        let io = Io::default();
        let object = Default::default();
        StoreSpec { root: root.into(), io, object, rank: 0, buffers: 2, buffer_bytes: 4096 }
    }

    fn message(root: &str) -> String {
        connect(&spec(root)).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn stores_that_are_not_built_and_unknown_schemes_have_a_sentence() {
        if !cfg!(feature = "azure") {
            let said = message("az://bucket/x");
            assert!(said.starts_with("connect az://: ") && said.contains("`azure`"), "{said}");
        }
        assert!(message("ftp://x").contains("unknown scheme `ftp`"));
        assert!(message("file://").contains("the path is empty"));
        assert_eq!(message("null://"), "");
    }

    #[test]
    fn wrappers_show_in_the_engine_and_only_on_their_rank() {
        let mut s = spec("null://");
        s.io.delay = Some(crate::config::DelaySpec { latency: 0.0, bandwidth: 0, rank: Some(1) });
        assert_eq!(connect(&s).unwrap().facts().engine, "null");
        s.rank = 1;
        assert_eq!(connect(&s).unwrap().facts().engine, "delay(null)");
    }

    #[test]
    fn refusals_name_the_sysctl() {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
            let text = ring_refused(&io::Error::from_raw_os_error(errno));
            assert!(text.contains("kernel.io_uring_disabled"), "{text}");
        }
    }
}
