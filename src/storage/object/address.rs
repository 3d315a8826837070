//! Where objects lie: the URI of a root, endpoints, and the environment's part in both.

use super::identity::Keys;
use super::service::Service;
use super::sign::Credentials;
use crate::config::{Balance, ObjectOptions};
use std::env;

/// Most servers of a store.
const ENDPOINTS_MAX: usize = 1024;

/// Bucket and key prefix of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub service: Service,
    /// Azure's container is one too.
    pub bucket: String,
    /// Empty, or ending in a slash.
    pub prefix: String,
}

impl Place {
    /// From what follows the scheme of `service`.
    ///
    /// # Errors
    /// One line without the URI, which may hold a secret.
    pub fn parse(service: Service, rest: &str) -> Result<Place, String> {
        let form = service.form();
        if rest.contains('@') || rest.contains('?') || rest.contains('#') {
            let keys = service.keys();
            return Err(format!(
                "a URI must not hold credentials or options (`@`, `?`, `#`): give {form} and \
                 export {keys}"
            ));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_google = service == Service::Google;
        let allowed = |byte: u8| {
            matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-') || (is_google && byte == b'_')
        };
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(allowed) {
            let also = if is_google { ", `_`" } else { "" };
            return Err(format!(
                "the bucket's name must have 3 to 63 of the characters a-z, 0-9{also}, `.` and \
                 `-`: give {form}"
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("the prefix has an empty part, `.` or `..`: give {form}"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Place { service, bucket: bucket.into(), prefix })
    }

    /// The URI of a key.
    pub fn uri(&self, key: &str) -> String {
        format!("{}{}/{key}", self.service.scheme(), self.bucket)
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
        // What stands behind the path may hold a signature.
        if url.contains(['@', '?', '#']) {
            return Err(
                "the endpoint URL must not hold credentials (`@`, `?`, `#`): export them, \
                        see \"Object storage\" in docs/guide.md"
                    .into(),
            );
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

/// A variable of the environment that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
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

/// How requests are dealt: the file's word, else S3_LOAD_BALANCE_STRATEGY, else by rank.
pub(super) fn balance(options: &ObjectOptions) -> Result<Balance, String> {
    if let Some(balance) = options.load_balance_strategy {
        return Ok(balance);
    }
    match variable("S3_LOAD_BALANCE_STRATEGY").as_deref() {
        None | Some("by_rank") => Ok(Balance::ByRank),
        Some("round_robin") => Ok(Balance::RoundRobin),
        Some("least_outstanding" | "least_connections") => Ok(Balance::LeastOutstanding),
        Some(_) => {
            Err("S3_LOAD_BALANCE_STRATEGY: give by_rank, round_robin or least_outstanding".into())
        }
    }
}

/// Looks at what the file says of endpoints.
pub(super) fn check_options(options: &ObjectOptions) -> Result<(), String> {
    let key = "storage.storage_options";
    if !options.endpoint_url.is_empty() && !options.endpoint_uris.is_empty() {
        return Err(format!("{key}: give endpoint_url or endpoint_uris, not both"));
    }
    let one = Some(&options.endpoint_url).filter(|url| !url.is_empty());
    let all = expanded(one.into_iter().chain(&options.endpoint_uris).map(String::as_str));
    let parsed = all.and_then(|all| {
        let all: Result<Vec<Endpoint>, String> =
            all.iter().map(|url| Endpoint::parse(url, true)).collect();
        refuse_twice(&all?)
    });
    parsed.map_err(|what| format!("{key}: {what}"))
}

/// One that stands there twice would get twice its share.
fn refuse_twice(all: &[Endpoint]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match all.iter().find(|endpoint| !seen.insert(endpoint.url())) {
        Some(twice) => Err(format!("{} is given twice; give each endpoint once", twice.url())),
        None => Ok(()),
    }
}

/// The servers of a bucket: the file's, else those of the environment, else the service's own.
pub(super) fn endpoints(options: &ObjectOptions, place: &Place) -> Result<Vec<Endpoint>, String> {
    let (urls, from) = match (options.endpoint_uris.as_slice(), options.endpoint_url.as_str()) {
        ([], "") => urls_of_environment(place.service)?,
        ([], url) => (vec![url.to_string()], "storage.storage_options.endpoint_url"),
        (urls, _) => (urls.to_vec(), "storage.storage_options.endpoint_uris"),
    };
    if urls.is_empty() {
        return home(options, place).map(|endpoint| vec![endpoint]);
    }
    let path_style = options.s3_force_path_style.unwrap_or(true);
    let of = |url: &String| match (place.service, path_style) {
        (Service::Azure, _) => of_account(url, &account()?),
        (Service::Google, _) | (Service::S3, true) => Endpoint::parse(url, true),
        (Service::S3, false) => virtual_host(&Endpoint::parse(url, false)?, &place.bucket),
    };
    let all = expanded(urls.iter().map(String::as_str))
        .and_then(|urls| urls.iter().map(of).collect::<Result<Vec<Endpoint>, String>>());
    let all = all.and_then(|all| refuse_twice(&all).map(|()| all));
    let all = all.map_err(|what| format!("{from}: {what}"))?;
    match all.iter().any(|endpoint| endpoint.tls != all[0].tls) {
        true => Err(format!("{from}: give http:// for all of them, or https:// for all")),
        false => Ok(all),
    }
}

/// URLs or templates, and the variable that they come from: S3_ENDPOINT_URIS,
/// S3_ENDPOINT_TEMPLATE, S3_ENDPOINT_FILE, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL; of Azure
/// AZURE_STORAGE_ENDPOINT, AZURE_ENDPOINT; of Google STORAGE_EMULATOR_HOST.
fn urls_of_environment(service: Service) -> Result<(Vec<String>, &'static str), String> {
    let one_of = |names: &[&'static str]| {
        let found = names.iter().find_map(|name| Some((vec![variable(name)?], *name)));
        Ok(found.unwrap_or((Vec::new(), "")))
    };
    match service {
        Service::S3 => {}
        Service::Azure => return one_of(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]),
        Service::Google => {
            let (urls, name) = one_of(&["STORAGE_EMULATOR_HOST"])?;
            // Google's own libraries take a host alone, too.
            let whole = |url: String| match url.contains("://") {
                true => url,
                false => format!("http://{url}"),
            };
            return Ok((urls.into_iter().map(whole).collect(), name));
        }
    }
    let listed = |text: &str, at: char| -> Vec<String> {
        let entries = text.split(at).map(|entry| entry.split('#').next().unwrap_or("").trim());
        entries.filter(|entry| !entry.is_empty()).map(str::to_string).collect()
    };
    for name in ["S3_ENDPOINT_URIS", "S3_ENDPOINT_TEMPLATE"] {
        if let Some(text) = variable(name) {
            return Ok((listed(&text, ','), name));
        }
    }
    if let Some(path) = variable("S3_ENDPOINT_FILE") {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("S3_ENDPOINT_FILE {path}: {error}"))?;
        return Ok((listed(&text, '\n'), "S3_ENDPOINT_FILE"));
    }
    one_of(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
}

/// Name of the storage account that Azure's containers belong to.
///
/// # Errors
/// It is not set.
pub(super) fn account() -> Result<String, String> {
    let name = variable("AZURE_STORAGE_ACCOUNT").or_else(|| variable("AZURE_STORAGE_ACCOUNT_NAME"));
    let name = name.ok_or("AZURE_STORAGE_ACCOUNT is not set: export the storage account's name")?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match name.bytes().all(allowed) {
        true => Ok(name),
        false => Err("AZURE_STORAGE_ACCOUNT: give a name of the characters a-z and 0-9".into()),
    }
}

/// A server of a storage account: one that has its name in front of its own, or any other, in whose
/// path the account stands, as with emulators.
fn of_account(url: &str, account: &str) -> Result<Endpoint, String> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(&format!("/{account}")).unwrap_or(url);
    let mut endpoint = Endpoint::parse(url, true)?;
    endpoint.path_style = !endpoint.host.starts_with(&format!("{account}."));
    Ok(endpoint)
}

/// The service's own server.
fn home(options: &ObjectOptions, place: &Place) -> Result<Endpoint, String> {
    match place.service {
        Service::S3 => {}
        Service::Azure => {
            let account = account()?;
            return of_account(&format!("https://{account}.blob.core.windows.net"), &account);
        }
        Service::Google => return Endpoint::parse("https://storage.googleapis.com", true),
    }
    let region = region(options);
    let path_style = options.s3_force_path_style == Some(true);
    let home = Endpoint::parse(&format!("https://s3.{region}.amazonaws.com"), path_style)?;
    if path_style { Ok(home) } else { virtual_host(&home, &place.bucket) }
}

fn virtual_host(plain: &Endpoint, bucket: &str) -> Result<Endpoint, String> {
    let scheme = if plain.tls { "https" } else { "http" };
    Endpoint::parse(&format!("{scheme}://{bucket}.{}:{}", plain.host, plain.port), false)
}

/// Every `{a...b}` in every URL put out, the last group fastest.
fn expanded<'a>(urls: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for url in urls {
        let mut open = vec![url.to_string()];
        while open.iter().any(|text| text.contains('{')) {
            let mut next = Vec::new();
            for text in &open {
                let Some((front, (written, first, last), back)) = first_group(text)? else {
                    continue;
                };
                let width = if written.starts_with('0') { written.len() } else { 0 };
                if last - first >= ENDPOINTS_MAX as u64 {
                    return Err(too_many());
                }
                next.extend((first..=last).map(|n| format!("{front}{n:0width$}{back}")));
            }
            if next.len() > ENDPOINTS_MAX {
                return Err(too_many());
            }
            open = next;
        }
        all.extend(open);
    }
    if all.len() > ENDPOINTS_MAX {
        return Err(too_many());
    }
    Ok(all)
}

fn too_many() -> String {
    format!("more than {ENDPOINTS_MAX} endpoints; give fewer")
}

/// What stands before a group, the group (first number as written, first, last), and the rest.
type Group<'a> = (&'a str, (&'a str, u64, u64), &'a str);

fn first_group(text: &str) -> Result<Option<Group<'_>>, String> {
    let Some((front, rest)) = text.split_once('{') else { return Ok(None) };
    let group = rest.split_once('}').and_then(|(group, back)| {
        let (first, last) = group.split_once("...")?;
        let numbers = (first.parse().ok()?, last.parse().ok()?);
        (numbers.0 <= numbers.1).then_some((front, (first, numbers.0, numbers.1), back))
    });
    let group = group.ok_or("a group of a template must be {FIRST...LAST}, e.g. {1...8}")?;
    Ok(Some(group))
}

/// Keys from the environment, else those of a web identity, else from a profile of the file that
/// Amazon's tools keep.
pub(super) fn credentials() -> Result<Keys, String> {
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    if names.iter().all(|name| variable(name).is_none()) {
        if let Some(found) = super::identity::keys()? {
            return Ok(found);
        }
        if let Some(found) = of_profile()? {
            return Ok(Keys::fixed(found));
        }
    }
    let need = |name: &str| {
        variable(name).ok_or_else(|| {
            format!("{name} is not set: export it, or keep keys in ~/.aws/credentials")
        })
    };
    Ok(Keys::fixed(Credentials {
        access_key: need(names[0])?,
        secret_key: need(names[1])?,
        token: variable("AWS_SESSION_TOKEN"),
    }))
}

/// Keys of the profile AWS_PROFILE (`default`) in AWS_SHARED_CREDENTIALS_FILE
/// (`~/.aws/credentials`); None: nobody named either, and there are none.
fn of_profile() -> Result<Option<Credentials>, String> {
    let named = variable("AWS_PROFILE");
    let given = variable("AWS_SHARED_CREDENTIALS_FILE");
    let must = named.is_some() || given.is_some();
    let usual = || variable("HOME").map(|home| format!("{home}/.aws/credentials"));
    let Some(path) = given.or_else(usual) else { return Ok(None) };
    let profile = named.unwrap_or_else(|| "default".into());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if must => return Err(format!("AWS_PROFILE {profile}: {path}: {error}")),
        Err(_) => return Ok(None),
    };
    match keys_of(&text, &profile) {
        Some(found) => Ok(Some(found)),
        None if must => Err(format!(
            "{path}: the profile `{profile}` has no aws_access_key_id and aws_secret_access_key \
             (roles and single sign-on of a profile are not known here): add them, or export \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )),
        None => Ok(None),
    }
}

/// The keys of a profile; None: it is not there, or has none.
fn keys_of(text: &str, profile: &str) -> Option<Credentials> {
    let (mut inside, mut access, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside) {
            let value = Some(value.trim().to_string()).filter(|value| !value.is_empty());
            match name.trim() {
                "aws_access_key_id" => access = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Credentials { access_key: access?, secret_key: secret?, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_bucket_and_prefix() {
        let place = |rest| Place::parse(Service::S3, rest).unwrap();
        let (service, bucket) = (Service::S3, "bench".into());
        assert_eq!(place("bench"), Place { service, bucket, prefix: "".into() });
        assert_eq!(place("bench/a/b/").prefix, "a/b/");
        for bad in ["", "ab", "Upper/x", "bench/../x", "bench//x", "bench/.", "b_c_d/x"] {
            assert!(Place::parse(Service::S3, bad).is_err(), "{bad}");
        }
        let place = Place::parse(Service::Google, "b_c_d/x").unwrap();
        assert_eq!(place.uri("x/y"), "gs://b_c_d/x/y");
    }

    #[test]
    fn a_server_of_an_account_has_it_in_its_name_or_in_its_path() {
        let of = |url| of_account(url, "bench1").unwrap();
        assert!(!of("https://bench1.blob.core.windows.net").path_style);
        for url in ["http://127.0.0.1:10000", "http://127.0.0.1:10000/bench1/"] {
            let endpoint = of(url);
            assert_eq!((endpoint.url().as_str(), endpoint.path_style), (&url[..22], true));
        }
        assert!(of_account("http://127.0.0.1:10000/other", "bench1").is_err());
    }

    #[test]
    fn a_root_or_endpoint_with_credentials_is_refused_and_not_repeated() {
        for rest in ["key:hunter2@bench/x", "bench/x?secret=hunter2"] {
            for service in [Service::S3, Service::Azure, Service::Google] {
                let said = Place::parse(service, rest).unwrap_err();
                assert!(said.contains("credentials") && !said.contains("hunter2"), "{said}");
                assert!(said.contains(service.form()), "{said}");
            }
        }
        // Bug: what stood behind the path was repeated.
        for url in
            ["http://key:hunter2@host", "http://host/a?sv=1&sig=hunter2", "http://host/#hunter2"]
        {
            let said = Endpoint::parse(url, true).unwrap_err();
            assert!(said.contains("credentials") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_profile_has_its_own_keys_and_no_others() {
        let text = "# keys\n[default]\naws_access_key_id = a\naws_secret_access_key=s=1\n\n\
                    [ other ]\naws_access_key_id=b\naws_secret_access_key = t\n\
                    aws_session_token = u\n[half]\naws_access_key_id = c\n";
        let keys = |profile| {
            keys_of(text, profile).map(|keys| (keys.access_key, keys.secret_key, keys.token))
        };
        assert_eq!(keys("default"), Some(("a".into(), "s=1".into(), None)));
        assert_eq!(keys("other"), Some(("b".into(), "t".into(), Some("u".into()))));
        assert_eq!(keys("half"), None);
        assert_eq!(keys("absent"), None);
    }

    #[test]
    fn templates_are_put_out_with_all_their_groups() {
        let of = |text| expanded(std::iter::once(text));
        assert_eq!(of("http://a:1").unwrap(), ["http://a:1"]);
        let two = of("http://n{8...10}:90{01...02}").unwrap();
        let want = ["n8:9001", "n8:9002", "n9:9001", "n9:9002", "n10:9001", "n10:9002"];
        assert_eq!(two, want.map(|rest| format!("http://{rest}")));
        for bad in ["http://{1..8}", "http://{8...1}", "http://{a...b}", "http://{1...8"] {
            assert!(of(bad).unwrap_err().contains("{FIRST...LAST}"), "{bad}");
        }
        for many in ["http://{1...99999}", "http://{1...100}{1...100}"] {
            assert!(of(many).unwrap_err().contains("more than 1024"), "{many}");
        }
    }

    #[test]
    fn the_file_goes_before_the_environment_and_its_words_are_checked() {
        let place = Place::parse(Service::S3, "bench/x").unwrap();
        let mut options = ObjectOptions {
            endpoint_uris: vec!["http://a{1...2}:9".into(), "http://b".into()],
            ..ObjectOptions::default()
        };
        let urls = |options: &ObjectOptions| -> Vec<String> {
            endpoints(options, &place).unwrap().iter().map(Endpoint::url).collect()
        };
        assert_eq!(urls(&options), ["http://a1:9", "http://a2:9", "http://b"]);
        options.s3_force_path_style = Some(false);
        assert_eq!(urls(&options)[2], "http://bench.b");
        options.endpoint_uris.push("https://c".into());
        assert!(endpoints(&options, &place).unwrap_err().contains("https:// for all"));
        options.endpoint_url = "http://d".into();
        assert!(check_options(&options).unwrap_err().contains("not both"));
        options.endpoint_uris.clear();
        assert_eq!(check_options(&options), Ok(()));
        options.endpoint_url = "http://key:hunter2@d".into();
        assert!(!check_options(&options).unwrap_err().contains("hunter2"));
    }

    #[test]
    fn an_endpoint_that_is_given_twice_is_refused() {
        let place = Place::parse(Service::S3, "bench/x").unwrap();
        for twice in [["http://a1:80/", "http://a{1...2}"], ["https://b", "https://b:443"]] {
            let endpoint_uris = twice.map(str::to_string).to_vec();
            let options = ObjectOptions { endpoint_uris, ..ObjectOptions::default() };
            for said in [check_options(&options), endpoints(&options, &place).map(|_| ())] {
                let said = said.unwrap_err();
                assert!(said.contains("is given twice; give each endpoint once"), "{said}");
            }
        }
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
