//! Azure's side of [`super::foreign`]: account and keys of the environment, and the library's
//! client of a container.

use super::address::{Endpoint, account, variable};
use super::foreign::{Connector, Door, Opens, no_retries};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use std::fmt;
use std::sync::Arc;

/// A storage account and what opens it.
pub(super) struct Account {
    name: String,
    secret: String,
    /// The secret is a shared access signature.
    is_signature: bool,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(hidden)")
    }
}

impl Account {
    /// AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN; the names that
    /// other tools use are known too.
    ///
    /// # Errors
    /// One line: which of them is missing.
    pub fn of_environment() -> Result<Account, String> {
        let name = account()?;
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name));
        let key = first(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]);
        let signature = first(&["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"]);
        let is_signature = key.is_none();
        let secret = key.or(signature).ok_or(
            "neither AZURE_STORAGE_KEY nor AZURE_STORAGE_SAS_TOKEN is set: export the account's \
             key, or a shared access signature",
        )?;
        Ok(Account { name, secret, is_signature })
    }
}

impl Opens for Account {
    fn engine(&self) -> &'static str {
        "az-object_store"
    }

    fn needs_tls(&self) -> bool {
        false
    }

    fn hide(&self, text: &str) -> String {
        let mut text = text.replace(&self.secret, "(hidden)");
        // The part of a signature that opens, as it stands in a URL.
        if let Some((_, rest)) = self.secret.split_once("sig=").filter(|_| self.is_signature) {
            let sealed = rest.split('&').next().unwrap_or_default();
            if !sealed.is_empty() {
                text = text.replace(sealed, "(hidden)");
            }
        }
        text
    }

    fn open(
        &self,
        container: &str,
        endpoint: &Endpoint,
        connector: Connector,
    ) -> Result<Arc<dyn Door>, object_store::Error> {
        let mut url = endpoint.url();
        if endpoint.path_style {
            url = format!("{url}/{}", self.name);
        }
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&self.name)
            .with_container_name(container)
            .with_endpoint(url)
            .with_allow_http(!endpoint.tls)
            .with_retry(no_retries())
            .with_http_connector(connector);
        let builder = match self.is_signature {
            true => {
                builder.with_config(AzureConfigKey::SasKey, self.secret.trim_start_matches('?'))
            }
            false => builder.with_access_key(&self.secret),
        };
        Ok(Arc::new(builder.build()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_the_seal_of_a_signature_are_hidden() {
        let of = |secret: &str, is_signature| Account {
            name: "bench".into(),
            secret: secret.into(),
            is_signature,
        };
        let key = of("c2VjcmV0", false);
        assert_eq!(key.hide("no c2VjcmV0 here"), "no (hidden) here");
        let signature = of("?sv=2025-01-05&sig=aB%2Bc%3D&se=x", true);
        let text = signature.hide("GET http://h/c/x?comp=list&sig=aB%2Bc%3D&se=x");
        assert!(!text.contains("aB%2Bc"), "{text}");
        assert_eq!(format!("{key:?}"), "Account(hidden)");
    }
}
