//! `az://` and `gs://` by the crate `object_store`. Its own retries are off, so that each attempt
//! is one that the desk counts; and what the servers answer is looked at on its way, because the
//! library's errors do not tell status and code apart.

use super::address::{Endpoint, Place};
use super::asked::Asked;
use super::exchange::Tag;
use super::range::ContentRange;
use super::remote::{Attempt, Cargo, Outcome, Remote};
use super::remote::{comes_back, lend, sentence, take_in, within};
use super::servers::Servers;
use super::stream::{no_tls_config, tls_config};
use super::xml;
use crate::config::ObjectOptions;
use crate::storage::PAGE_NAMES;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse};
use object_store::client::{HttpErrorKind, HttpService};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    ClientOptions, CopyOptions, Error, GetOptions, GetRange, GetResult, ObjectStore,
};
use object_store::{PutMode, PutOptions, RetryConfig};
use rustls::ClientConfig;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Id of uploads where the service has none.
const NO_ID: &str = "none";

/// Everything that the library can do with a bucket.
pub(super) trait Door: ObjectStore + MultipartStore + PaginatedListStore {}

impl<T: ObjectStore + MultipartStore + PaginatedListStore> Door for T {}

/// A service of the library, with its keys.
pub(super) trait Opens: Send {
    /// Its name in results.
    fn engine(&self) -> &'static str;
    /// Whether it speaks TLS with somebody, whatever the endpoint.
    fn needs_tls(&self) -> bool;
    /// `text` without secrets.
    fn hide(&self, text: &str) -> String;
    /// The library's client of a bucket at an endpoint.
    ///
    /// # Errors
    /// The library does not like keys or names.
    fn open(
        &self,
        bucket: &str,
        endpoint: &Endpoint,
        connector: Connector,
    ) -> Result<Arc<dyn Door>, Error>;
}

/// No attempt but the first.
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// The client of a bucket.
pub(super) struct Foreign {
    opens: Box<dyn Opens>,
    bucket: String,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
    patience: Duration,
    /// By number of the server.
    doors: Vec<Option<Arc<dyn Door>>>,
}

impl Foreign {
    /// For the objects of `place`.
    ///
    /// # Errors
    /// One line: certificates that cannot be read, keys that are none.
    pub fn new(
        opens: Box<dyn Opens>,
        place: &Place,
        servers: &Servers,
        options: &ObjectOptions,
    ) -> Result<Foreign, String> {
        let is_tls = opens.needs_tls() || servers.endpoint(0).tls;
        let mut foreign = Foreign {
            opens,
            bucket: place.bucket.clone(),
            tls: if is_tls { tls_config()? } else { no_tls_config()? },
            connect_timeout: Duration::from_secs_f64(options.connect_timeout),
            patience: Duration::from_secs_f64(options.timeout),
            doors: Vec::new(),
        };
        // Says now what is wrong with the keys.
        foreign.door(0, servers.endpoint(0))?;
        Ok(foreign)
    }

    fn door(&mut self, number: usize, endpoint: &Endpoint) -> Result<Arc<dyn Door>, String> {
        if self.doors.len() <= number {
            self.doors.resize(number + 1, None);
        }
        if let Some(door) = &self.doors[number] {
            return Ok(door.clone());
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*self.tls).clone())
            .connect_timeout(self.connect_timeout)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| sentence(&error))?;
        let connector = Connector { client, authority: endpoint.authority.clone() };
        let opened = self.opens.open(&self.bucket, endpoint, connector);
        let door = opened.map_err(|error| self.opens.hide(&sentence(&error)))?;
        self.doors[number] = Some(door.clone());
        Ok(door)
    }
}

impl Remote for Foreign {
    fn engine(&self) -> &'static str {
        self.opens.engine()
    }

    fn hide(&self, text: &str) -> String {
        self.opens.hide(text)
    }

    fn attempt(
        &mut self,
        (number, endpoint): (usize, &Endpoint),
        asked: Asked,
        cargo: Cargo,
    ) -> Result<Attempt, (String, Cargo)> {
        let asks = match self.door(number, endpoint) {
            Ok(door) => Asks { door, patience: self.patience.min(cargo.left) },
            Err(what) => return Err((what, cargo)),
        };
        Ok(Box::pin(SEEN.scope(RefCell::default(), async move {
            let outcome = match asked {
                Asked::Get { key, range } => asks.get(&key, range, cargo).await,
                Asked::Put { .. } | Asked::Part { .. } => asks.send(asked, cargo).await,
                Asked::DeleteMany { keys } => asks.delete_many(keys).await,
                _ => match within(asks.patience, asks.small(asked)).await {
                    Ok(Ok(outcome)) | Err(outcome) => outcome,
                    Ok(Err(error)) => failure(&error),
                },
            };
            let requests = SEEN.with(|seen| seen.borrow().requests);
            Outcome { requests: Some(requests), ..outcome }
        })))
    }

    fn renew(&mut self, patience_s: f64) {
        self.doors.clear();
        self.connect_timeout = Duration::from_secs_f64(patience_s);
        self.patience = self.connect_timeout;
    }
}

