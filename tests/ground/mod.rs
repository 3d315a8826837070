//! What the conformance suite stands on: every way to reach a store, on every file system at hand
//! and on objects in servers of the test's own, and in Azurite where that is installed.

#[path = "../azurite/mod.rs"]
mod azurite;
#[path = "../mounts/mod.rs"]
mod mounts;
#[path = "../s3/mod.rs"]
mod s3;

use rankio::config::{DelaySpec, Engine, FaultKind, FaultOp, FaultSpec, Io};
use rankio::config::{ObjectClient, ObjectOptions};
use rankio::storage::{Storage, StoreSpec, connect};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest request.
pub const BLOCK: usize = 64 << 10;
/// Buffers of a store.
pub const DEPTH: usize = 8;

/// A way to reach a folder.
struct Way {
    name: &'static str,
    io: Io,
}

/// Every engine and wrapper that really stores bytes.
fn ways() -> Vec<Way> {
    let base = || Io { huge_pages: false, ..Io::default() };
    let way = |name, io| Way { name, io };
    let delay = DelaySpec { latency: 1e-4, bandwidth: 4_000_000_000, rank: None };
    let never = FaultSpec { rank: Some(99), ..fault(FaultOp::Read, FaultKind::Eio, 1) };
    vec![
        way("uring", Io { engine: Engine::Uring, ..base() }),
        way("uring batch", Io { engine: Engine::Uring, submit_batch: 4, ..base() }),
        way("uring plain", Io { engine: Engine::Uring, registered: false, ..base() }),
        way("uring buffered", Io { engine: Engine::Uring, direct: false, ..base() }),
        way("uring unreserved", Io { engine: Engine::Uring, fallocate: false, ..base() }),
        way("sync", Io { engine: Engine::Sync, ..base() }),
        way("sync buffered", Io { engine: Engine::Sync, direct: false, ..base() }),
        way("mmap", Io { engine: Engine::Mmap, ..base() }),
        way("delay", Io { engine: Engine::Uring, delay: Some(delay), ..base() }),
        way("fault", Io { engine: Engine::Uring, fault: vec![never], ..base() }),
        way("auto", base()),
    ]
}

/// A fault.
pub fn fault(op: FaultOp, kind: FaultKind, at: u64) -> FaultSpec {
    FaultSpec { op, kind, at, every: 0, name_contains: String::new(), rank: None }
}

/// A store in a folder.
pub fn store(dir: &Path, io: &Io) -> Box<dyn Storage> {
    Ground::Folder(dir.to_path_buf()).store(io)
}

/// Where a store under test keeps its things.
pub enum Ground {
    Folder(PathBuf),
    /// Prefix in the bucket of a server.
    Objects(String, Reach),
}

/// How objects are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `s3://` by a client.
    Amazon(ObjectClient),
    /// `az://`, in Azurite.
    Azure,
    /// `gs://`.
    Google,
}

impl Ground {
    /// Its root, as messages name it.
    pub fn root(&self) -> String {
        match self {
            Ground::Folder(path) => path.to_str().unwrap().into(),
            Ground::Objects(prefix, Reach::Amazon(_)) => format!("s3://{}/{prefix}", s3::BUCKET),
            Ground::Objects(prefix, Reach::Azure) => {
                format!("az://{}/{prefix}", azurite::CONTAINER)
            }
            Ground::Objects(prefix, Reach::Google) => format!("gs://{}/{prefix}", s3::BUCKET),
        }
    }

    /// It has no folders.
    pub fn is_objects(&self) -> bool {
        matches!(self, Ground::Objects(..))
    }

    /// A store there.
    pub fn store(&self, io: &Io) -> Box<dyn Storage> {
        let mut object = ObjectOptions::default();
        if let Ground::Objects(_, reach) = self {
            object.endpoint_url = servers().url(*reach);
            if let Reach::Amazon(client) = reach {
                object.client = *client;
            }
        }
        let (root, io) = (self.root(), io.clone());
        connect(&StoreSpec { root, io, object, rank: 0, buffers: DEPTH, buffer_bytes: BLOCK })
            .unwrap()
    }

