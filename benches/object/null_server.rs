//! The server that shows what a client can reach: no storage, no signature check, one thread for
//! each connection. Uploads in parts begin and end as clients expect, but are not kept.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that are written or dropped at once.
const CHUNK_BYTES: usize = 1 << 18;

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value = "127.0.0.1:9100")]
    address: String,
    /// Bytes of every object.
    #[arg(long)]
    size: u64,
    /// PEM file; with it and `--key` the server speaks TLS.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    #[arg(long)]
    key: Option<PathBuf>,
}

/// Serves until the process is ended.
pub fn serve(options: &Options) {
    let listener = TcpListener::bind(&options.address).expect("the address is free");
    println!("{}", listener.local_addr().expect("a listener has an address"));
    let tls = options.certificate.as_ref().map(|certificate| {
        let key = options.key.as_ref().expect("clap asks for it");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
                PrivateKeyDer::from_pem_file(key).expect("a key"),
            );
        Arc::new(config.expect("certificate and key belong together"))
    });
    let size = options.size;
    for socket in listener.incoming() {
        let Ok(socket) = socket else { continue };
        socket.set_nodelay(true).ok();
        let tls = tls.clone();
        std::thread::spawn(move || {
            // A client that goes away is no error here.
            let _ = match tls {
                None => answer(socket, size),
                Some(config) => {
                    let session = rustls::ServerConnection::new(config).expect("a valid config");
                    answer(rustls::StreamOwned::new(session, socket), size)
                }
            };
        });
    }
}

fn answer(stream: impl Read + Write, size: u64) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, stream);
    // Written once, so that it is memory and not the page of zeros that all processes share.
    let content = vec![b'0'; CHUNK_BYTES];
    let mut head = String::new();
    while let Some(request) = read_head(&mut reader, &mut head)? {
        let mut left = request.body;
        while left > 0 {
            let there = reader.fill_buf()?.len() as u64;
            if there == 0 {
                return Ok(());
            }
            let taken = there.min(left);
            reader.consume(taken as usize);
            left -= taken;
        }
        let (first, last) = request.range.unwrap_or((0, size.saturating_sub(1)));
        let last = last.min(size.saturating_sub(1));
        let said = upload_answer(&request);
        let (status, bytes) = match request.verb.as_str() {
            "GET" if request.range.is_some() => ("206 Partial Content", last - first + 1),
            "GET" | "HEAD" => ("200 OK", size),
            _ => ("200 OK", said.len() as u64),
        };
        let range = match status.starts_with("206") {
            true => format!("Content-Range: bytes {first}-{last}/{size}\r\n"),
            false => String::new(),
        };
        let head_of_answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\n{range}ETag: \"0\"\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
             Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n\r\n"
        );
        reader.get_mut().write_all(head_of_answer.as_bytes())?;
        reader.get_mut().write_all(said.as_bytes())?;
        let mut left = if request.verb == "GET" { bytes } else { 0 };
        while left > 0 {
            let some = left.min(content.len() as u64);
            reader.get_mut().write_all(&content[..some as usize])?;
            left -= some;
        }
    }
    Ok(())
}

/// What S3 says at the begin and the end of an upload in parts; empty for all else.
fn upload_answer(request: &Request) -> &'static str {
    let parameters = request.target.split_once('?').map_or("", |(_, parameters)| parameters);
    let has = |name: &str| parameters.split('&').any(|one| one.split('=').next() == Some(name));
    match request.verb.as_str() {
        "POST" if has("uploads") => {
            "<InitiateMultipartUploadResult><UploadId>0</UploadId></InitiateMultipartUploadResult>"
        }
        "POST" if has("uploadId") => {
            "<CompleteMultipartUploadResult><ETag>\"0\"</ETag></CompleteMultipartUploadResult>"
        }
        _ => "",
    }
}

struct Request {
    verb: String,
    /// Path and parameters.
    target: String,
    range: Option<(u64, u64)>,
    body: u64,
}

/// The next request's head; None at the end of the connection.
fn read_head(reader: &mut impl BufRead, line: &mut String) -> std::io::Result<Option<Request>> {
    line.clear();
    if reader.read_line(line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_string);
    let (verb, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { verb, target, range: None, body: 0 };
    loop {
        line.clear();
        if reader.read_line(line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok(Some(request));
        };
        if name.eq_ignore_ascii_case("content-length") {
            request.body = value.parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("range") {
            let span = value.trim_start_matches("bytes=").split_once('-');
            request.range = span.map(|(first, last)| {
                (first.parse().unwrap_or(0), last.parse().unwrap_or(u64::MAX))
            });
        }
    }
}