/// What one attempt needs.
struct Asks {
    door: Arc<dyn Door>,
    patience: Duration,
}

impl Asks {
    /// Reads into the buffer, piece by piece as they come.
    async fn get(&self, key: &str, range: Option<(u64, u64)>, mut cargo: Cargo) -> Outcome {
        let status = if range.is_some() { 206 } else { 200 };
        let (mut received, mut first_ns) = (0, 0);
        let outcome = match within(self.patience, self.ask(key, range)).await {
            Err(late) => late,
            Ok(Err(error)) => failure(&error),
            Ok(Ok(answer)) => {
                let (total, held) = (answer.meta.size, answer.range.clone());
                let len = held.end - held.start;
                let mut body = answer.into_stream();
                let filled = self.fill(&mut body, &mut cargo, (&mut received, &mut first_ns)).await;
                let broken = match filled {
                    Err(outcome) => outcome.broken,
                    Ok(()) if len != received as u64 => {
                        Some(format!("the answer broke off after {received} of {len} bytes"))
                    }
                    Ok(()) => None,
                };
                let content_range = range.map(|_| ContentRange {
                    first: held.start,
                    last: held.end.saturating_sub(1),
                    total: Some(total),
                });
                Outcome { broken, content_range, ..sized(status, total) }
            }
        };
        Outcome { received, first_ns, buffer: cargo.buffer, ..outcome }
    }

    async fn ask(&self, key: &str, range: Option<(u64, u64)>) -> Result<GetResult, Error> {
        let range = range.map(|(first, count)| GetRange::Bounded(first..first + count));
        let options = GetOptions { range, ..GetOptions::default() };
        self.door.get_opts(&path_of(key)?, options).await
    }

    async fn fill(
        &self,
        body: &mut BoxStream<'static, Result<Bytes, Error>>,
        cargo: &mut Cargo,
        (received, first_ns): (&mut usize, &mut u64),
    ) -> Result<(), Outcome> {
        while let Some(piece) = within(self.patience, body.next()).await? {
            take_in(cargo, (received, first_ns), piece).map_err(Outcome::broken)?;
        }
        Ok(())
    }

    /// Sends a whole object or a part.
    async fn send(&self, asked: Asked, cargo: Cargo) -> Outcome {
        let (bytes, back) = lend(cargo);
        let sent = within(self.patience, async {
            match asked {
                Asked::Put { key, only_new } => {
                    let mode = if only_new { PutMode::Create } else { PutMode::Overwrite };
                    let options = PutOptions { mode, ..PutOptions::default() };
                    let put = self.door.put_opts(&path_of(&key)?, bytes.into(), options).await?;
                    Ok(put.e_tag.unwrap_or_default())
                }
                Asked::Part { key, id, number } => {
                    let (path, place) = (path_of(&key)?, number as usize - 1);
                    let part = self.door.put_part(&path, &id, place, bytes.into()).await?;
                    Ok(part.content_id)
                }
                _ => Err(unknown()),
            }
        });
        let outcome = match sent.await {
            Ok(Ok(tag)) => Outcome { tag: Tag::new(tag.as_bytes()), ..Outcome::done(200) },
            Ok(Err(error)) => failure(&error),
            Err(late) => late,
        };
        Outcome { buffer: comes_back(back, self.patience).await, ..outcome }
    }

