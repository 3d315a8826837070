//! Google's side of [`super::foreign`]: the key file of the environment, and the library's client
//! of a bucket.

use super::address::{Endpoint, variable};
use super::foreign::{Connector, Door, Opens, no_retries};
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GcpSigningCredential, GoogleCloudStorageBuilder};
use std::sync::Arc;

/// How the store is opened.
#[derive(Debug)]
pub(super) enum Access {
    /// By a file with the key of a service account, or of a user.
    File(String),
    /// By nothing, as emulators want it.
    Nothing,
}

impl Access {
    /// GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, the path of a key file; nothing
    /// with STORAGE_EMULATOR_HOST or GOOGLE_SKIP_SIGNATURE.
    ///
    /// # Errors
    /// One line: none of them is set, or the file is not there.
    pub fn of_environment() -> Result<Access, String> {
        let skips = variable("GOOGLE_SKIP_SIGNATURE").is_some_and(|word| word == "true");
        for name in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"] {
            if let Some(path) = variable(name).filter(|_| !skips) {
                let found = std::fs::metadata(&path);
                return match found.map_err(|error| format!("{name} {path}: {error}")) {
                    Ok(_) => Ok(Access::File(path)),
                    Err(what) => Err(format!("{what}; give the path of a key file")),
                };
            }
        }
        match skips || variable("STORAGE_EMULATOR_HOST").is_some() {
            true => Ok(Access::Nothing),
            false => Err("GOOGLE_APPLICATION_CREDENTIALS is not set: export the path of a key \
                          file, or GOOGLE_SKIP_SIGNATURE=true for a server that asks for none"
                .into()),
        }
    }
}

impl Opens for Access {
    fn engine(&self) -> &'static str {
        "gs-object_store"
    }

    fn needs_tls(&self) -> bool {
        // Tokens come from another server.
        matches!(self, Access::File(_))
    }

    /// Nothing secret of a file gets into a message: only its path is known here.
    fn hide(&self, text: &str) -> String {
        text.to_string()
    }

    fn open(
        &self,
        bucket: &str,
        endpoint: &Endpoint,
        connector: Connector,
    ) -> Result<Arc<dyn Door>, object_store::Error> {
        let builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_base_url(&endpoint.url())
            .with_retry(no_retries())
            .with_http_connector(connector);
        let builder = match self {
            Access::File(path) => builder.with_application_credentials(path),
            // Uploads ask for a token even so.
            Access::Nothing => {
                let token = GcpCredential { bearer: "none".into() };
                let signing = GcpSigningCredential { email: "none".into(), private_key: None };
                builder
                    .with_credentials(Arc::new(StaticCredentialProvider::new(token)))
                    .with_signing_credentials(Arc::new(StaticCredentialProvider::new(signing)))
                    .with_skip_signature(true)
            }
        };
        Ok(Arc::new(builder.build()?))
    }
}
