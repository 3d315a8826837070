//! AWS Signature Version 4 with an unsigned payload. Hashing bodies would cost several times the
//! CPU of moving them; the content is checked by the verifier instead.
//!
//! Source: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API reference.
//! Nothing is allocated: what is signed goes straight into the hash.

use super::identity::Keys;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

const PAYLOAD: &[u8] = b"UNSIGNED-PAYLOAD";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Keys; never shown.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

impl Credentials {
    /// `text` without anything secret that a server may have put into it.
    pub fn hide(&self, text: &str) -> String {
        let token = self.token.as_deref().unwrap_or_default();
        let secrets = [self.secret_key.as_str(), self.access_key.as_str(), token];
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_string(), |text, secret| text.replace(secret, "(hidden)"))
    }
}

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub verb: &'static str,
    /// Encoded path.
    pub path: &'a [u8],
    /// Encoded parameters in the order of their names, `name=value` joined by `&`.
    pub query: &'a [u8],
    /// `Host` header.
    pub host: &'a str,
    /// `x-amz-copy-source`; empty: none.
    pub copy_source: &'a [u8],
}

/// Signs for one region.
#[derive(Debug)]
pub(super) struct Signer {
    keys: Keys,
    region: String,
    day: [u8; 8],
    key: [u8; 32],
}

impl Signer {
    /// For requests to `region`.
    pub fn new(keys: Keys, region: String) -> Signer {
        Signer { keys, region, day: [0; 8], key: [0; 32] }
    }

    /// See [`Credentials::hide`].
    pub fn hide(&self, text: &str) -> String {
        self.keys.held().hide(text)
    }

    /// Appends the headers that make a request authentic at `now_s` (seconds since 1970, UTC).
    pub fn append(&mut self, request: &Signed<'_>, now_s: u64, out: &mut Vec<u8>) {
        let date = date_of(now_s);
        if self.keys.refresh() {
            self.day = [0; 8];
        }
        self.renew_key(&date);
        let token = self.keys.held().token.as_deref();
        let mut hash = Sha256::new();
        for part in [request.verb.as_bytes(), b"\n", request.path, b"\n", request.query] {
            hash.update(part);
        }
        for part in [b"\nhost:".as_slice(), request.host.as_bytes()] {
            hash.update(part);
        }
        for part in [b"\nx-amz-content-sha256:".as_slice(), PAYLOAD] {
            hash.update(part);
        }
        if !request.copy_source.is_empty() {
            hash.update(b"\nx-amz-copy-source:");
            hash.update(request.copy_source);
        }
        hash.update(b"\nx-amz-date:");
        hash.update(date);
        if let Some(token) = token {
            hash.update(b"\nx-amz-security-token:");
            hash.update(token);
        }
        hash.update(b"\n\n");
        each_signed_name(request, token.is_some(), &mut |name| hash.update(name));
        hash.update(b"\n");
        hash.update(PAYLOAD);
        let canonical = hex(&hash.finalize());
        let mut mac = keyed(&self.key);
        for part in [b"AWS4-HMAC-SHA256\n".as_slice(), &date, b"\n", &self.day, b"/"] {
            mac.update(part);
        }
        mac.update(self.region.as_bytes());
        mac.update(b"/s3/aws4_request\n");
        mac.update(&canonical);
        let signature = hex(&mac.finalize().into_bytes());
        self.write_headers(request, &date, &signature, out);
    }

