//! Azurite, Microsoft's emulator of Azure Blob Storage, where it is installed: `azurite-blob` on
//! PATH, or what the variable AZURITE names (`npm install azurite`).

// Each program uses a part of this.
#![allow(dead_code)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The account that the server has.
pub const ACCOUNT: &str = "rankiotest";
/// What its key is made of: nothing may ever print the key.
const KEY: &[u8] = b"ThisKeyIsMadeUpForTestsAndNobodyMaySeeIt";
/// The container that is there; who knows a name in it may read it.
pub const CONTAINER: &str = "bench";

/// Runs a program until this input ends, which it does with the process that holds it.
const UNTIL_END: &str = "\"$@\" </dev/null & cat; kill -9 $!";

/// A server on a port of its own, with everything in memory; it ends with the value or the process.
pub struct Azurite {
    child: Child,
    port: u16,
}

/// Where the program is.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("AZURITE").map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("azurite-blob")).find(|p| p.is_file())
    };
    named.filter(|path| path.is_file()).or_else(on_path)
}

impl Azurite {
    /// None where there is none, which is said.
    pub fn start() -> Option<Azurite> {
        let Some(program) = program() else {
            eprintln!("az:// skipped: no azurite-blob on PATH or in AZURITE");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a port is free").port();
        let child = Command::new("sh")
            .args(["-c", UNTIL_END, "sh"])
            .arg(program)
            .args(["--silent", "--inMemoryPersistence", "--disableTelemetry"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", key()))
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("azurite-blob starts");
        let server = Azurite { child, port };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "azurite-blob does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        server.make_container();
        Some(server)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The environment of a client.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_STORAGE_ENDPOINT", self.url()),
            ("AZURE_STORAGE_ACCOUNT", ACCOUNT.into()),
            ("AZURE_STORAGE_KEY", key()),
        ]
    }

    /// An object, read without a key; None: it is not there.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (status, body) =
            self.ask("GET", &format!("/{ACCOUNT}/{CONTAINER}/{}", encoded(name)), "");
        (status == 200).then_some(body)
    }

    /// By a signed request (Microsoft, "Authorize with Shared Key").
    fn make_container(&self) {
        let mut date = Command::new("date");
        date.args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C");
        let date = date.output().expect("date runs").stdout;
        let date = String::from_utf8(date).expect("a date is text");
        let headers = [
            ("x-ms-blob-public-access", "blob"),
            ("x-ms-date", date.trim()),
            ("x-ms-version", "2021-12-02"),
        ];
        let lines = |between: &str, end: &str| -> String {
            headers.iter().map(|(name, value)| format!("{name}{between}{value}{end}")).collect()
        };
        let place = format!("/{ACCOUNT}/{CONTAINER}");
        let signed = format!(
            "PUT{}{}/{ACCOUNT}{place}\nrestype:container",
            "\n".repeat(12),
            lines(":", "\n")
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("every length is a key");
        mac.update(signed.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let headers = format!(
            "{}Authorization: SharedKey {ACCOUNT}:{signature}\r\nContent-Length: 0\r\n",
            lines(": ", "\r\n")
        );
        let (status, body) = self.ask("PUT", &format!("{place}?restype=container"), &headers);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    }

    fn ask(&self, verb: &str, target: &str, headers: &str) -> (u16, Vec<u8>) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let host = format!("127.0.0.1:{}", self.port);
        write!(socket, "{verb} {target} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n")
            .expect("it reads");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("it answers");
        let end =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("an answer has a status"), answer[end + 4..].to_vec())
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The account's key.
pub fn key() -> String {
    STANDARD.encode(KEY)
}

fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}
