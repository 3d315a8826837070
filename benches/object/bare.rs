//! Clients without anything around them: blocking sockets, and hyper.

use super::{Load, Tally, Verb};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest head of an answer.
const HEAD_BYTES: usize = 8192;

fn urls(load: &Load) -> Vec<String> {
    let path = load.urls.as_ref().expect("--urls is needed for this client");
    let text = std::fs::read_to_string(path).expect("a file of URLs");
    text.lines().map(String::from).collect()
}

/// Anything that bytes go over.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection to `host:port`; `https` on TLS with the certificates of AWS_CA_BUNDLE.
fn dial(url: &str) -> Box<dyn Stream> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let host = rest.split('/').next().expect("a host");
    let socket = TcpStream::connect(host).expect("the server listens");
    socket.set_nodelay(true).expect("a TCP socket");
    if scheme == "http" {
        return Box::new(socket);
    }
    use rustls::pki_types::pem::PemObject;
    let bundle = std::env::var("AWS_CA_BUNDLE").expect("AWS_CA_BUNDLE names the certificate");
    let mut roots = rustls::RootCertStore::empty();
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(bundle).expect("PEM");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = host.split(':').next().expect("a host").to_string();
    let name = name.try_into().expect("a host's name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    Box::new(rustls::StreamOwned::new(session, socket))
}

/// Reads a head; gives the bytes of the body that came with it, and how long that is.
fn read_head(stream: &mut dyn Stream, head: &mut [u8], body: &mut [u8]) -> (usize, usize) {
    let mut have = 0;
    loop {
        let read = stream.read(&mut head[have..]).expect("an answer");
        assert!(read > 0, "the server closed the connection");
        have += read;
        let Some(end) = head[..have].windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&head[..end]).expect("a head is text").to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 20"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |digits| digits.trim().parse().expect("a number"));
        let there = &head[end + 4..have];
        body[..there.len()].copy_from_slice(there);
        return (there.len(), length);
    }
}

/// A thread and a blocking socket for each request in flight.
pub fn sockets(load: &Load, tally: &Tally) {
    let urls = urls(load);
    let next = AtomicUsize::new(0);
    let requests: Vec<Vec<u8>> = urls
        .iter()
        .map(|url| {
            let rest = url.split_once("://").expect("a URL").1;
            let (host, path) = rest.split_once('/').expect("a path");
            match load.verb {
                Verb::Get => format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                Verb::Put => {
                    let bytes = load.size;
                    format!(
                        "PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n"
                    )
                }
            }
            .into_bytes()
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..load.depth {
            scope.spawn(|| {
                let mut stream = dial(&urls[0]);
                let mut head = vec![0u8; HEAD_BYTES];
                // Not zeros: they would be one page of the system, read again and again.
                let mut body = vec![1u8; load.size.max(HEAD_BYTES)];
                while tally.runs() {
                    let index = next.fetch_add(1, Ordering::Relaxed) % requests.len();
                    stream.write_all(&requests[index]).expect("the server reads");
                    if load.verb == Verb::Put {
                        stream.write_all(&body[..load.size]).expect("the server reads");
                    }
                    let (there, length) = read_head(stream.as_mut(), &mut head, &mut body);
                    stream.read_exact(&mut body[there..length]).expect("a whole body");
                    assert!(load.verb == Verb::Put || length == load.size, "{length} bytes");
                    tally.count();
                }
            });
        }
    });
}

/// hyper's pooled client, all requests on one thread.
pub fn hyper(load: &Load, tally: &Tally) {
    let urls = urls(load);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let content = bytes::Bytes::from(vec![1u8; load.size]);
    let next = std::cell::Cell::new(0);
    runtime.block_on(local.run_until(async {
        let lanes = (0..load.depth).map(|_| async {
            let mut body = vec![1u8; load.size];
            while tally.runs() {
                let index = next.get();
                next.set(index + 1);
                let request = match load.verb {
                    Verb::Get => Request::get(&urls[index % urls.len()]).body(Full::default()),
                    Verb::Put => {
                        Request::put(&urls[index % urls.len()]).body(Full::new(content.clone()))
                    }
                };
                let answer = client.request(request.expect("a request")).await.expect("an answer");
                assert!(answer.status().is_success(), "{}", answer.status());
                let (mut stream, mut have) = (answer.into_body(), 0);
                while let Some(frame) = stream.frame().await {
                    let Ok(data) = frame.expect("a whole body").into_data() else { continue };
                    body[have..have + data.len()].copy_from_slice(&data);
                    have += data.len();
                }
                assert!(load.verb == Verb::Put || have == load.size, "{have} bytes");
                tally.count();
            }
        });
        futures::future::join_all(lanes).await;
    }));
}
