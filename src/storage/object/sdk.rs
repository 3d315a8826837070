//! `s3://` by Amazon's own library. Bodies are not signed and not summed up, which would cost
//! several times the CPU of moving them and which the own client does not do either; what is read
//! is checked by the verifier.

use super::address::{Endpoint, Place};
use super::asked::Asked;
use super::exchange::Tag;
use super::identity::Keys;
use super::range::{ContentRange, Said, unfit};
use super::remote::{Attempt, Cargo, Outcome, Remote};
use super::remote::{comes_back, lend, sentence, take_in, within};
use super::sign::encode;
use super::stream::hint;
use super::xml;
use crate::config::ObjectOptions;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use std::time::Duration;

/// The answer of a failed operation, as the library keeps it.
type Raw = aws_sdk_s3::config::http::HttpResponse;

/// Amazon's library; a client for each server.
pub(super) struct Sdk {
    bucket: String,
    keys: Keys,
    region: String,
    http: SharedHttpClient,
    is_tls: bool,
    connect_timeout_s: f64,
    patience: Duration,
    clients: Vec<Option<Client>>,
}

impl Sdk {
    /// For the objects of `place`.
    ///
    /// # Errors
    /// One line: certificates that cannot be read.
    pub fn new(
        place: &Place,
        keys: Keys,
        region: String,
        is_tls: bool,
        options: &ObjectOptions,
    ) -> Result<Sdk, String> {
        Ok(Sdk {
            bucket: place.bucket.clone(),
            keys,
            region,
            http: http_client(is_tls)?,
            is_tls,
            connect_timeout_s: options.connect_timeout,
            patience: Duration::from_secs_f64(options.timeout),
            clients: Vec::new(),
        })
    }

    fn client(&mut self, number: usize, endpoint: &Endpoint) -> Client {
        // A client keeps its keys; connections are those of `http`, and stay.
        if self.keys.refresh() {
            self.clients.clear();
        }
        if self.clients.len() <= number {
            self.clients.resize(number + 1, None);
        }
        if let Some(client) = &self.clients[number] {
            return client.clone();
        }
        let mut keys = aws_sdk_s3::config::Credentials::builder()
            .access_key_id(&self.keys.held().access_key)
            .secret_access_key(&self.keys.held().secret_key)
            .provider_name("rankio");
        keys.set_session_token(self.keys.held().token.clone());
        let connect = Duration::from_secs_f64(self.connect_timeout_s);
        let config = Builder::new()
            .behavior_version_latest()
            .credentials_provider(keys.build())
            .region(Region::new(self.region.clone()))
            .endpoint_url(self.url(endpoint))
            .force_path_style(endpoint.path_style)
            .http_client(self.http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(connect).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let client = Client::from_conf(config);
        self.clients[number] = Some(client.clone());
        client
    }

    /// The library puts the bucket in front of the host by itself.
    fn url(&self, endpoint: &Endpoint) -> String {
        let bucket = format!("://{}.", self.bucket);
        match endpoint.path_style {
            true => endpoint.url(),
            false => endpoint.url().replacen(&bucket, "://", 1),
        }
    }
}

/// The library's HTTP client; with TLS it trusts what the own client trusts.
fn http_client(is_tls: bool) -> Result<SharedHttpClient, String> {
    let builder = aws_smithy_http_client::Builder::new();
    if !is_tls {
        return Ok(builder.build_http());
    }
    // Reads the certificates too, and says what is wrong with them.
    super::stream::tls_config()?;
    let mut trusted = TrustStore::default();
    if let Some(bundle) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        let pem = std::fs::read(&bundle)
            .map_err(|error| format!("AWS_CA_BUNDLE {}: {error}", bundle.to_string_lossy()))?;
        trusted = TrustStore::empty().with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| sentence(&error))?;
    let provider = Provider::Rustls(CryptoMode::Ring);
    Ok(builder.tls_provider(provider).tls_context(context).build_https())
}

impl Remote for Sdk {
    fn engine(&self) -> &'static str {
        "s3-sdk"
    }

    fn hide(&self, text: &str) -> String {
        self.keys.held().hide(text)
    }

    fn attempt(
        &mut self,
        (number, endpoint): (usize, &Endpoint),
        asked: Asked,
        cargo: Cargo,
    ) -> Result<Attempt, (String, Cargo)> {
        let asks = Asks {
            client: self.client(number, endpoint),
            bucket: self.bucket.clone(),
            patience: self.patience.min(cargo.left),
        };
        Ok(Box::pin(async move {
            match asked {
                Asked::Get { key, range } => asks.get(key, range, cargo).await,
                Asked::Put { .. } | Asked::Part { .. } => asks.send(asked, cargo).await,
                _ => match within(asks.patience, asks.small(asked)).await {
                    Ok(outcome) | Err(outcome) => outcome,
                },
            }
        }))
    }

    fn renew(&mut self, patience_s: f64) {
        self.clients.clear();
        self.connect_timeout_s = patience_s;
        self.patience = Duration::from_secs_f64(patience_s);
        // It was there before, so it is there again.
        if let Ok(http) = http_client(self.is_tls) {
            self.http = http;
        }
    }
}

