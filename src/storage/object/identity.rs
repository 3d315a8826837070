//! Keys for a while, in exchange for a token: `AssumeRoleWithWebIdentity` of AWS's security token
//! service, which also other stores have. A cluster keeps the token in a file, which is read anew
//! for every session.
//!
//! Source: "AssumeRoleWithWebIdentity" of the AWS Security Token Service API reference.
//!
//! A process has one session. A thread of its own renews it before it ends; until the new keys are
//! there everybody signs with the old ones, and nobody waits. An I/O thread looks at one number for
//! each request, and takes new keys over when that has changed.

use super::address::{Endpoint, region, variable};
use super::carrier::Carrier;
use super::client::Client;
use super::exchange::Asker;
use super::servers::Servers;
use super::sign::{Credentials, Signer, encode};
use super::xml;
use crate::config::{Balance, ObjectOptions};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// Keys are renewed this long before they end, or after half of their life.
const MARGIN: Duration = Duration::from_secs(300);
/// Before a run they are renewed if they end this soon, or have a quarter of their life left.
const EARLY: Duration = Duration::from_secs(900);
/// Between two attempts at a renewal that failed.
const PAUSE: Duration = Duration::from_secs(10);
/// A sleep is no longer, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(30);
/// Longest wait of a turn of the client.
const TURN: Duration = Duration::from_millis(250);
/// Seconds for a connection, and without a byte.
const PATIENCE_S: [f64; 2] = [10.0, 20.0];

/// The keys of one I/O thread.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    held: Credentials,
    version: u64,
    identity: Option<&'static Identity>,
}

impl Keys {
    /// Keys that do not change.
    pub fn fixed(held: Credentials) -> Keys {
        Keys { held, version: 0, identity: None }
    }

    /// Those of now.
    pub fn held(&self) -> &Credentials {
        &self.held
    }

    /// Takes newer keys over; true if there were any.
    pub fn refresh(&mut self) -> bool {
        let Some(identity) = self.identity else { return false };
        let version = identity.version.load(Ordering::Acquire);
        if version == self.version {
            return false;
        }
        if let Some(session) = &*locked(&identity.session) {
            self.held = session.keys.clone();
        }
        self.version = version;
        true
    }
}

/// Keys with an end.
#[derive(Debug, Clone)]
struct Session {
    keys: Credentials,
    begun: SystemTime,
    ends: SystemTime,
}

impl Session {
    fn life(&self) -> Duration {
        self.ends.duration_since(self.begun).unwrap_or_default()
    }

    fn left(&self) -> Duration {
        self.ends.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

/// The role that this process takes on.
#[derive(Debug)]
pub(super) struct Identity {
    token_file: String,
    role: String,
    name: String,
    endpoint: Endpoint,
    /// Counts the sessions.
    version: AtomicU64,
    session: Mutex<Option<Session>>,
    /// Why the last renewal failed.
    failure: Mutex<Option<String>>,
    /// Held while somebody asks for a session that others wait for.
    asking: Mutex<()>,
}

static OURS: OnceLock<Identity> = OnceLock::new();

/// Nothing is left half done under these locks.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys by AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN and AWS_ROLE_SESSION_NAME; None: they are not
/// set. The first call waits for the service.
///
/// # Errors
/// One line without the token: a variable or file that is missing, the service's refusal.
pub(super) fn keys() -> Result<Option<Keys>, String> {
    let identity = match OURS.get() {
        Some(identity) => identity,
        None => match Identity::of_environment()? {
            None => return Ok(None),
            Some(found) => OURS.get_or_init(|| found),
        },
    };
    identity.keys().map(Some)
}

/// Renews keys that would end during a run, where there are any. What fails here is tried again in
/// the background while the old ones hold.
pub fn renew_keys_early() {
    let Some(identity) = OURS.get() else { return };
    let ends_soon = |session: &Session| session.left() < EARLY.min(session.life() * 3 / 4);
    if locked(&identity.session).as_ref().is_some_and(ends_soon) {
        let _asking = locked(&identity.asking);
        // Another thread may have done it meanwhile.
        if locked(&identity.session).as_ref().is_some_and(ends_soon) {
            let _ = identity.renew();
        }
    }
}

/// Why keys could not be renewed, if that failed last.
pub(super) fn failure() -> Option<String> {
    OURS.get().and_then(|identity| locked(&identity.failure).clone())
}

impl Identity {
    fn of_environment() -> Result<Option<Identity>, String> {
        let Some(token_file) = variable(TOKEN_FILE) else { return Ok(None) };
        let role = variable("AWS_ROLE_ARN")
            .ok_or_else(|| format!("AWS_ROLE_ARN is not set, and {TOKEN_FILE} needs it"))?;
        let url = variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| {
            format!("https://sts.{}.amazonaws.com", region(&ObjectOptions::default()))
        });
        let endpoint = Endpoint::parse(&url, false);
        let endpoint = endpoint.map_err(|what| format!("AWS_ENDPOINT_URL_STS: {what}"))?;
        let name = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "rankio".into());
        Ok(Some(Identity::new(token_file, role, name, endpoint)))
    }

