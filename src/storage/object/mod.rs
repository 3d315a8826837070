//! Objects, by the client that fits the root: the own one of S3's protocol (one epoll for each I/O
//! thread, as many keep-alive connections as buffers, bodies read from the socket into the aligned
//! buffer), or a library.
//!
//! An object appears whole or not at all: a single PUT, or parts that the sync completes. So
//! nothing is written under another name first. A read asks for exactly the range that is wanted.

mod address;
#[cfg(feature = "remote")]
mod asked;
#[cfg(feature = "azure")]
mod azure;
mod calls;
mod carrier;
mod client;
mod connection;
mod exchange;
#[cfg(feature = "foreign")]
mod foreign;
#[cfg(feature = "gcs")]
mod google;
mod identity;
#[cfg(feature = "remote")]
mod remote;
mod retry;
#[cfg(feature = "sdk")]
mod sdk;
mod servers;
mod service;
mod sign;
mod stream;
mod transfer;
mod upload;
mod xml;

use super::clock::monotonic_ns;
use super::{
    BufferPool, Completion, Handle, IoBuffer, NamedOp, Op, OpenMode, Opened, Stat, Storage,
    StorageError, StoreFacts, StoreSpec, SyncKind,
};
use crate::config::{ObjectClient, ObjectOptions};
use carrier::Carrier;
use client::Client;
pub use identity::renew_keys_early;
use servers::Servers;
pub(super) use service::Service;
use std::collections::VecDeque;
use std::path::{Component, Path};
use std::time::{Duration, Instant};
use upload::{Object, Objects, PARTS_MAX, State, Way};

/// Why there is no client of this name.
#[cfg(not(feature = "sdk"))]
const NO_SDK: &str = "storage.client: `sdk` is not in this program, which was built without the \
                      feature `sdk`; give raw, or build with it";

/// Looks at an object store's root, its endpoint and the environment, without a request to the
/// store. Keys of a web identity are asked for.
///
/// # Errors
/// One line that never repeats what may be a secret.
pub fn check_root(root: &str, options: &ObjectOptions) -> Result<(), String> {
    check_uri(root, options)?;
    let Some((service, rest)) = Service::of(root) else { return Ok(()) };
    let scheme = service.scheme();
    let place = address::Place::parse(service, rest).map_err(|what| format!("{scheme}: {what}"))?;
    address::endpoints(options, &place)?;
    match service {
        Service::S3 => address::credentials().map(|_| ()),
        #[cfg(feature = "azure")]
        Service::Azure => azure::Account::of_environment().map(|_| ()),
        #[cfg(feature = "gcs")]
        Service::Google => google::Access::of_environment().map(|_| ()),
        #[cfg(not(all(feature = "azure", feature = "gcs")))]
        _ => service.is_built(),
    }
}

/// The same without the keys; of another root, only that no endpoint holds credentials.
///
/// # Errors
/// As above.
pub fn check_uri(root: &str, options: &ObjectOptions) -> Result<(), String> {
    address::check_options(options)?;
    #[cfg(not(feature = "sdk"))]
    if options.client == ObjectClient::Sdk {
        return Err(NO_SDK.into());
    }
    let Some((service, rest)) = Service::of(root) else { return Ok(()) };
    service.is_built()?;
    let scheme = service.scheme();
    let place = address::Place::parse(service, rest).map_err(|what| format!("{scheme}: {what}"))?;
    address::balance(options)?;
    // Without the account, which goes with the keys, nobody knows Azure's servers.
    if service == Service::Azure && address::account().is_err() {
        return Ok(());
    }
    address::endpoints(options, &place).map(|_| ())
}

/// The client of a place, with room for so many requests and connections.
fn carrier(
    options: &ObjectOptions,
    place: &address::Place,
    servers: Servers,
    room: (usize, usize),
) -> Result<Box<dyn Carrier>, String> {
    match place.service {
        Service::S3 => s3_carrier(options, place, servers, room),
        #[cfg(feature = "azure")]
        Service::Azure => {
            let account = azure::Account::of_environment()?;
            let foreign = foreign::Foreign::new(Box::new(account), place, &servers, options)?;
            Ok(Box::new(remote::RemoteClient::new(Box::new(foreign), servers, options, room.0)?))
        }
        #[cfg(feature = "gcs")]
        Service::Google => {
            let access = google::Access::of_environment()?;
            let foreign = foreign::Foreign::new(Box::new(access), place, &servers, options)?;
            Ok(Box::new(remote::RemoteClient::new(Box::new(foreign), servers, options, room.0)?))
        }
        #[cfg(not(all(feature = "azure", feature = "gcs")))]
        service => Err(service.is_built().err().unwrap_or_default()),
    }
}

