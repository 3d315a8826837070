//! `storage`: how an object store is reached. Credentials have no place here: they come from the
//! environment only.

use super::resolve::converted;
use super::source::Sources;
use super::{Config, ConfigError, Engine, Io};
use serde::{Deserialize, Serialize};

/// `storage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSection {
    /// `storage.storage_options`.
    pub storage_options: ObjectOptions,
    /// Client library of the reference; its place is taken by a client of rankio.
    pub storage_library: Option<StorageLibrary>,
    /// Seconds to wait after a dataset was generated on an object store, for one whose listings
    /// and reads lag behind.
    pub post_generation_settle_seconds: f64,
}

/// `storage.storage_library`: the reference's client libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum StorageLibrary {
    S3dlio,
    S3torchconnector,
    Minio,
}

/// `storage.storage_options`. The first keys are the reference's, `client` and the last five ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectOptions {
    /// Who speaks with the servers.
    pub client: ObjectClient,
    /// `http://HOST:PORT` or `https://HOST`; empty: that of the environment, else the service's.
    pub endpoint_url: String,
    /// Several of these, or templates of them (`http://store{1...8}:9000`), all doors of one store.
    pub endpoint_uris: Vec<String>,
    /// How requests are dealt to several endpoints. None: S3_LOAD_BALANCE_STRATEGY, else by rank.
    pub load_balance_strategy: Option<Balance>,
    /// Region that requests are signed for; empty: AWS_REGION, else `us-east-1`.
    pub region: String,
    /// The bucket is a part of the path and not of the host's name. None: yes, but for Amazon's own
    /// endpoints.
    pub s3_force_path_style: Option<bool>,
    /// Attempts at a request, the first included.
    pub s3_max_attempts: u64,
    /// Smallest part of an object that is written in parts, bytes.
    pub part_size: u64,
    /// Seconds until a connection must stand.
    pub connect_timeout: f64,
    /// Seconds without a byte after which an attempt at a request has failed.
    pub timeout: f64,
    /// Seconds after which no other attempt at a request begins, and one that waits for the server
    /// has failed.
    pub total_timeout: f64,
    /// An endpoint that does not answer before the run begins is an error; else a note.
    pub require_all_endpoints: bool,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        ObjectOptions {
            client: ObjectClient::Raw,
            endpoint_url: String::new(),
            endpoint_uris: Vec::new(),
            load_balance_strategy: None,
            region: String::new(),
            s3_force_path_style: None,
            s3_max_attempts: 5,
            part_size: 8 << 20,
            connect_timeout: 10.0,
            timeout: 60.0,
            total_timeout: 120.0,
            require_all_endpoints: true,
        }
    }
}

/// A client of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectClient {
    /// The own one.
    #[default]
    Raw,
    /// Amazon's library.
    Sdk,
}

impl ObjectClient {
    /// Every client there is, whether this program was built with it or not.
    pub const ALL: [ObjectClient; 2] = [ObjectClient::Raw, ObjectClient::Sdk];

    /// As `storage.client` spells it.
    pub fn name(self) -> &'static str {
        match self {
            ObjectClient::Raw => "raw",
            ObjectClient::Sdk => "sdk",
        }
    }

    /// Two different clients from `NAME,NAME`.
    ///
    /// # Errors
    /// What is wrong and what is allowed, for whoever names the option.
    pub fn pair(text: &str) -> Result<[ObjectClient; 2], String> {
        let all = ObjectClient::ALL.map(ObjectClient::name).join(", ");
        let known = |name: &str| {
            let found = ObjectClient::ALL.into_iter().find(|client| client.name() == name);
            found.ok_or_else(|| format!("there is no client `{name}`; give two of {all}"))
        };
        match text.split(',').map(str::trim).collect::<Vec<_>>()[..] {
            [one, other] => match (known(one)?, known(other)?) {
                (one, other) if one == other => {
                    Err(format!("the same client twice; give two of {all}"))
                }
                (one, other) => Ok([one, other]),
            },
            _ => Err(format!("two clients are compared; give two of {all}, e.g. sdk,raw")),
        }
    }
}

/// How requests are dealt to the endpoints of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// A rank has one endpoint, its number modulo theirs.
    ByRank,
    /// Every request the next one; also for `random`.
    #[serde(alias = "random")]
    RoundRobin,
    /// The one with the fewest requests of this I/O thread.
    #[serde(alias = "least_connections")]
    LeastOutstanding,
}

/// Keys of the reference that act through keys of ours, and what is to be said of them.
pub(super) fn fold(
    sources: &Sources,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    const LIBRARY: &str = "storage.storage_library";
    const OPTION: &str = "storage.storage_options.storage_library";
    if let Some(entry) = sources.get(OPTION) {
        let value = converted(sources, entry)?;
        let library = serde_yaml::from_value(value).unwrap_or_default();
        if sources.get(LIBRARY).is_none() {
            config.storage.storage_library = library;
        } else if config.storage.storage_library != library {
            return Err(sources.error_about(OPTION, &format!("contradicts {LIBRARY}; keep one")));
        }
    }
    if let Some(library) = config.storage.storage_library {
        let name = format!("{library:?}").to_lowercase();
        notes.push(format!(
            "{LIBRARY}: `{name}` is a Python library; a client of rankio is used in its place, \
             with the storage_options that both know"
        ));
    }
    const BALANCE: &str = "storage.storage_options.load_balance_strategy";
    if sources.get(BALANCE).is_some_and(|entry| entry.value.as_str() == Some("random")) {
        notes.push(format!(
            "{BALANCE}: `random` is round_robin here: each request goes to the next endpoint"
        ));
    }
    const WINDOW: &str = "storage.storage_options.prefetch_window";
    if let Some(entry) = sources.get(WINDOW)
        && let Some(window) = converted(sources, entry)?.as_u64()
    {
        match sources.get("io.queue_depth") {
            Some(_) => notes.push(format!("{WINDOW}: no effect: io.queue_depth is given")),
            None => config.io.queue_depth = window,
        }
    }
    Ok(())
}

