//! What an exchange asks for, in the words of a client that speaks of operations and not of HTTP.

use super::exchange::{Asker, Exchange};
use super::xml;

/// A request; keys are decoded and whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// First byte and number of bytes; None: the whole object.
    Get {
        key: String,
        range: Option<(u64, u64)>,
    },
    Head {
        key: String,
    },
    /// A whole object; `only_new`: it must not replace one.
    Put {
        key: String,
        only_new: bool,
    },
    /// Begins an upload in parts.
    Begin {
        key: String,
    },
    Part {
        key: String,
        id: String,
        number: u32,
    },
    /// Numbers and ETags of the parts.
    Complete {
        key: String,
        id: String,
        parts: Vec<(u32, String)>,
    },
    Abort {
        key: String,
        id: String,
    },
    Delete {
        key: String,
    },
    DeleteMany {
        keys: Vec<String>,
    },
    Copy {
        from: String,
        key: String,
    },
    /// A page of the names below a prefix.
    List {
        prefix: String,
        token: Option<String>,
    },
    /// A page of the uploads below a prefix, behind a key and an id.
    Uploads {
        prefix: String,
        key: Option<String>,
        id: Option<String>,
    },
}

impl Asked {
    /// Reads an exchange whose path has no base. None: it is nothing that is known here.
    pub fn of(exchange: &Exchange) -> Option<Asked> {
        let key = decoded(exchange.path.strip_prefix(b"/").unwrap_or(&exchange.path))?;
        let query = parameters(&exchange.query)?;
        let of = |name: &str| {
            query.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
        };
        let asked = match (exchange.verb, key.is_empty()) {
            ("HEAD", false) => Asked::Head { key },
            ("GET", false) if query.is_empty() => Asked::Get { key, range: exchange.range },
            ("GET", true) if of("list-type").is_some() => {
                Asked::List { prefix: of("prefix")?, token: of("continuation-token") }
            }
            ("GET", true) if of("uploads").is_some() => Asked::Uploads {
                prefix: of("prefix")?,
                key: of("key-marker"),
                id: of("upload-id-marker"),
            },
            ("PUT", false) => match (of("partNumber"), exchange.copy_source.is_empty()) {
                (Some(number), true) => {
                    Asked::Part { key, id: of("uploadId")?, number: number.parse().ok()? }
                }
                (None, true) => Asked::Put { key, only_new: exchange.only_new },
                (_, false) => Asked::Copy { from: below_bucket(&exchange.copy_source)?, key },
            },
            ("POST", false) => match of("uploadId") {
                Some(id) => Asked::Complete { key, id, parts: xml::parts(&exchange.body).ok()? },
                None => of("uploads").map(|_| Asked::Begin { key })?,
            },
            ("POST", true) if of("delete").is_some() => {
                Asked::DeleteMany { keys: xml::keys(&exchange.body).ok()? }
            }
            ("DELETE", false) => match of("uploadId") {
                Some(id) => Asked::Abort { key, id },
                None => Asked::Delete { key },
            },
            _ => return None,
        };
        let is_read = matches!(exchange.asker, Asker::Read(..));
        (is_read == matches!(asked, Asked::Get { .. })).then_some(asked)
    }
}

/// The key of `/bucket/key`.
fn below_bucket(source: &[u8]) -> Option<String> {
    let source = decoded(source)?;
    let (_, key) = source.strip_prefix('/')?.split_once('/')?;
    Some(key.into())
}

fn parameters(query: &[u8]) -> Option<Vec<(String, String)>> {
    let parts = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let mut halves = part.splitn(2, |byte| *byte == b'=');
            let name = decoded(halves.next().unwrap_or_default())?;
            Some((name, decoded(halves.next().unwrap_or_default())?))
        })
        .collect()
}

/// Percent-encoding undone; None: it is none, or no UTF-8.
fn decoded(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::super::sign::encode;
    use super::*;
    use crate::storage::Handle;
    use proptest::prelude::*;

    fn exchange(asker: Asker, verb: &'static str, path: &str, query: &str) -> Exchange {
        let mut exchange = Exchange::new();
        exchange.reset(asker, verb);
        exchange.path.extend_from_slice(path.as_bytes());
        exchange.query.extend_from_slice(query.as_bytes());
        exchange
    }

    #[test]
    fn every_request_of_the_store_is_read() {
        let of = |verb, path, query| Asked::of(&exchange(Asker::Caller, verb, path, query));
        let (key, id) = ("a b/c".to_string(), "u/1".to_string());
        let path = "/a%20b/c";
        assert_eq!(of("HEAD", path, ""), Some(Asked::Head { key: key.clone() }));
        assert_eq!(of("POST", path, "uploads="), Some(Asked::Begin { key: key.clone() }));
        let abort = Asked::Abort { key: key.clone(), id: id.clone() };
        assert_eq!(of("DELETE", path, "uploadId=u%2F1"), Some(abort));
        assert_eq!(of("DELETE", path, ""), Some(Asked::Delete { key: key.clone() }));
        let part = Asked::Part { key: key.clone(), id: id.clone(), number: 7 };
        assert_eq!(of("PUT", path, "partNumber=7&uploadId=u%2F1"), Some(part));
        for bucket in ["", "/"] {
            let query = "continuation-token=t%3D&delimiter=%2F&list-type=2&prefix=p%2F";
            let list = Asked::List { prefix: "p/".into(), token: Some("t=".into()) };
            assert_eq!(of("GET", bucket, query), Some(list));
        }
        let mut complete = exchange(Asker::Caller, "POST", path, "uploadId=u%2F1");
        xml::completion([(1, "\"a\""), (3, "\"<\"")].into_iter(), &mut complete.body);
        let parts = vec![(1, "\"a\"".to_string()), (3, "\"<\"".to_string())];
        assert_eq!(Asked::of(&complete), Some(Asked::Complete { key: key.clone(), id, parts }));
        let mut copy = exchange(Asker::Caller, "PUT", path, "");
        copy.copy_source.extend_from_slice(b"/bench/x%2By/z");
        assert_eq!(Asked::of(&copy), Some(Asked::Copy { from: "x+y/z".into(), key: key.clone() }));
        let mut get = exchange(Asker::Read(Handle(1), 2), "GET", path, "");
        get.range = Some((5, 6));
        assert_eq!(Asked::of(&get), Some(Asked::Get { key, range: Some((5, 6)) }));
        assert_eq!(of("GET", path, "acl="), None);
        assert_eq!(of("GET", "/a%2", ""), None);
        assert_eq!(of("PATCH", path, ""), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in ".*") {
            let mut path = Vec::new();
            encode(&text, true, &mut path);
            prop_assert_eq!(decoded(&path), Some(text));
        }
    }
}