/// The client of S3 that the options name.
fn s3_carrier(
    options: &ObjectOptions,
    place: &address::Place,
    servers: Servers,
    (slots, connections): (usize, usize),
) -> Result<Box<dyn Carrier>, String> {
    let (keys, region) = (address::credentials()?, address::region(options));
    match options.client {
        ObjectClient::Raw => {
            let signer = sign::Signer::new(keys, region);
            let room = (slots, connections);
            let client = Client::new(&place.bucket, servers, signer, options.clone(), room)?;
            Ok(Box::new(client))
        }
        #[cfg(feature = "sdk")]
        ObjectClient::Sdk => {
            let is_tls = servers.endpoint(0).tls;
            let sdk = sdk::Sdk::new(place, keys, region, is_tls, options)?;
            Ok(Box::new(remote::RemoteClient::new(Box::new(sdk), servers, options, slots)?))
        }
        #[cfg(not(feature = "sdk"))]
        ObjectClient::Sdk => Err(NO_SDK.into()),
    }
}

/// The store of one I/O thread.
pub(super) struct ObjectStore {
    pool: BufferPool,
    client: Box<dyn Carrier>,
    place: address::Place,
    /// Path of the bucket behind the client's base: empty with path style.
    bucket_path: &'static [u8],
    objects: Objects,
    ready: VecDeque<Completion>,
    /// Operations that were submitted and have no completion yet, syncs that wait included.
    in_flight: usize,
    /// The call whose answer has come.
    called: Option<usize>,
    part_bytes: usize,
    /// See [`Storage::trust_sizes`].
    trusts_sizes: bool,
}

impl ObjectStore {
    /// A store for `rest` below the scheme of `service`. Nothing is sent yet.
    ///
    /// # Errors
    /// One line: a root that is none, keys that are missing, an endpoint that is none.
    pub fn new(
        spec: &StoreSpec,
        (service, rest): (Service, &str),
        pool: BufferPool,
    ) -> Result<ObjectStore, String> {
        service.is_built()?;
        let place = address::Place::parse(service, rest)?;
        let endpoints = address::endpoints(&spec.object, &place)?;
        let balance = address::balance(&spec.object)?;
        let path_style = endpoints.iter().all(|endpoint| endpoint.path_style);
        let bucket_path: &[u8] = if path_style { b"" } else { b"/" };
        // Reads and writes, as many syncs, and one call that is waited for.
        let (slots, connections) = (2 * pool.count() + 1, pool.count() + 1);
        let servers = Servers::new(endpoints, balance, spec.rank);
        let room = (slots, connections);
        let client = carrier(&spec.object, &place, servers, room)?;
        let ready = VecDeque::with_capacity(slots);
        let part_bytes = spec.buffer_bytes;
        let (objects, in_flight, called) = (Objects::default(), 0, None);
        Ok(ObjectStore {
            pool,
            client,
            place,
            bucket_path,
            objects,
            ready,
            in_flight,
            called,
            part_bytes,
            trusts_sizes: false,
        })
    }

    /// Encoded path of a name, which may not leave the root, in the room of `path`.
    fn key_path(
        &self,
        op: &'static str,
        name: &str,
        mut path: Vec<u8>,
    ) -> Result<Vec<u8>, StorageError> {
        let inside = !name.is_empty()
            && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            let what = "this is not a name inside the root";
            return Err(self.error(op, name, None, 0, what));
        }
        path.push(b'/');
        sign::encode(&self.place.prefix, true, &mut path);
        sign::encode(name, true, &mut path);
        Ok(path)
    }

    fn uri(&self, name: &str) -> String {
        self.place.uri(&format!("{}{name}", self.place.prefix))
    }

    fn error(
        &self,
        op: &'static str,
        name: &str,
        offset: Option<u64>,
        status: u16,
        what: &str,
    ) -> StorageError {
        let (errno, remedy) = match status {
            404 if ["NoSuchBucket", "ContainerNotFound"].iter().any(|code| what.contains(code)) => {
                (libc::ENOENT, ": create the bucket, or check --data-dir".into())
            }
            404 if matches!(op, "open" | "read") => {
                (libc::ENOENT, ": run `rankio datagen` first, or check --data-dir".into())
            }
            404 => (libc::ENOENT, String::new()),
            401 | 403 => {
                (libc::EACCES, format!(": check {} and the policy", self.place.service.keys()))
            }
            409 | 412 => {
                (libc::EEXIST, ": remove it (`rankio clean`) or choose another root".into())
            }
            0 => (libc::EIO, String::new()),
            _ => (libc::EIO, ": see the server's log".into()),
        };
        let mut what = format!("{}{remedy}", self.client.hide(what));
        if matches!(status, 400 | 401 | 403)
            && let Some(why) = identity::failure()
        {
            what = format!("{what}; the keys could not be renewed: {why}");
        }
        StorageError { op, path: self.uri(name), offset, what, errno }
    }

    fn turn(&mut self, timeout: Option<Duration>) -> Result<(), StorageError> {
        let turned = self.client.turn(timeout);
        turned.map_err(|error| self.error("wait for", "", None, 0, &error.to_string()))
    }
}