    /// A request without a body of an object.
    async fn small(&self, asked: Asked) -> Result<Outcome, Error> {
        match asked {
            Asked::Head { key } => {
                let options = GetOptions { head: true, ..GetOptions::default() };
                let answer = self.door.get_opts(&path_of(&key)?, options).await?;
                Ok(sized(200, answer.meta.size))
            }
            Asked::Begin { key } => {
                let id = self.door.create_multipart(&path_of(&key)?).await?;
                let id = if id.is_empty() { NO_ID } else { &id };
                Ok(Outcome { text: xml::new_upload(id), ..Outcome::done(200) })
            }
            Asked::Complete { key, id, parts } => {
                let part = |(_, content_id)| PartId { content_id };
                let parts = parts.into_iter().map(part).collect();
                self.door.complete_multipart(&path_of(&key)?, &id, parts).await?;
                Ok(Outcome::done(200))
            }
            Asked::Abort { key, id } => {
                self.door.abort_multipart(&path_of(&key)?, &id).await?;
                Ok(Outcome::done(204))
            }
            Asked::Delete { key } => {
                let one = stream::iter([Ok(path_of(&key)?)]).boxed();
                match self.door.delete_stream(one).next().await {
                    Some(Err(error)) if !is_missing(&error) => Err(error),
                    _ => Ok(Outcome::done(204)),
                }
            }
            Asked::Copy { from, key } => {
                let (from, to) = (path_of(&from)?, path_of(&key)?);
                self.door.copy_opts(&from, &to, CopyOptions::default()).await?;
                match SEEN.with(|seen| seen.borrow().is_pending) {
                    false => Ok(Outcome::done(200)),
                    true => Err(gives_up("the server copies later, and does not tell when")),
                }
            }
            Asked::List { prefix, token } => self.list(prefix, token).await,
            // The library does not list them.
            Asked::Uploads { .. } => Ok(Outcome::done(501)),
            Asked::Get { .. } | Asked::Put { .. } => Err(unknown()),
            Asked::Part { .. } | Asked::DeleteMany { .. } => Err(unknown()),
        }
    }

    async fn list(&self, prefix: String, page_token: Option<String>) -> Result<Outcome, Error> {
        let options = PaginatedListOptions {
            delimiter: Some("/".into()),
            max_keys: Some(PAGE_NAMES),
            page_token,
            ..PaginatedListOptions::default()
        };
        let prefix = Some(prefix.as_str()).filter(|prefix| !prefix.is_empty());
        let page = self.door.list_paginated(prefix, options).await?;
        let folder = |path: &Path| format!("{path}/");
        let folders: Vec<String> = page.result.common_prefixes.iter().map(folder).collect();
        let keys = page.result.objects.iter().map(|object| object.location.as_ref());
        let folders = folders.iter().map(String::as_str);
        let text = xml::new_page(keys, folders, page.page_token.as_deref());
        Ok(Outcome { text, ..Outcome::done(200) })
    }

    /// Removes names one after the other, or many at once where the service can.
    async fn delete_many(&self, keys: Vec<String>) -> Outcome {
        let paths: Vec<Result<Path, Error>> = keys.iter().map(|key| path_of(key)).collect();
        let mut deleted = self.door.delete_stream(stream::iter(paths).boxed());
        let mut place = 0;
        loop {
            match within(self.patience, deleted.next()).await {
                Err(late) => return late,
                Ok(None) => break,
                Ok(Some(Err(error))) if !is_missing(&error) => {
                    let outcome = failure(&error);
                    if outcome.broken.is_some() || outcome.status >= 300 {
                        return outcome;
                    }
                    // One name of a request that was answered.
                    let key = keys.get(place).map(String::as_str).unwrap_or_default();
                    let error = [key, "NotRemoved", &sentence(&error)];
                    let text = xml::removed([error].into_iter());
                    return Outcome { text, ..Outcome::done(200) };
                }
                Ok(Some(_)) => place += 1,
            }
        }
        Outcome { text: xml::removed(std::iter::empty()), ..Outcome::done(200) }
    }
}

/// A key as the library wants it. It takes all that are names inside a root.
fn path_of(key: &str) -> Result<Path, Error> {
    Ok(Path::parse(key)?)
}

/// An answer about an object of `total` bytes.
fn sized(status: u16, total: u64) -> Outcome {
    Outcome { content_length: Some(total), ..Outcome::done(status) }
}

fn unknown() -> Error {
    gives_up("this client does not know this request")
}

/// An error of this client.
fn gives_up(what: &str) -> Error {
    Error::Generic { store: "rankio", source: what.into() }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. })
}

/// An operation that failed: what the server said, or why there is no answer.
fn failure(error: &Error) -> Outcome {
    let seen = SEEN.with(|seen| seen.borrow().clone());
    match seen.broken {
        _ if seen.status > 0 => {
            let (said, location) = (seen.said, seen.location);
            Outcome { said, location, ..Outcome::done(seen.status) }
        }
        Some(what) => Outcome::broken(what),
        // No other attempt would end otherwise.
        None => {
            let said = Some(("the client gives up".to_string(), sentence(error)));
            Outcome { said, ..Outcome::done(200) }
        }
    }
}

