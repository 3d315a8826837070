//! Whose protocol a store speaks, by the scheme of its root.

/// A protocol of object stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Service {
    /// Amazon's, and everything that speaks it.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

impl Service {
    const ALL: [Service; 3] = [Service::S3, Service::Azure, Service::Google];

    /// The service of a root, and what follows its scheme; None: it is no object store's.
    pub fn of(root: &str) -> Option<(Service, &str)> {
        Service::ALL
            .iter()
            .find_map(|service| Some((*service, root.strip_prefix(service.scheme())?)))
    }

    /// `s3://`.
    pub fn scheme(self) -> &'static str {
        match self {
            Service::S3 => "s3://",
            Service::Azure => "az://",
            Service::Google => "gs://",
        }
    }

    /// How a root looks.
    pub fn form(self) -> &'static str {
        match self {
            Service::S3 => "s3://BUCKET/PREFIX",
            Service::Azure => "az://CONTAINER/PREFIX",
            Service::Google => "gs://BUCKET/PREFIX",
        }
    }

    /// The variables that hold keys.
    pub fn keys(self) -> &'static str {
        match self {
            Service::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            Service::Azure => {
                "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY (or AZURE_STORAGE_SAS_TOKEN)"
            }
            Service::Google => "GOOGLE_APPLICATION_CREDENTIALS",
        }
    }

    /// Whether this program has a client for it.
    ///
    /// # Errors
    /// One line: which cargo feature brings it.
    pub fn is_built(self) -> Result<(), String> {
        let feature = match self {
            Service::S3 => return Ok(()),
            Service::Azure if cfg!(feature = "azure") => return Ok(()),
            Service::Google if cfg!(feature = "gcs") => return Ok(()),
            Service::Azure => "azure",
            Service::Google => "gcs",
        };
        let scheme = self.scheme();
        Err(format!(
            "{scheme} is not in this program, which was built without the cargo feature \
             `{feature}`; build with `cargo build --release --features {feature}`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::is_object_root;

    #[test]
    fn a_root_names_its_service() {
        assert_eq!(Service::of("az://c/x"), Some((Service::Azure, "c/x")));
        assert_eq!(Service::of("gs://b"), Some((Service::Google, "b")));
        for other in ["/mnt/az://", "file://x", "azure://x"] {
            assert_eq!(Service::of(other), None);
            assert!(!is_object_root(other), "{other}");
        }
        assert!(Service::ALL.iter().all(|service| is_object_root(service.form())));
    }

    #[test]
    fn a_service_that_is_not_built_names_its_feature() {
        for (service, feature, built) in [
            (Service::Azure, "azure", cfg!(feature = "azure")),
            (Service::Google, "gcs", cfg!(feature = "gcs")),
        ] {
            let said = service.is_built();
            assert_eq!(said.is_ok(), built);
            let names_it = |what: String| what.contains(&format!("--features {feature}"));
            assert!(said.err().is_none_or(names_it));
        }
        assert_eq!(Service::S3.is_built(), Ok(()));
    }
}