/// What one attempt needs.
struct Asks {
    client: Client,
    bucket: String,
    patience: Duration,
}

impl Asks {
    /// Reads into the buffer, piece by piece as they come.
    async fn get(&self, key: String, range: Option<(u64, u64)>, mut cargo: Cargo) -> Outcome {
        let header = range.map(|(first, count)| format!("bytes={first}-{}", first + count - 1));
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        let (mut received, mut first_ns) = (0, 0);
        let outcome = match within(self.patience, get.set_range(header).send()).await {
            Err(late) => late,
            Ok(Err(error)) => failure(&error),
            Ok(Ok(answer)) => {
                let content_length = answer.content_length.and_then(|len| len.try_into().ok());
                let content_range = answer.content_range.as_deref().and_then(ContentRange::parse);
                // The library does not tell the status.
                let status = if content_range.is_some() { 206 } else { 200 };
                let mut body = answer.body;
                // The body of another range is not read; who asked sees that it is one.
                let said = Said { is_partial: status == 206, content_length, content_range };
                let filled = match unfit(range, None, said) {
                    Some(_) => Ok(()),
                    None => self.fill(&mut body, &mut cargo, (&mut received, &mut first_ns)).await,
                };
                let broken = match (filled, content_length) {
                    (Err(outcome), _) => outcome.broken,
                    (Ok(()), Some(len)) if len != received as u64 => {
                        Some(format!("the answer broke off after {received} of {len} bytes"))
                    }
                    _ => None,
                };
                Outcome { content_length, content_range, broken, ..Outcome::done(status) }
            }
        };
        Outcome { received, first_ns, buffer: cargo.buffer, ..outcome }
    }

    async fn fill(
        &self,
        body: &mut ByteStream,
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
        let body = ByteStream::from(bytes);
        let sent = within(self.patience, async {
            let tag = match asked {
                Asked::Put { key, only_new } => {
                    let put = self.client.put_object().bucket(&self.bucket).key(key).body(body);
                    let put = put.set_if_none_match(only_new.then(|| "*".to_string()));
                    let sent = put.customize().disable_payload_signing().send().await;
                    sent.map(|answer| answer.e_tag).map_err(|error| failure(&error))
                }
                Asked::Part { key, id, number } => {
                    let part = self.client.upload_part().bucket(&self.bucket).key(key).body(body);
                    let part = part.upload_id(id).part_number(number as i32);
                    let sent = part.customize().disable_payload_signing().send().await;
                    sent.map(|answer| answer.e_tag).map_err(|error| failure(&error))
                }
                _ => return unknown(),
            };
            let tag = tag.map(|tag| Tag::new(tag.unwrap_or_default().as_bytes()));
            tag.map_or_else(|failure| failure, |tag| Outcome { tag, ..Outcome::done(200) })
        });
        let outcome = match sent.await {
            Ok(outcome) | Err(outcome) => outcome,
        };
        Outcome { buffer: comes_back(back, self.patience).await, ..outcome }
    }