/// What was seen of the answers to one attempt.
#[derive(Debug, Default, Clone)]
struct Seen {
    /// Requests to the store.
    requests: u64,
    /// Status of an error, a missing name only where there is no other; 0: none.
    status: u16,
    /// Its code and message.
    said: Option<(String, String)>,
    location: String,
    /// Why there was no answer.
    broken: Option<String>,
    /// A copy goes on after its answer.
    is_pending: bool,
}

tokio::task_local! {
    static SEEN: RefCell<Seen>;
}

/// Notes something of an answer, where somebody wants to know.
fn note(write: impl FnOnce(&mut Seen)) {
    let _ = SEEN.try_with(|seen| write(&mut seen.borrow_mut()));
}

/// HTTP under the library: the same client for everything, whose answers are noted.
#[derive(Clone)]
pub(super) struct Connector {
    client: reqwest::Client,
    /// Of the store; tokens come from elsewhere.
    authority: String,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.authority)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient, Error> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let authority = request.uri().authority().map(|name| name.to_string()).unwrap_or_default();
        let is_store = authority == self.authority;
        let answers_text = !request.method().is_safe();
        note(|seen| seen.requests += u64::from(is_store));
        let response = match HttpService::call(&self.client, request).await {
            Ok(response) => response,
            Err(error) => {
                let what = no_answer(&error, (!is_store).then_some(authority.as_str()));
                note(|seen| seen.broken = Some(what));
                return Err(error);
            }
        };
        let is_success = response.status().is_success();
        if is_success && !answers_text {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let text = body.bytes().await.inspect_err(|error| {
            let what = no_answer(error, (!is_store).then_some(authority.as_str()));
            note(|seen| seen.broken = Some(what));
        })?;
        let header = |name: &str| {
            let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_string()
        };
        let status = parts.status.as_u16();
        if is_success {
            let is_pending = header("x-ms-copy-status") == "pending";
            // Completion and copy answer at once and may fail later.
            let late = xml::error_of(&text);
            note(|seen| {
                seen.is_pending |= is_pending;
                if late.is_some() && seen.status == 0 {
                    (seen.status, seen.said) = (status, late);
                }
            });
        } else if is_store {
            let code = header("x-ms-error-code");
            let code = (!code.is_empty()).then(|| (code, String::new()));
            let said = xml::error_of(&text).or(code);
            note(|seen| {
                if matches!(seen.status, 0 | 404) {
                    (seen.status, seen.said) = (status, said);
                    seen.location = header("location");
                }
            });
        } else {
            let what = format!("no token: {authority} answered HTTP {status}");
            note(|seen| seen.broken = Some(what));
        }
        Ok(HttpResponse::from_parts(parts, text.into()))
    }
}

/// A sentence about a request without an answer, to somebody else than the store if one is named.
fn no_answer(error: &HttpError, other: Option<&str>) -> String {
    let why = sentence(error);
    let what = match error.kind() {
        HttpErrorKind::Connect => "cannot connect",
        _ => "there is no answer",
    };
    match other {
        Some(name) => format!("no token: {what} to {name} ({why})"),
        None => format!("{what} ({why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen_to_be(seen: Seen) -> Outcome {
        let error = Error::NotImplemented { operation: "x".into(), implementer: "y".into() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(SEEN.scope(RefCell::new(seen), async { failure(&error) }))
    }

    #[test]
    fn a_failure_is_what_the_server_said_else_why_it_said_nothing() {
        let said = Some(("ServerBusy".to_string(), "later".to_string()));
        let broken = Some("cannot connect".to_string());
        let seen =
            Seen { status: 503, said: said.clone(), broken: broken.clone(), ..Seen::default() };
        let outcome = seen_to_be(seen);
        assert_eq!((outcome.status, outcome.said, outcome.broken), (503, said, None));
        let outcome = seen_to_be(Seen { broken: broken.clone(), ..Seen::default() });
        assert_eq!((outcome.status, outcome.broken), (0, broken));
        let outcome = seen_to_be(Seen::default());
        let (code, _) = outcome.said.unwrap();
        assert_eq!((outcome.status, code.as_str()), (200, "the client gives up"));
    }

    #[test]
    fn keys_are_taken_as_they_are() {
        for key in ["a b/c+d", "x/%20", "t/\u{e4}~#?[1]", ".rankio-dataset.json"] {
            assert_eq!(path_of(key).unwrap().as_ref(), key);
        }
        assert!(path_of("a//b").is_err());
    }
}