impl Storage for ObjectStore {
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError> {
        let (final_bytes, only_new) = match mode {
            OpenMode::Read { expected_bytes } => return self.open_to_read(name, expected_bytes),
            OpenMode::Create { final_bytes } => (final_bytes, true),
            OpenMode::Replace { final_bytes } => (final_bytes, false),
        };
        let (spare_name, path) = self.objects.spare();
        let path = self.key_path("create", name, path)?;
        if only_new && self.head("create", name)?.is_some() {
            return Err(self.error("create", name, None, 412, "the object is there already"));
        }
        let mut was_asked = only_new;
        let way = if final_bytes == 0 {
            Way::Staged(Vec::new())
        } else if final_bytes <= self.part_bytes as u64 {
            Way::Whole
        } else {
            let parts = final_bytes.div_ceil(self.part_bytes as u64);
            if parts > PARTS_MAX {
                let what = format!(
                    "{final_bytes} bytes are {parts} parts, and at most {PARTS_MAX} can be: raise \
                     storage.storage_options.part_size"
                );
                return Err(self.error("create", name, None, 0, &what));
            }
            let id = self.begin_upload(name, &path)?;
            was_asked = true;
            Way::Parts { id, tags: Vec::with_capacity(parts as usize) }
        };
        let opened = self.insert((spare_name, name), path, way, (0, final_bytes), only_new)?;
        Ok(Opened { was_asked, ..opened })
    }

    fn close(&mut self, handle: Handle) -> Result<(), StorageError> {
        match self.objects.get(handle) {
            None => return Err(self.error("close", "", None, 0, "this handle is not open")),
            Some(object) if object.in_flight > 0 || object.sync.is_some() => {
                let name = object.name.clone();
                let what = "operations on this object are in flight: reap them first";
                return Err(self.error("close", &name, None, 0, what));
            }
            Some(_) => {}
        }
        let object = self.objects.remove(handle).expect("it was just seen");
        let ended = match (&object.way, object.state) {
            (Way::Reading, _) | (_, State::Committed) => Ok(()),
            (Way::Parts { .. }, State::Failed) => self.abort_upload(&object),
            // An upload that was given up before its end must not become visible.
            (Way::Parts { .. }, State::Open)
                if !object.is_whole() || object.missing_part().is_some() =>
            {
                self.abort_upload(&object)
            }
            (Way::Whole, _) | (_, State::Failed) => Ok(()),
            _ => self.commit_and_wait(&object),
        };
        self.objects.spare_back(object.name, object.path);
        ended
    }

    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError> {
        let is_sync = matches!(op, Op::Sync);
        let room = 2 * self.pool.count();
        let why = match self.objects.get(handle) {
            None => Some("this handle is not open"),
            Some(object) if is_sync && object.sync.is_some() => Some("a sync is in flight"),
            Some(_) if self.in_flight + self.ready.len() >= room => {
                Some("the queue is full: reap completions first")
            }
            Some(_) => None,
        };
        if let Some(what) = why {
            if let Some(buffer) = op.into_buffer().filter(|buffer| self.pool.owns(buffer)) {
                self.pool.give(buffer);
            }
            return Err(self.error("submit", "", None, 0, what));
        }
        match op {
            Op::Read { offset, len, buffer } => self.read(handle, offset, len, buffer, tag),
            Op::Write { offset, len, buffer } => self.write(handle, offset, len, buffer, tag),
            Op::Sync => {
                let object = self.objects.get(handle).expect("it was just seen");
                object.sync = Some((tag, monotonic_ns()));
                self.in_flight += 1;
                self.release_sync(handle);
            }
        }
        Ok(())
    }

    fn submit_named(&mut self, op: NamedOp, name: &str, tag: u64) -> Result<(), StorageError> {
        if self.in_flight + self.ready.len() >= 2 * self.pool.count() {
            let what = "the queue is full: reap completions first";
            return Err(self.error("submit", name, None, 0, what));
        }
        self.begin_named(op, name, tag)
    }