/// Whether a root is that of an object store.
pub fn is_object_root(root: &str) -> bool {
    ["s3://", "az://", "gs://"].iter().any(|scheme| root.starts_with(scheme))
}

/// What has no effect on the objects below `root`: a note for each.
fn unused(io: &Io, options: &ObjectOptions, root: &str) -> Vec<String> {
    let usual = Io::default();
    let why = format!("no effect on {root}: objects come over sockets, past every page cache here");
    let engine = !matches!(io.engine, Engine::Auto | Engine::Null);
    let cache = io.cache != usual.cache;
    let given = [("io.engine", engine), ("io.cache", cache)];
    let given = given.iter().filter(|(_, given)| *given);
    let mut notes: Vec<String> = given.map(|(key, _)| format!("{key}: {why}")).collect();
    if options.client != ObjectClient::default() && !root.starts_with("s3://") {
        let why = "it chooses a client of s3://, and there is one client only of other stores";
        notes.push(format!("storage.client: no effect on {root}: {why}"));
    }
    notes
}

impl Config {
    /// Settings that have no effect because data lie on an object store, one sentence each.
    pub fn object_notes(&self) -> Vec<String> {
        let workflow = &self.workflow;
        let root = &self.dataset.data_folder;
        match (workflow.uses_dataset() || workflow.object) && is_object_root(root) {
            true => unused(&self.io, &self.storage.storage_options, root),
            false => Vec::new(),
        }
    }

    /// How bytes are written below `root`: an object store wants parts that are not too small.
    pub fn write_io(&self, root: &str) -> Io {
        let mut io = self.io.clone();
        if is_object_root(root) {
            io.block_size = io.block_size.max(self.storage.storage_options.part_size);
        }
        io
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{CacheMode, Config, Engine, ObjectClient, StorageLibrary, load};

    fn loaded(settings: &[&str]) -> Result<(Config, Vec<String>), String> {
        let settings: Vec<String> = settings.iter().map(|text| text.to_string()).collect();
        let loaded = load(&[], &settings).map_err(|error| error.to_string())?;
        Ok((loaded.config, loaded.notes))
    }

    #[test]
    fn names_of_python_libraries_are_known_and_noted() {
        let library = "storage.storage_library=minio";
        let option = "storage.storage_options.storage_library=minio";
        for settings in [&[library][..], &[option], &[library, option]] {
            let (config, notes) = loaded(settings).unwrap();
            assert_eq!(config.storage.storage_library, Some(StorageLibrary::Minio));
            assert!(notes.iter().any(|note| note.contains("`minio` is a Python")), "{notes:?}");
        }
        let said = loaded(&["storage.storage_library=boto3"]).unwrap_err();
        assert!(said.contains("one of s3dlio, s3torchconnector, minio"), "{said}");
        let said = loaded(&["storage.storage_library=s3dlio", option]).unwrap_err();
        assert!(said.contains("contradicts storage.storage_library"), "{said}");
        assert_eq!(loaded(&[]).unwrap().1, Vec::<String>::new());
    }

    #[test]
    fn a_prefetch_window_is_the_number_of_requests_in_flight() {
        let window = "storage.storage_options.prefetch_window=17";
        assert_eq!(loaded(&[window]).unwrap().0.io.queue_depth, 17);
        let (config, notes) = loaded(&[window, "io.queue_depth=5"]).unwrap();
        assert_eq!(config.io.queue_depth, 5);
        assert!(notes[0].contains("prefetch_window: no effect: io.queue_depth"), "{notes:?}");
        assert!(loaded(&["storage.storage_options.prefetch_window=0"]).is_err());
    }

    #[test]
    fn two_clients_have_two_known_names() {
        let (raw, sdk) = (ObjectClient::Raw, ObjectClient::Sdk);
        assert_eq!(ObjectClient::pair("sdk,raw"), Ok([sdk, raw]));
        assert_eq!(ObjectClient::pair("raw, sdk"), Ok([raw, sdk]));
        for (text, words) in [
            ("sdk", "two clients"),
            ("", "two clients"),
            ("sdk,raw,sdk", "two clients"),
            ("sdk,", "no client ``"),
            ("sdk,boto3", "no client `boto3`; give two of raw, sdk"),
            ("raw,raw", "the same client twice"),
        ] {
            let said = ObjectClient::pair(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn what_objects_do_not_have_is_noted() {
        let mut config = Config::default();
        config.io.engine = Engine::Sync;
        config.io.set_cache(CacheMode::Keep);
        assert_eq!(config.object_notes(), Vec::<String>::new());
        config.dataset.data_folder = "s3://bench/x".into();
        let notes = config.object_notes();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("io.engine: no effect on s3://bench/x"), "{notes:?}");
        config.io = Default::default();
        config.storage.storage_options.client = ObjectClient::Sdk;
        assert_eq!(config.object_notes(), Vec::<String>::new());
        config.dataset.data_folder = "az://bench/x".into();
        let notes = config.object_notes();
        assert!(notes[0].starts_with("storage.client: no effect on az://bench/x"), "{notes:?}");
    }
}
