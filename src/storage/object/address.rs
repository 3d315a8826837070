//! Where objects lie: the URI of a root, endpoints, and the environment's part in both.

use crate::config::ObjectOptions;
use std::env;

/// Bucket and key prefix of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub bucket: String,
    /// Empty, or ending in a slash.
    pub prefix: String,
}

impl Place {
    /// From what follows `s3://`.
    ///
    /// # Errors
    /// One line without the URI, which may hold a secret.
    pub fn parse(rest: &str) -> Result<Place, String> {
        if rest.contains('@') || rest.contains('?') || rest.contains('#') {
            return Err("a URI must not hold credentials or options (`@`, `?`, `#`): give \
                        s3://BUCKET/PREFIX and export AWS_ACCESS_KEY_ID and \
                        AWS_SECRET_ACCESS_KEY"
                .into());
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(allowed) {
            return Err("the bucket's name must have 3 to 63 of the characters a-z, 0-9, `.` and \
                        `-`: give s3://BUCKET/PREFIX"
                .into());
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err("the prefix has an empty part, `.` or `..`: give s3://BUCKET/PREFIX".into());
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Place { bucket: bucket.into(), prefix })
    }
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// The bucket is a part of the path and not of the host's name.
    pub path_style: bool,
    /// `Host` header.
    pub authority: String,
}

impl Endpoint {
    /// From `http://HOST[:PORT]` or `https://...`.
    ///
    /// # Errors
    /// One line; a URL that may hold a password is not repeated.
    pub fn parse(url: &str, path_style: bool) -> Result<Endpoint, String> {
        if url.contains('@') {
            return Err("the endpoint URL must not hold credentials (`@`): export \
                        AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .into());
        }
        let bad = || format!("`{url}` is no endpoint: give http://HOST:PORT or https://HOST");
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(bad()),
        };
        let authority = rest.trim_end_matches('/');
        let spelled = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#');
        if authority.is_empty() || !authority.bytes().all(spelled) {
            return Err(bad());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let usual = if tls { 443 } else { 80 };
        let name = if port == usual { host.to_string() } else { format!("{host}:{port}") };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        Ok(Endpoint { host, port, tls, path_style, authority: name })
    }

    /// `http://HOST:PORT`, for messages.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
}

/// Region: the file's, else AWS_REGION, AWS_DEFAULT_REGION, `us-east-1`.
pub(super) fn region(options: &ObjectOptions) -> String {
    let given = Some(options.region.clone()).filter(|region| !region.is_empty());
    given
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .unwrap_or_else(|| "us-east-1".into())
}

/// The server of a bucket: the file's, else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, Amazon's.
pub(super) fn endpoint(options: &ObjectOptions, place: &Place) -> Result<Endpoint, String> {
    let given = Some(options.endpoint_url.clone()).filter(|url| !url.is_empty());
    let given =
        given.or_else(|| variable("AWS_ENDPOINT_URL_S3")).or_else(|| variable("AWS_ENDPOINT_URL"));
    match given {
        Some(url) if options.s3_force_path_style.unwrap_or(true) => Endpoint::parse(&url, true),
        Some(url) => {
            let plain = Endpoint::parse(&url, false)?;
            let scheme = if plain.tls { "https" } else { "http" };
            let url = format!("{scheme}://{}.{}:{}", place.bucket, plain.host, plain.port);
            Endpoint::parse(&url, false)
        }
        None => {
            let (bucket, region) = (&place.bucket, region(options));
            match options.s3_force_path_style {
                Some(true) => Endpoint::parse(&format!("https://s3.{region}.amazonaws.com"), true),
                _ => Endpoint::parse(&format!("https://{bucket}.s3.{region}.amazonaws.com"), false),
            }
        }
    }
}

/// Keys from the environment.
pub(super) fn credentials() -> Result<super::sign::Credentials, String> {
    let need = |name: &str| {
        variable(name).ok_or_else(|| {
            format!("{name} is not set: export it (credentials come from the environment only)")
        })
    };
    Ok(super::sign::Credentials {
        access_key: need("AWS_ACCESS_KEY_ID")?,
        secret_key: need("AWS_SECRET_ACCESS_KEY")?,
        token: variable("AWS_SESSION_TOKEN"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_bucket_and_prefix() {
        let place = |rest| Place::parse(rest).unwrap();
        assert_eq!(place("bench"), Place { bucket: "bench".into(), prefix: "".into() });
        assert_eq!(place("bench/a/b/").prefix, "a/b/");
        for bad in ["", "ab", "Upper/x", "bench/../x", "bench//x", "bench/.", "b_c_d/x"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_root_or_endpoint_with_credentials_is_refused_and_not_repeated() {
        for rest in ["key:hunter2@bench/x", "bench/x?secret=hunter2"] {
            let said = Place::parse(rest).unwrap_err();
            assert!(said.contains("credentials") && !said.contains("hunter2"), "{said}");
        }
        let said = Endpoint::parse("http://key:hunter2@host", true).unwrap_err();
        assert!(said.contains("credentials") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn endpoints_have_host_port_and_the_header_of_http() {
        let of = |url| Endpoint::parse(url, true).unwrap();
        let plain = of("http://store-1:9000/");
        assert_eq!((plain.host.as_str(), plain.port, plain.tls), ("store-1", 9000, false));
        assert_eq!(plain.authority, "store-1:9000");
        assert_eq!((of("https://h").port, of("https://h:443").authority.as_str()), (443, "h"));
        let six = of("http://[::1]:9000");
        assert_eq!((six.host.as_str(), six.authority.as_str()), ("::1", "[::1]:9000"));
        for bad in ["store", "ftp://x", "http://", "http://h:port", "http://h/path"] {
            assert!(Endpoint::parse(bad, true).is_err(), "{bad}");
        }
    }
}
