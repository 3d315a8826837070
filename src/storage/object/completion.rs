//! The end of an upload in parts when its answer was lost: the server has completed it, and says of
//! the next attempt that there is no such upload. Then the object itself is asked for.

use super::ObjectStore;
use super::exchange::{Asker, Exchange, Tag};
use super::upload::{Object, Way};
use crate::storage::{Handle, StorageError};
use md5::{Digest, Md5};

/// Characters of an MD5 sum.
const MD5_DIGITS: usize = 32;

/// What the server says of an object.
pub(super) struct Found<'a> {
    pub status: u16,
    pub content_length: Option<u64>,
    pub tag: &'a Tag,
    pub failure: Option<&'a str>,
}

impl ObjectStore {
    /// Asks for the object of a completion that was sent before and is answered "no such upload";
    /// false: the answer is to be taken as it is.
    pub(super) fn asks_for_object(&mut self, index: usize, handle: Handle, tag: u64) -> bool {
        let exchange = self.client.exchange(index);
        if !may_be_done(exchange.verb, exchange.sends, exchange.failure.as_deref()) {
            return false;
        }
        let start_ns = exchange.start_ns;
        self.client.release(index);
        let index = self.client.slot(Asker::Sync(handle, tag), "HEAD");
        let index = index.expect("the slot of the completion is free");
        let object = self.objects.get(handle).expect("close refuses objects in flight");
        self.client.exchange(index).path.extend_from_slice(&object.path);
        self.client.begin(index);
        self.client.exchange(index).start_ns = start_ns;
        true
    }

    /// What the answer to that means; None: the object is the one that was written.
    pub(super) fn judge_object(&mut self, index: usize, handle: Handle) -> Option<String> {
        let exchange = self.client.exchange(index);
        let Exchange { answer, failure, .. } = exchange;
        let failure = failure.take();
        let object = self.objects.get(handle).expect("close refuses objects in flight");
        let (status, content_length) = (answer.status, answer.content_length);
        let found = Found { status, content_length, tag: &answer.tag, failure: failure.as_deref() };
        not_done(object, &found)
    }

    /// The same for who waits.
    pub(super) fn look_for_object(
        &mut self,
        object: &Object,
    ) -> Result<Option<String>, StorageError> {
        let reply = self.call("HEAD", &object.path, |_| ())?;
        let found = Found {
            status: reply.status,
            content_length: Some(reply.content_length),
            tag: &reply.tag,
            failure: reply.failure.as_deref(),
        };
        Ok(not_done(object, &found))
    }
}

/// Whether an earlier attempt may have completed the upload.
pub(super) fn may_be_done(verb: &str, sends: u32, failure: Option<&str>) -> bool {
    verb == "POST" && sends > 1 && failure.is_some_and(|what| what.contains("NoSuchUpload"))
}

/// Why the object that was found is not that of the upload.
fn not_done(object: &Object, found: &Found<'_>) -> Option<String> {
    let what = match (found.status, found.failure, found.content_length) {
        (404, ..) => "there is no object".into(),
        (_, Some(what), _) => format!("the object cannot be asked for ({what})"),
        (_, None, Some(len)) if len != object.written_bytes => {
            format!("the object has {len} bytes where {} were written", object.written_bytes)
        }
        (_, None, None) => "the server does not tell the size of the object".into(),
        _ if tag_differs(object, found.tag) => "the object has another ETag than its parts".into(),
        _ => return None,
    };
    Some(format!("NoSuchUpload: the server has forgotten the upload, and {what}"))
}

/// True if both ETags are sums and do not belong together: that of an object in parts is the MD5
/// of its parts' MD5s. Some servers have other ETags, of which nothing can be said.
fn tag_differs(object: &Object, found: &Tag) -> bool {
    let Way::Parts { tags, .. } = &object.way else { return false };
    let plain = |tag: &Tag| tag.as_str().trim_matches('"').to_ascii_lowercase();
    let mut sum = Md5::new();
    for tag in tags {
        let Some(bytes) = bytes_of(&plain(tag)) else { return false };
        sum.update(bytes);
    }
    let found = plain(found);
    let Some((digits, count)) = found.split_once('-') else { return false };
    match (bytes_of(digits), count.parse::<usize>()) {
        (Some(bytes), Ok(count)) => count != tags.len() || bytes != sum.finalize()[..],
        _ => false,
    }
}

/// The bytes of an MD5 sum in hexadecimal digits.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let is_sum = digits.len() == MD5_DIGITS && digits.is_ascii();
    let pairs = (0..digits.len()).step_by(2).filter(|_| is_sum);
    let bytes = pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok());
    bytes.collect::<Option<Vec<u8>>>().filter(|_| is_sum)
}

#[cfg(test)]
mod tests {
    use super::super::upload::State;
    use super::*;

    fn object(tags: &[&str]) -> Object {
        let tags = tags.iter().map(|tag| Tag::new(tag.as_bytes())).collect();
        Object {
            name: "x".into(),
            path: Vec::new(),
            way: Way::Parts { id: "u".into(), tags },
            state: State::Open,
            size_bytes: 0,
            final_bytes: 100,
            written_bytes: 100,
            in_flight: 0,
            sync: None,
            short_part: 0,
            only_new: false,
            size_is_trusted: false,
            waiting: Vec::new(),
        }
    }

    /// MD5s of "a" and "b", and of both sums.
    const PARTS: [&str; 2] =
        ["\"0cc175b9c0f1b6a831c399e269772661\"", "\"92eb5ffee6ae2fec3ad71c777531578f\""];
    const BOTH: &str = "\"096a6cf7d4b7bcc5b6f6f8d7a6ec9a6e-2\"";

    fn judged(parts: &[&str], tag: &str, len: u64) -> Option<String> {
        let tag = Tag::new(tag.as_bytes());
        let (content_length, failure) = (Some(len), None);
        not_done(&object(parts), &Found { status: 200, content_length, tag: &tag, failure })
    }

    #[test]
    fn an_object_of_another_size_or_etag_is_not_that_of_the_upload() {
        let sum = {
            let mut sum = Md5::new();
            PARTS.iter().for_each(|tag| sum.update(bytes_of(tag.trim_matches('"')).unwrap()));
            sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(judged(&PARTS, &format!("\"{sum}-2\""), 100), None);
        assert!(judged(&PARTS, &format!("\"{sum}-3\""), 100).unwrap().contains("another ETag"));
        assert!(judged(&PARTS, BOTH, 100).unwrap().contains("another ETag"));
        assert!(judged(&PARTS, &format!("\"{sum}-2\""), 99).unwrap().contains("has 99 bytes"));
        // What is no MD5 says nothing.
        assert_eq!(judged(&PARTS, "\"whatever\"", 100), None);
        assert_eq!(judged(&["\"part-1\""], BOTH, 100), None);
    }

    #[test]
    fn only_a_completion_that_was_sent_before_may_be_done() {
        let gone = Some("HTTP 404 NoSuchUpload: gone");
        assert!(may_be_done("POST", 2, gone));
        assert!(!may_be_done("POST", 1, gone), "somebody gave the upload up");
        assert!(!may_be_done("POST", 2, Some("HTTP 404 NoSuchBucket")));
        assert!(!may_be_done("PUT", 2, gone));
    }
}