    fn new(token_file: String, role: String, name: String, endpoint: Endpoint) -> Identity {
        Identity {
            token_file,
            role,
            name,
            endpoint,
            version: AtomicU64::new(0),
            session: Mutex::new(None),
            failure: Mutex::new(None),
            asking: Mutex::new(()),
        }
    }

    /// Keys that hold now; the first call begins to keep them so.
    fn keys(&'static self) -> Result<Keys, String> {
        if !self.holds() {
            let _asking = locked(&self.asking);
            if !self.holds() {
                let is_first = locked(&self.session).is_none();
                self.renew()?;
                if is_first {
                    let thread = std::thread::Builder::new().name("keys".into());
                    let kept = thread.spawn(move || self.keep());
                    kept.map_err(|error| format!("no thread to renew keys: {error}"))?;
                }
            }
        }
        let mut keys = Keys::fixed(Credentials::default());
        // Of no version, so that it takes those of now.
        (keys.identity, keys.version) = (Some(self), 0);
        keys.refresh();
        Ok(keys)
    }

    fn holds(&self) -> bool {
        locked(&self.session).as_ref().is_some_and(|session| !session.left().is_zero())
    }

    /// Renews the session before it ends, for ever.
    fn keep(&self) {
        loop {
            let due = locked(&self.session).as_ref().map_or(Duration::ZERO, |session| {
                // Ranks began together; they need not come back together.
                let margin = MARGIN.min(session.life() / 2);
                let spread = margin * (std::process::id() % 64) / 256;
                session.left().saturating_sub(margin + spread)
            });
            if due.is_zero() {
                if self.renew().is_err() {
                    std::thread::sleep(PAUSE);
                }
            } else {
                std::thread::sleep(due.min(LOOK));
            }
        }
    }