    /// What really lies there, seen past the store.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        match self {
            Ground::Folder(path) => std::fs::read(path.join(name)).unwrap(),
            Ground::Objects(prefix, reach) => servers().get(*reach, &format!("{prefix}/{name}")),
        }
    }
}

/// The servers of this program.
struct Servers {
    amazon: s3::Server,
    google: s3::Server,
    azure: Option<azurite::Azurite>,
}

impl Servers {
    fn url(&self, reach: Reach) -> String {
        match (reach, &self.azure) {
            (Reach::Amazon(_), _) => self.amazon.url(),
            (Reach::Google, _) => self.google.url(),
            (Reach::Azure, azure) => azure.as_ref().unwrap().url(),
        }
    }

    fn get(&self, reach: Reach, key: &str) -> Vec<u8> {
        match (reach, &self.azure) {
            (Reach::Amazon(_), _) => self.amazon.memory.get(key).unwrap().to_vec(),
            (Reach::Google, _) => self.google.memory.get(key).unwrap().to_vec(),
            (Reach::Azure, azure) => azure.as_ref().unwrap().get(key).unwrap(),
        }
    }

    /// Uploads below a prefix that were begun and neither completed nor given up.
    fn open_uploads(&self, reach: Reach, prefix: &str) -> usize {
        match reach {
            Reach::Amazon(_) => self.amazon.memory.open_uploads_below(prefix),
            Reach::Google => self.google.memory.open_uploads_below(prefix),
            // It has none: blocks that nobody names in a list go by themselves.
            Reach::Azure => 0,
        }
    }
}

/// The servers, with the keys in the environment.
fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let azure = if cfg!(feature = "azure") { azurite::Azurite::start() } else { None };
        let (amazon, google) = (s3::Server::start(0), s3::Server::start_google(0));
        let keys = azure.iter().flat_map(|server| server.environment());
        for (name, value) in
            amazon.environment().into_iter().chain(google.environment()).chain(keys)
        {
            // SAFETY: everything in this program that reads the environment does it through std,
            // which locks it.
            unsafe { std::env::set_var(name, value) };
        }
        Servers { amazon, google, azure }
    })
}

/// Runs a check on every way in a fresh folder on every file system at hand, and on objects.
pub fn on_every_store(check: impl Fn(&mut dyn Storage, &Ground)) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let wrappers = |way: &Way| ["delay", "fault", "auto"].contains(&way.name);
    let on = |reach| ways().into_iter().filter(wrappers).map(move |way| (way, reach));
    let mut all: Vec<(Way, Reach)> = on(Reach::Amazon(ObjectClient::Raw)).collect();
    all.extend(on(Reach::Amazon(ObjectClient::Sdk)).filter(|_| cfg!(feature = "sdk")));
    all.extend(on(Reach::Google).filter(|_| cfg!(feature = "gcs")));
    if servers().azure.is_some() {
        all.extend(on(Reach::Azure).filter(|(way, _)| way.name == "auto"));
    }
    for (way, reach) in all {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("check {number}/a+b");
        let ground = Ground::Objects(prefix.clone(), reach);
        eprintln!("{} on objects by {reach:?}", way.name);
        check(ground.store(&way.io).as_mut(), &ground);
        assert_eq!(servers().open_uploads(reach, &prefix), 0, "an upload was left");
    }
    on_every_folder(check);
}

/// The same on file systems only.
pub fn on_every_folder(check: impl Fn(&mut dyn Storage, &Ground)) {
    let shm = Path::new("/dev/shm");
    let xfs = mounts::Mount::xfs();
    let mut roots = vec![PathBuf::from(env!("CARGO_TARGET_TMPDIR")), shm.to_path_buf()];
    match &xfs {
        Some(mount) => roots.push(mount.path().to_path_buf()),
        None => eprintln!("xfs skipped: it needs root and mkfs.xfs"),
    }
    for root in roots.iter().filter(|root| root.is_dir()) {
        for way in ways() {
            let dir = tempfile::tempdir_in(root).unwrap();
            eprintln!("{} on {}", way.name, root.display());
            let ground = Ground::Folder(dir.path().to_path_buf());
            check(ground.store(&way.io).as_mut(), &ground);
        }
    }
}