    /// A request without a body of an object.
    async fn small(&self, asked: Asked) -> Outcome {
        let (client, bucket) = (&self.client, &self.bucket);
        let ended = match asked {
            Asked::Head { key } => {
                let answer = client.head_object().bucket(bucket).key(key).send().await;
                answer.map_err(|error| failure(&error)).map(|answer| {
                    let content_length = answer.content_length.and_then(|len| len.try_into().ok());
                    let tag = Tag::new(answer.e_tag().unwrap_or_default().as_bytes());
                    Outcome { content_length, tag, ..Outcome::done(200) }
                })
            }
            Asked::Begin { key } => {
                let answer = client.create_multipart_upload().bucket(bucket).key(key).send().await;
                answer.map_err(|error| failure(&error)).map(|answer| {
                    let text = xml::new_upload(answer.upload_id().unwrap_or_default());
                    Outcome { text, ..Outcome::done(200) }
                })
            }
            Asked::Complete { key, id, parts } => {
                let answer = client.complete_multipart_upload().bucket(bucket).key(key);
                let answer = answer.upload_id(id).multipart_upload(completed(parts)).send().await;
                answer.map_err(|error| failure(&error)).map(|_| Outcome::done(200))
            }
            Asked::Abort { key, id } => {
                let abort = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
                abort.send().await.map_err(|e| failure(&e)).map(|_| Outcome::done(204))
            }
            Asked::Delete { key } => {
                let delete = client.delete_object().bucket(bucket).key(key);
                delete.send().await.map_err(|error| failure(&error)).map(|_| Outcome::done(204))
            }
            Asked::DeleteMany { keys } => self.delete_many(keys).await,
            Asked::Copy { from, key } => {
                let mut source = Vec::new();
                encode(&format!("{bucket}/{from}"), true, &mut source);
                let source = String::from_utf8(source).unwrap_or_default();
                let copy = client.copy_object().bucket(bucket).key(key).copy_source(source);
                copy.send().await.map_err(|error| failure(&error)).map(|_| Outcome::done(200))
            }
            Asked::List { prefix, token } => self.list(prefix, token).await,
            Asked::Uploads { prefix, key, id } => self.uploads(prefix, key, id).await,
            Asked::Get { .. } | Asked::Put { .. } | Asked::Part { .. } => Ok(unknown()),
        };
        ended.unwrap_or_else(|failure| failure)
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<Outcome, Outcome> {
        let mut list = Delete::builder().quiet(true);
        for key in keys {
            let one = ObjectIdentifier::builder().key(key).build();
            list = list.objects(one.map_err(|error| Outcome::broken(sentence(&error)))?);
        }
        let list = list.build().map_err(|error| Outcome::broken(sentence(&error)))?;
        let delete = self.client.delete_objects().bucket(&self.bucket).delete(list);
        let answer = delete.send().await.map_err(|error| failure(&error))?;
        let text = xml::removed(answer.errors().iter().map(|error| {
            let texts = [error.key(), error.code(), error.message()];
            texts.map(|text| text.unwrap_or_default())
        }));
        Ok(Outcome { text, ..Outcome::done(200) })
    }

    async fn uploads(
        &self,
        prefix: String,
        key: Option<String>,
        id: Option<String>,
    ) -> Result<Outcome, Outcome> {
        let list = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(prefix);
        let list = list.set_key_marker(key).set_upload_id_marker(id);
        let answer = list.send().await.map_err(|error| failure(&error))?;
        let found =
            answer.uploads().iter().filter_map(|upload| Some((upload.key()?, upload.upload_id()?)));
        let next = (answer.next_key_marker(), answer.next_upload_id_marker());
        let is_truncated = answer.is_truncated() == Some(true);
        let next = is_truncated.then(|| (next.0.unwrap_or(""), next.1.unwrap_or("")));
        Ok(Outcome { text: xml::new_uploads(found, next), ..Outcome::done(200) })
    }

    async fn list(&self, prefix: String, token: Option<String>) -> Result<Outcome, Outcome> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let list = list.delimiter("/").set_continuation_token(token);
        let answer = list.send().await.map_err(|error| failure(&error))?;
        let keys = answer.contents().iter().filter_map(|object| object.key());
        let folders = answer.common_prefixes().iter().filter_map(|folder| folder.prefix());
        let is_truncated = answer.is_truncated() == Some(true);
        let next = answer.next_continuation_token().filter(|_| is_truncated);
        Ok(Outcome { text: xml::new_page(keys, folders, next), ..Outcome::done(200) })
    }
}

fn completed(parts: Vec<(u32, String)>) -> CompletedMultipartUpload {
    let part =
        |(number, tag)| CompletedPart::builder().part_number(number as i32).e_tag(tag).build();
    let parts = parts.into_iter().map(part).collect();
    CompletedMultipartUpload::builder().set_parts(Some(parts)).build()
}

fn unknown() -> Outcome {
    Outcome::broken("this client does not know this request")
}

/// An operation that failed: the server's answer, or why there is none.
fn failure<E>(error: &SdkError<E, Raw>) -> Outcome
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    if let Some(raw) = error.raw_response() {
        // A body that was read to its end is held in memory.
        if raw.body().bytes().is_none() {
            return Outcome::broken(format!("the answer broke off ({})", sentence(error)));
        }
        let status = raw.status().as_u16();
        let location = raw.headers().get("location").unwrap_or_default().to_string();
        let said = error.as_service_error().and_then(|error| {
            let code = error.code()?.to_string();
            Some((code, error.message().unwrap_or_default().to_string()))
        });
        // A server may send spaces before an error, which the library does not read.
        let text = || xml::error_of(raw.body().bytes()?);
        let unread = || ("an answer that cannot be read".to_string(), sentence(error));
        let said = said.or_else(text).or_else(|| (status < 300).then(unread));
        return Outcome { location, said, ..Outcome::done(status) };
    }
    let why = sentence(error);
    let why = format!("{why}{}", hint(&why));
    let what = match why.contains("(Connect)") || why.contains("onnection refused") {
        true => format!("cannot connect ({why})"),
        false => format!("there is no answer ({why})"),
    };
    Outcome::broken(what)
}