    /// Asks for a session and makes it that of the process.
    fn renew(&self) -> Result<(), String> {
        let asked = self.ask();
        *locked(&self.failure) = asked.as_ref().err().cloned();
        *locked(&self.session) = Some(asked?);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Asks the service for a session.
    fn ask(&self) -> Result<Session, String> {
        let token = std::fs::read_to_string(&self.token_file);
        let token = token.map_err(|error| format!("{TOKEN_FILE} {}: {error}", self.token_file))?;
        let token = token.trim().to_string();
        if token.is_empty() {
            return Err(format!("{TOKEN_FILE} {}: it is empty", self.token_file));
        }
        let begun = SystemTime::now();
        let said = |what: String| {
            format!("AssumeRoleWithWebIdentity of {} at {}: {what}", self.role, self.endpoint.url())
        };
        let answer = self.post(token).map_err(said)?;
        let [access_key, secret_key, token, ends] = xml::session(&answer).map_err(said)?;
        let ends_s = unix_s(&ends).ok_or_else(|| said("the answer has no Expiration".into()))?;
        let ends = UNIX_EPOCH + Duration::from_secs(ends_s);
        if ends <= begun {
            return Err(said("the keys have ended already; check this host's clock".into()));
        }
        let keys = Credentials { access_key, secret_key, token: Some(token) };
        Ok(Session { keys, begun, ends })
    }

    /// The answer's text.
    fn post(&self, token: String) -> Result<Vec<u8>, String> {
        let [connect_timeout, timeout] = PATIENCE_S;
        let options = ObjectOptions { connect_timeout, timeout, ..ObjectOptions::default() };
        let form = self.form(&token);
        // Nothing is signed with these; they are what no message may hold.
        let hidden = Credentials { token: Some(token), ..Credentials::default() };
        let signer = Signer::new(Keys::fixed(hidden), String::new());
        let servers = Servers::new(vec![self.endpoint.clone()], Balance::ByRank, 0);
        let mut client = Client::new("", servers, signer, options, (1, 1))?;
        let index = client.slot(Asker::Caller, "POST").ok_or("the client is not idle")?;
        let exchange = client.exchange(index);
        exchange.path.push(b'/');
        (exchange.body, exchange.is_form) = (form, true);
        client.begin(index);
        while client.next_done().is_none() {
            client.turn(Some(TURN)).map_err(|error| error.to_string())?;
        }
        let exchange = client.exchange(index);
        match exchange.failure.take() {
            Some(what) => Err(what),
            None => Ok(std::mem::take(&mut exchange.answer.text)),
        }
    }

    fn form(&self, token: &str) -> Vec<u8> {
        let mut form = b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15".to_vec();
        for (name, value) in [
            ("&RoleArn=", self.role.as_str()),
            ("&RoleSessionName=", &self.name),
            ("&WebIdentityToken=", token),
        ] {
            form.extend_from_slice(name.as_bytes());
            encode(value, false, &mut form);
        }
        form
    }
}

/// Seconds since 1970 of `2026-01-31T12:00:00Z`, with a fraction or without. A date to days: H.
/// Hinnant, "chrono-compatible low-level date algorithms".
fn unix_s(text: &str) -> Option<u64> {
    let (date, time) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, at: char| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text.split(at).map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time.split('.').next()?, ':')?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn an_end_is_a_second_of_the_calendar() {
        assert_eq!(unix_s("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_s("2000-02-29T12:34:56Z"), Some(951_827_696));
        assert_eq!(unix_s(" 2099-12-31T23:59:59.999Z"), Some(4_102_444_799));
        for bad in ["", "2026-01-31", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z", "x-1-1T1:1:1Z"]
        {
            assert_eq!(unix_s(bad), None, "{bad}");
        }
    }

    /// A service that answers each connection with the next text; gives what was asked.
    fn service(answers: Vec<String>) -> (Endpoint, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            let answer = |answer: String| {
                let mut socket = listener.accept().unwrap().0;
                let (mut asked, mut room) = (String::new(), [0; 4096]);
                while !asked.contains("WebIdentityToken=") {
                    let got = socket.read(&mut room).unwrap();
                    asked += std::str::from_utf8(&room[..got]).unwrap();
                }
                socket.write_all(answer.as_bytes()).unwrap();
                asked
            };
            answers.into_iter().map(answer).collect()
        };
        (Endpoint::parse(&url, false).unwrap(), std::thread::spawn(serve))
    }

    fn answer(status: &str, text: &str) -> String {
        let bytes = text.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{text}")
    }

    fn session(number: u64) -> String {
        let text = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>key{number}</AccessKeyId><SecretAccessKey>s{number}</SecretAccessKey>\
             <SessionToken>t{number}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        answer("200 OK", &text)
    }

    fn identity(endpoint: Endpoint) -> (tempfile::NamedTempFile, &'static Identity) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "to+ken.SECRET\n").unwrap();
        let path = file.path().to_str().unwrap().to_string();
        let identity = Identity::new(path, "arn:aws:iam::1:role/r".into(), "n".into(), endpoint);
        (file, Box::leak(Box::new(identity)))
    }

    #[test]
    fn new_keys_are_taken_over_when_they_are_there() {
        let (endpoint, served) = service(vec![session(1), session(2)]);
        let (_file, identity) = identity(endpoint);
        let mut keys = identity.keys().unwrap();
        assert_eq!(keys.held().access_key, "key1");
        assert!(!keys.refresh(), "nothing is new");
        identity.renew().unwrap();
        assert!(keys.refresh() && !keys.refresh());
        let held = keys.held();
        assert_eq!((held.secret_key.as_str(), held.token.as_deref()), ("s2", Some("t2")));
        assert!(!format!("{keys:?}").contains("key2"), "{keys:?}");
        for asked in served.join().unwrap() {
            assert!(asked.starts_with("POST / HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("content-type: application/x-www-form-urlencoded\r\n"));
            assert!(!asked.contains("authorization"), "{asked}");
            assert!(asked.contains("&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=n"));
            assert!(asked.ends_with("&WebIdentityToken=to%2Bken.SECRET"), "{asked}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_without_the_token_and_old_keys_stay() {
        let refused = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code>\
                       <Message>no to+ken.SECRET\nhere</Message></Error></ErrorResponse>";
        let elsewhere = "HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:1/\r\n\
                         Content-Length: 0\r\n\r\n";
        let answers = vec![
            session(1),
            answer("400 Bad Request", refused),
            answer("200 OK", "<R></R>"),
            elsewhere.into(),
        ];
        let (endpoint, served) = service(answers);
        let (file, identity) = identity(endpoint);
        let mut keys = identity.keys().unwrap();
        for words in ["HTTP 400 InvalidIdentityToken: no (hidden) here", "no keys", "redirected"] {
            let said = identity.renew().unwrap_err();
            assert!(said.contains(words) && said.contains("role/r at http://"), "{said}");
            assert!(!said.contains("SECRET") && !said.contains('\n'), "{said}");
            assert_eq!(locked(&identity.failure).as_ref(), Some(&said));
        }
        served.join().unwrap();
        assert!(!keys.refresh() && keys.held().access_key == "key1");
        std::fs::write(file.path(), "\n").unwrap();
        assert!(identity.renew().unwrap_err().contains("it is empty"));
        file.close().unwrap();
        let said = identity.renew().unwrap_err();
        assert!(said.starts_with("AWS_WEB_IDENTITY_TOKEN_FILE /"), "{said}");
    }
}
