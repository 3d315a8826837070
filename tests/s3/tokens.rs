//! A service that gives keys for a while in exchange for a token, in front of a store that takes
//! them.

use super::Memory;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The token that it takes: made up, but nothing may ever print it.
pub const TOKEN: &str = "eyJhbGciOi.ThisIsTheTokenNobodyMaySee.c2ln";

/// The service; it serves until the program ends.
pub struct Tokens {
    address: SocketAddr,
    given: Arc<AtomicU64>,
}

impl Tokens {
    /// Gives keys that say they hold for `life`, and that `memory` takes.
    pub fn start(memory: Arc<Memory>, life: Duration) -> Tokens {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, given) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let counter = given.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                // A client that goes away is no error of the service.
                let _ = serve(socket, &memory, &counter, life);
            }
        });
        Tokens { address, given }
    }

    /// Sessions that it gave.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// The environment of a client without keys whose token is in `file`.
    pub fn environment(&self, file: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", String::new()),
            ("AWS_SECRET_ACCESS_KEY", String::new()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.into()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/bench".into()),
            ("AWS_ROLE_SESSION_NAME", "nightly".into()),
            ("AWS_ENDPOINT_URL_STS", format!("http://{}", self.address)),
        ]
    }
}

fn serve(
    mut socket: TcpStream,
    memory: &Memory,
    given: &AtomicU64,
    life: Duration,
) -> std::io::Result<()> {
    let (mut asked, mut room) = (String::new(), [0; 4096]);
    while !asked.contains("&WebIdentityToken=") {
        match socket.read(&mut room)? {
            0 => return Ok(()),
            got => asked += &String::from_utf8_lossy(&room[..got]),
        }
    }
    let wanted = ["Action=AssumeRoleWithWebIdentity", "role%2Fbench", "=nightly", TOKEN];
    let (status, text) = match wanted.iter().all(|part| asked.contains(part)) {
        true => {
            let number = given.fetch_add(1, Ordering::Relaxed);
            let (access, secret) =
                (format!("sessionkey{number}"), format!("SessionSecret{number}"));
            memory.admit(&access, &secret);
            ("200 OK", session(&access, &secret, SystemTime::now() + life))
        }
        false => (
            "400 Bad Request",
            format!(
                "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>{}</Message>\
                 </Error></ErrorResponse>",
                asked.rsplit('=').next().unwrap_or_default()
            ),
        ),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", text.len());
    socket.write_all((head + &text).as_bytes())
}

fn session(access: &str, secret: &str, ends: SystemTime) -> String {
    let ends_ns = ends.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>SessionToken-{access}</SessionToken><Expiration>{}</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        rankio::report::timestamp::iso_utc(ends_ns)
    )
}
