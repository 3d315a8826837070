//! The clients that a check is made with: each check becomes a test of each of them.

// Each program uses a part of this.
#![allow(dead_code)]

use crate::s3::Server;
use rankio::config::{ObjectClient, ObjectOptions};

/// Who speaks with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Raw,
    #[cfg(feature = "sdk")]
    Sdk,
    /// That of `gs://`.
    #[cfg(feature = "gcs")]
    Google,
}

/// Those of `s3://` in this build.
pub const CLIENTS: &[Client] = &[
    Client::Raw,
    #[cfg(feature = "sdk")]
    Client::Sdk,
];

impl Client {
    /// The root of a bucket.
    pub fn root(self, bucket: &str) -> String {
        match self {
            #[cfg(feature = "gcs")]
            Client::Google => format!("gs://{bucket}/data"),
            _ => format!("s3://{bucket}/data"),
        }
    }

    /// Smallest parts that the server takes.
    pub fn server(self, part_bytes_min: usize) -> Server {
        match self {
            #[cfg(feature = "gcs")]
            Client::Google => Server::start_google(part_bytes_min),
            _ => Server::start(part_bytes_min),
        }
    }
}

/// Options that choose it.
pub fn by(client: Client) -> ObjectOptions {
    let client = match client {
        #[cfg(feature = "sdk")]
        Client::Sdk => ObjectClient::Sdk,
        _ => ObjectClient::Raw,
    };
    ObjectOptions { client, ..ObjectOptions::default() }
}

/// Makes each check a test of a client.
macro_rules! of_client {
    ($module:ident, $client:ident: $($name:ident,)*) => {
        mod $module {
            $(#[test]
            fn $name() {
                super::$name(crate::clients::Client::$client);
            })*
        }
    };
}

macro_rules! of_every_client {
    ($($name:ident,)*) => {
        of_client!(raw, Raw: $($name,)*);
        #[cfg(feature = "sdk")]
        of_client!(sdk, Sdk: $($name,)*);
    };
}