    fn write_headers(
        &self,
        request: &Signed<'_>,
        date: &[u8],
        signature: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut put = |part: &[u8]| out.extend_from_slice(part);
        put(b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: ");
        put(date);
        if !request.copy_source.is_empty() {
            put(b"\r\nx-amz-copy-source: ");
            put(request.copy_source);
        }
        let token = self.keys.held().token.as_deref();
        if let Some(token) = token {
            put(b"\r\nx-amz-security-token: ");
            put(token.as_bytes());
        }
        put(b"\r\nauthorization: AWS4-HMAC-SHA256 Credential=");
        put(self.keys.held().access_key.as_bytes());
        put(b"/");
        put(&self.day);
        put(b"/");
        put(self.region.as_bytes());
        put(b"/s3/aws4_request,SignedHeaders=");
        each_signed_name(request, token.is_some(), &mut put);
        put(b",Signature=");
        put(signature);
        put(b"\r\n");
    }

    /// The signing key holds for a day, or until there are new keys.
    fn renew_key(&mut self, date: &[u8; 16]) {
        if self.day == date[..8] {
            return;
        }
        self.day.copy_from_slice(&date[..8]);
        let first = [b"AWS4", self.keys.held().secret_key.as_bytes()].concat();
        let mut key = mac_of(&first, &self.day);
        for part in [self.region.as_bytes(), b"s3", b"aws4_request"] {
            key = mac_of(&key, part);
        }
        self.key = key;
    }
}

/// Names of the signed headers, joined by `;`.
fn each_signed_name(request: &Signed<'_>, with_token: bool, put: &mut impl FnMut(&[u8])) {
    put(b"host;x-amz-content-sha256");
    if !request.copy_source.is_empty() {
        put(b";x-amz-copy-source");
    }
    put(b";x-amz-date");
    if with_token {
        put(b";x-amz-security-token");
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length")
}

fn mac_of(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    text
}

/// `YYYYMMDDTHHMMSSZ`. Days to a date: H. Hinnant, "chrono-compatible low-level date algorithms".
fn date_of(now_s: u64) -> [u8; 16] {
    let (days, rest) = (now_s / 86_400 + 719_468, now_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"00000000T000000Z";
    let mut put = |at: usize, digits: usize, mut value: u64| {
        for place in (at..at + digits).rev() {
            text[place] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(4, 2, month);
    put(6, 2, day);
    put(9, 2, rest / 3600);
    put(11, 2, rest % 3600 / 60);
    put(13, 2, rest % 60);
    text
}

/// Appends `text` percent-encoded as the signature wants it; slashes stay where `slashes`.
pub(super) fn encode(text: &str, slashes: bool, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            b'/' if slashes => out.push(byte),
            _ => {
                let upper = |digit: u8| HEX[usize::from(digit)].to_ascii_uppercase();
                out.extend_from_slice(&[b'%', upper(byte >> 4), upper(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let text = |s| String::from_utf8(date_of(s).to_vec()).unwrap();
        assert_eq!(text(0), "19700101T000000Z");
        assert_eq!(text(951_827_696), "20000229T123456Z");
        assert_eq!(text(1_369_353_600), "20130524T000000Z");
        assert_eq!(text(4_102_444_799), "20991231T235959Z");
    }

    #[test]
    fn the_encoding_is_that_of_the_signature() {
        let mut out = Vec::new();
        encode("a b/c+~\u{e9}", true, &mut out);
        assert_eq!(out, b"a%20b/c%2B~%C3%A9");
        out.clear();
        encode("a/b=", false, &mut out);
        assert_eq!(out, b"a%2Fb%3D");
    }

    fn signer() -> Signer {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        Signer::new(Keys::fixed(credentials), "us-east-1".into())
    }

    /// The signature was computed apart, with Python's hmac and hashlib, from the key of Amazon's
    /// examples.
    #[test]
    fn a_request_has_the_signature_that_python_computes() {
        let request = Signed {
            verb: "GET",
            path: b"/test.txt",
            query: b"",
            host: "examplebucket.s3.amazonaws.com",
            copy_source: b"",
        };
        let mut out = Vec::new();
        signer().append(&request, 1_369_353_600, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"), "{text}");
        assert!(text.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"), "{text}");
        assert!(
            text.ends_with(
                "Signature=5c0d4ff29e72b8f94c5b6720369921e587e39bf7a64e456887dec4b43a2d1b77\r\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn keys_are_not_shown() {
        assert!(!format!("{:?}", signer()).contains("wJalr"));
        let said = signer().hide("no such key AKIAIOSFODNN7EXAMPLE");
        assert_eq!(said, "no such key (hidden)");
    }
}