    fn trust_sizes(&mut self, trust: bool) {
        self.trusts_sizes = trust;
    }

    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError> {
        let end = timeout.map(|timeout| Instant::now() + timeout);
        let wanted = min.min(self.in_flight + self.ready.len());
        // Something may have come while nobody looked.
        self.turn(Some(Duration::ZERO))?;
        self.settle_done();
        while self.ready.len() < wanted {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            self.turn(left)?;
            self.settle_done();
        }
        let count = self.ready.len();
        out.extend(self.ready.drain(..));
        Ok(count)
    }

    fn queue_depth(&self) -> usize {
        self.pool.count()
    }

    fn take_buffer(&mut self) -> Option<IoBuffer> {
        self.pool.take()
    }

    fn give_buffer(&mut self, buffer: IoBuffer) {
        self.pool.give(buffer);
    }

    fn stat(&mut self, name: &str) -> Result<Option<Stat>, StorageError> {
        Ok(self.head("stat", name)?.map(|size_bytes| Stat { size_bytes }))
    }

    fn puts_are_atomic(&self) -> bool {
        true
    }

    /// An object is durable when its PUT is answered, whatever is asked for.
    fn set_sync(&mut self, _: SyncKind) {}

    /// A copy on the server and a removal: two steps, and no folders.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        self.copy(from, to)?;
        self.delete(from)
    }

    fn exchange(&mut self, _: &str, _: &str) -> Result<bool, StorageError> {
        Ok(false)
    }

    fn make_folder(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove_folder(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn list(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool),
    ) -> Result<(), StorageError> {
        self.list_pages(folder, visit)
    }

    fn sync_folder(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        // The server says yes to what is not there.
        match self.head("remove", name)? {
            Some(_) => self.delete(name),
            None => Err(self.error("remove", name, None, 404, "there is no such object")),
        }
    }

    fn remove_many(&mut self, names: &[String]) -> Result<(), StorageError> {
        self.delete_many(names)
    }

    fn abort_uploads(&mut self, ours: &dyn Fn(&str) -> bool) -> Result<Option<u64>, StorageError> {
        self.abort_listed(ours)
    }

    fn facts(&self) -> StoreFacts {
        StoreFacts {
            engine: self.client.engine().into(),
            direct: None,
            registered_buffers: false,
            page_size: self.pool.page_size().into(),
            alignment: 1,
            fallbacks: self.pool.shortfall().map(str::to_string).into_iter().collect(),
            endpoints: self.client.endpoints(),
            retried_operations: self.client.retries(),
            buffer_bytes: self.pool.mapped_bytes(),
        }
    }
}

impl ObjectStore {
    fn open_to_read(&mut self, name: &str, expected_bytes: u64) -> Result<Opened, StorageError> {
        let (spare_name, path) = self.objects.spare();
        let path = self.key_path("open", name, path)?;
        let trusted = self.trusts_sizes && expected_bytes > 0;
        let found = if trusted { Some(expected_bytes) } else { self.head("open", name)? };
        let Some(size_bytes) = found else {
            return Err(self.error("open", name, None, 404, "there is no such object"));
        };
        let sizes = (size_bytes, 0);
        let opened = self.insert((spare_name, name), path, Way::Reading, sizes, false)?;
        let object = self.objects.get(opened.handle).expect("it was just put there");
        object.size_is_trusted = trusted;
        Ok(Opened { was_asked: !trusted, ..opened })
    }

    fn insert(
        &mut self,
        (mut spare_name, name): (String, &str),
        path: Vec<u8>,
        way: Way,
        (size_bytes, final_bytes): (u64, u64),
        only_new: bool,
    ) -> Result<Opened, StorageError> {
        spare_name.push_str(name);
        let object = Object {
            name: spare_name,
            path,
            way,
            state: State::Open,
            size_bytes,
            final_bytes,
            written_bytes: 0,
            in_flight: 0,
            sync: None,
            short_part: 0,
            only_new,
            size_is_trusted: false,
        };
        match self.objects.insert(object) {
            Some(handle) => Ok(Opened { handle, size_bytes, direct: false, was_asked: true }),
            None => Err(self.error("open", name, None, 0, "a million objects are open")),
        }
    }
}

impl Drop for ObjectStore {
    /// Parts that nobody completes would be stored, and paid for, until somebody finds them.
    fn drop(&mut self) {
        let unfinished: Vec<Object> = self
            .objects
            .drain()
            .filter(|object| object.state != State::Committed)
            .filter(|object| matches!(object.way, Way::Parts { .. }))
            .collect();
        // Nobody is left to be told of an error.
        self.client.give_up();
        for object in &unfinished {
            let _ = self.abort_upload(object);
        }
    }
}
