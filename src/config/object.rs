//! `storage`: how an object store is reached. Credentials have no place here: they come from the
//! environment only.

use super::{Config, Io};
use serde::{Deserialize, Serialize};

/// `storage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSection {
    /// `storage.storage_options`.
    pub storage_options: ObjectOptions,
}

/// `storage.storage_options`. The first keys are the reference's, `client` and the last three ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectOptions {
    /// Who speaks with the servers.
    pub client: ObjectClient,
    /// `http://HOST:PORT` or `https://HOST`; empty: AWS_ENDPOINT_URL, else Amazon's.
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
    /// Seconds without a byte after which a request has failed.
    pub timeout: f64,
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

/// How requests are dealt to the endpoints of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// A rank has one endpoint, its number modulo theirs.
    ByRank,
    /// Every request the next one.
    RoundRobin,
    /// The one with the fewest requests of this I/O thread.
    #[serde(alias = "least_connections")]
    LeastOutstanding,
}

/// Whether a root is that of an object store.
pub fn is_object_root(root: &str) -> bool {
    root.starts_with("s3://")
}

impl Config {
    /// How bytes are written below `root`: an object store wants parts that are not too small.
    pub fn write_io(&self, root: &str) -> Io {
        let mut io = self.io.clone();
        if is_object_root(root) {
            io.block_size = io.block_size.max(self.storage.storage_options.part_size);
        }
        io
    }
}
