//! The few answers of S3 that have to be read, and the one that has to be written.

use quick_xml::Reader;
use quick_xml::events::Event;

const MESSAGE_CHARS_MAX: usize = 200;

/// Calls `visit` with the path below the root element (`Contents/Key`) and the text of every
/// element that has one.
fn each_text(text: &[u8], visit: &mut dyn FnMut(&str, &str)) -> Result<(), String> {
    let text = std::str::from_utf8(text).map_err(|_| "the answer is not text".to_string())?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut value = String::new();
    let wrong = |error: &dyn std::fmt::Display| format!("the answer is no XML ({error})");
    loop {
        match reader.read_event().map_err(|error| wrong(&error))? {
            Event::Start(element) => {
                path.push(element.local_name().as_ref().to_string());
                value.clear();
            }
            Event::Text(piece) => value.push_str(&piece),
            Event::GeneralRef(entity) => {
                match entity.resolve_char_ref().map_err(|error| wrong(&error))? {
                    Some(letter) => value.push(letter),
                    None => {
                        let known = quick_xml::escape::resolve_predefined_entity(&entity);
                        value.push_str(known.ok_or_else(|| wrong(&"an unknown entity"))?);
                    }
                }
            }
            Event::End(_) => {
                visit(path.get(1..).unwrap_or_default().join("/").as_str(), &value);
                path.pop();
                value.clear();
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// Code and message of an error; None if the text is none.
pub(super) fn error_of(text: &[u8]) -> Option<(String, String)> {
    let start = text.iter().position(|byte| *byte == b'<')?;
    let text = &text[start..];
    if !text.windows(6).take(256).any(|tag| tag == b"<Error") {
        return None;
    }
    let of_tokens = text.windows(14).take(256).any(|tag| tag == b"<ErrorResponse");
    let (mut code, mut message) = (String::new(), String::new());
    let _ = each_text(text, &mut |path, value| {
        // The service of tokens has an element more around it.
        let inner = path.strip_prefix("Error/").filter(|_| of_tokens);
        match inner.unwrap_or(path) {
            "Code" => code = value.into(),
            "Message" => message = one_line(value),
            _ => {}
        }
    });
    (!code.is_empty()).then_some((code, message))
}

/// Access key, secret key, token and end of a session.
pub(super) fn session(text: &[u8]) -> Result<[String; 4], String> {
    const NAMES: [&str; 4] = ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"];
    let mut found: [String; 4] = Default::default();
    each_text(text, &mut |path, value| {
        let name = path.rsplit_once("Credentials/").map(|(_, name)| name);
        if let Some(place) = NAMES.iter().position(|known| Some(*known) == name) {
            found[place] = value.trim().into();
        }
    })?;
    match found.iter().any(String::is_empty) {
        true => Err("the answer has no keys".into()),
        false => Ok(found),
    }
}

fn one_line(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.trim().chars().map(plain).take(MESSAGE_CHARS_MAX).collect()
}

/// A page of a listing: calls `visit` with each key or, with true, each common prefix; returns the
/// token of the next page.
pub(super) fn page(
    text: &[u8],
    visit: &mut dyn FnMut(&str, bool),
) -> Result<Option<String>, String> {
    let (mut truncated, mut next) = (false, None);
    each_text(text, &mut |path, value| match path {
        "Contents/Key" => visit(value, false),
        "CommonPrefixes/Prefix" => visit(value, true),
        "IsTruncated" => truncated = value == "true",
        "NextContinuationToken" => next = Some(value.to_string()),
        _ => {}
    })?;
    match (truncated, next) {
        (true, None) => Err("a listing goes on and does not say where".into()),
        (true, next) => Ok(next),
        (false, _) => Ok(None),
    }
}

/// Keys of a page, counted without reading it.
pub(super) fn count_keys(text: &[u8]) -> usize {
    text.windows(5).filter(|tag| *tag == b"<Key>").count()
}

/// The list of keys that are to be removed.
pub(super) fn removal<'a>(keys: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<Delete><Quiet>true</Quiet>");
    for key in keys {
        let key = quick_xml::escape::escape(key);
        out.extend_from_slice(format!("<Object><Key>{key}</Key></Object>").as_bytes());
    }
    out.extend_from_slice(b"</Delete>");
}

/// What an answer says of the first key that could not be removed: key, code and message.
pub(super) fn not_removed(text: &[u8]) -> Result<Option<(String, String)>, String> {
    let (mut key, mut what, mut ended) = (String::new(), String::new(), false);
    each_text(text, &mut |path, value| match path {
        _ if ended => {}
        "Error/Key" => key = value.into(),
        "Error/Code" => what = format!("{value}{what}"),
        "Error/Message" if !value.is_empty() => what = format!("{what}: {}", one_line(value)),
        "Error" => ended = true,
        _ => {}
    })?;
    Ok((!what.is_empty()).then_some((key, what)))
}

/// A page of the uploads that nobody has completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uploads {
    /// Key and id of each.
    pub uploads: Vec<(String, String)>,
    /// Key and id after which the next page begins.
    pub next: Option<(String, String)>,
}

/// Reads a page of uploads.
pub(super) fn uploads(text: &[u8]) -> Result<Uploads, String> {
    let mut uploads = Vec::new();
    let (mut upload, mut next) = ((String::new(), String::new()), (String::new(), String::new()));
    let mut truncated = false;
    each_text(text, &mut |path, value| match path {
        "Upload/Key" => upload.0 = value.into(),
        "Upload/UploadId" => upload.1 = value.into(),
        "Upload" => uploads.push(std::mem::take(&mut upload)),
        "IsTruncated" => truncated = value == "true",
        "NextKeyMarker" => next.0 = value.into(),
        "NextUploadIdMarker" => next.1 = value.into(),
        _ => {}
    })?;
    uploads.retain(|(key, id)| !key.is_empty() && !id.is_empty());
    let next = (truncated && !next.0.is_empty()).then_some(next);
    Ok(Uploads { uploads, next })
}

/// The id of a new upload.
pub(super) fn upload_id(text: &[u8]) -> Result<String, String> {
    let mut id = String::new();
    each_text(text, &mut |path, value| {
        if path == "UploadId" {
            id = value.into();
        }
    })?;
    if id.is_empty() { Err("the answer names no upload".into()) } else { Ok(id) }
}

/// The list of parts that completes an upload.
pub(super) fn completion<'a>(parts: impl Iterator<Item = (u32, &'a str)>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<CompleteMultipartUpload>");
    for (number, tag) in parts {
        let tag = quick_xml::escape::escape(tag);
        let part = format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"</CompleteMultipartUpload>");
}

/// What S3 answers to the begin of an upload.
#[cfg(feature = "remote")]
pub(super) fn new_upload(id: &str) -> Vec<u8> {
    format!("<R><UploadId>{}</UploadId></R>", quick_xml::escape::escape(id)).into_bytes()
}

/// What S3 answers to a removal of many: key, code and message of each that stays.
#[cfg(feature = "remote")]
pub(super) fn removed<'a>(errors: impl Iterator<Item = [&'a str; 3]>) -> Vec<u8> {
    let mut out = b"<DeleteResult>".to_vec();
    for texts in errors {
        let [key, code, message] = texts.map(quick_xml::escape::escape);
        let names = format!("<Key>{key}</Key><Code>{code}</Code><Message>{message}</Message>");
        out.extend_from_slice(format!("<Error>{names}</Error>").as_bytes());
    }
    out.extend_from_slice(b"</DeleteResult>");
    out
}

/// A page of a listing, as S3 answers it.
#[cfg(feature = "remote")]
pub(super) fn new_page<'a>(
    keys: impl Iterator<Item = &'a str>,
    folders: impl Iterator<Item = &'a str>,
    next: Option<&str>,
) -> Vec<u8> {
    let mut out = format!("<R><IsTruncated>{}</IsTruncated>", next.is_some());
    let mut add = |around: [&str; 2], text: &str| {
        out.push_str(around[0]);
        out.push_str(&quick_xml::escape::escape(text));
        out.push_str(around[1]);
    };
    keys.for_each(|key| add(["<Contents><Key>", "</Key></Contents>"], key));
    let around = ["<CommonPrefixes><Prefix>", "</Prefix></CommonPrefixes>"];
    folders.for_each(|folder| add(around, folder));
    if let Some(next) = next {
        add(["<NextContinuationToken>", "</NextContinuationToken>"], next);
    }
    out.push_str("</R>");
    out.into_bytes()
}

/// A page of uploads, as S3 answers it: keys and ids, and behind which the next page begins.
#[cfg(any(feature = "sdk", all(test, feature = "remote")))]
pub(super) fn new_uploads<'a>(
    uploads: impl Iterator<Item = (&'a str, &'a str)>,
    next: Option<(&str, &str)>,
) -> Vec<u8> {
    let mut out = format!("<R><IsTruncated>{}</IsTruncated>", next.is_some());
    let element =
        |name: &str, text: &str| format!("<{name}>{}</{name}>", quick_xml::escape::escape(text));
    for (key, id) in uploads {
        let names = element("Key", key) + &element("UploadId", id);
        out.push_str(&format!("<Upload>{names}</Upload>"));
    }
    if let Some((key, id)) = next {
        out.push_str(&element("NextKeyMarker", key));
        out.push_str(&element("NextUploadIdMarker", id));
    }
    out.push_str("</R>");
    out.into_bytes()
}

/// The parts of such a list.
#[cfg(feature = "remote")]
pub(super) fn parts(text: &[u8]) -> Result<Vec<(u32, String)>, String> {
    let (mut all, mut number) = (Vec::new(), 0);
    each_text(text, &mut |path, value| match path {
        "Part/PartNumber" => number = value.parse().unwrap_or(0),
        "Part/ETag" => all.push((number, value.to_string())),
        _ => {}
    })?;
    match all.iter().all(|(number, _)| *number > 0) {
        true => Ok(all),
        false => Err("a part without a number".into()),
    }
}

/// The keys of a list of objects to be removed.
#[cfg(feature = "remote")]
pub(super) fn keys(text: &[u8]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    each_text(text, &mut |path, value| {
        if path == "Object/Key" {
            all.push(value.to_string());
        }
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_code_and_one_line() {
        let text = b"<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>Less,\nplease \
                     &amp; &#116;hank you</Message></Error>";
        let (code, message) = error_of(text).unwrap();
        assert_eq!((code.as_str(), message.as_str()), ("SlowDown", "Less, please & thank you"));
        assert_eq!(error_of(b""), None);
        assert_eq!(error_of(b"<ListBucketResult><Name>b</Name></ListBucketResult>"), None);
        assert_eq!(error_of(b"    <Error><Code>X</Code></Error>").unwrap().0, "X");
    }

    #[test]
    fn a_page_has_keys_folders_and_a_next_one() {
        let text = b"<ListBucketResult xmlns=\"s3\"><Name>b</Name><Prefix>p/</Prefix>\
            <IsTruncated>true</IsTruncated><Contents><Key>p/a&amp;b</Key><Size>1</Size></Contents>\
            <CommonPrefixes><Prefix>p/train/</Prefix></CommonPrefixes>\
            <NextContinuationToken>t=1</NextContinuationToken></ListBucketResult>";
        let mut seen = Vec::new();
        let next = page(text, &mut |name, folder| seen.push((name.to_string(), folder))).unwrap();
        assert_eq!(seen, [("p/a&b".to_string(), false), ("p/train/".to_string(), true)]);
        assert_eq!(next.as_deref(), Some("t=1"));
        assert!(page(b"<L><IsTruncated>true</IsTruncated></L>", &mut |_, _| ()).is_err());
        assert!(page(b"<L><unclosed", &mut |_, _| ()).is_err());
    }

    #[cfg(feature = "remote")]
    #[test]
    fn pages_parts_and_removals_that_are_written_are_read_the_same() {
        let text = new_page(["p/a&b", "p/c"].into_iter(), ["p/d/"].into_iter(), Some("t<"));
        let mut seen = Vec::new();
        let next = page(&text, &mut |name, folder| seen.push((name.to_string(), folder))).unwrap();
        let want = [("p/a&b", false), ("p/c", false), ("p/d/", true)];
        assert_eq!(seen, want.map(|(name, folder)| (name.to_string(), folder)));
        assert_eq!(next.as_deref(), Some("t<"));
        let empty = new_page(std::iter::empty(), std::iter::empty(), None);
        assert_eq!(page(&empty, &mut |_, _| ()), Ok(None));
        assert_eq!(upload_id(&new_upload("u&1")).unwrap(), "u&1");
        let page = uploads(&new_uploads([("a&", "1")].into_iter(), Some(("b", "2")))).unwrap();
        let pair = |key: &str, id: &str| (key.to_string(), id.to_string());
        let want = Uploads { uploads: vec![pair("a&", "1")], next: Some(pair("b", "2")) };
        assert_eq!(page, want);
        let text = String::from_utf8(removed([["k", "Denied", "no"]].into_iter())).unwrap();
        assert!(text.contains("<Error><Key>k</Key><Code>Denied</Code>"), "{text}");
        let list =
            b"<Delete><Object><Key>a&amp;</Key></Object><Object><Key>b</Key></Object></Delete>";
        assert_eq!(keys(list).unwrap(), ["a&", "b"]);
    }

    #[test]
    fn removals_have_their_keys_and_tell_of_one_that_stays() {
        let mut out = Vec::new();
        removal(["p/a&b", "p/c"].into_iter(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("<Key>p/a&amp;b</Key></Object><Object><Key>p/c</Key>"), "{text}");
        assert_eq!(not_removed(b"<DeleteResult></DeleteResult>").unwrap(), None);
        let text = b"<DeleteResult><Error><Key>p/c</Key><Code>AccessDenied</Code>\
            <Message>no</Message></Error><Error><Key>p/d</Key><Code>X</Code></Error>\
            </DeleteResult>";
        let found = not_removed(text).unwrap().unwrap();
        assert_eq!((found.0.as_str(), found.1.as_str()), ("p/c", "AccessDenied: no"));
        assert_eq!(error_of(text), None, "the answer itself is no error");
        assert_eq!(count_keys(b"<C><Key>a</Key></C><C><Key>b</Key></C><KeyCount>2</KeyCount>"), 2);
    }

    #[test]
    fn uploads_have_a_key_an_id_and_a_next_page() {
        let text =
            b"<ListMultipartUploadsResult><Bucket>b</Bucket><NextKeyMarker>p/b</NextKeyMarker>\
            <NextUploadIdMarker>2</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
            <Upload><Key>p/a&amp;</Key><UploadId>1</UploadId><Owner><ID>x</ID></Owner></Upload>\
            <Upload><UploadId>2</UploadId><Key>p/b</Key></Upload></ListMultipartUploadsResult>";
        let pair = |key: &str, id: &str| (key.to_string(), id.to_string());
        let page = uploads(text).unwrap();
        assert_eq!(page.uploads, [pair("p/a&", "1"), pair("p/b", "2")]);
        assert_eq!(page.next, Some(pair("p/b", "2")));
        let last = uploads(b"<R><IsTruncated>false</IsTruncated></R>").unwrap();
        assert_eq!(last, Uploads { uploads: vec![], next: None });
    }

    #[test]
    fn a_completion_lists_its_parts() {
        let mut out = Vec::new();
        completion([(1, "\"a\""), (2, "\"b\"")].into_iter(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let parts = text.matches("<Part>").count();
        assert!(parts == 2 && text.contains("<PartNumber>2</PartNumber>"), "{text}");
        assert!(text.contains("<ETag>&quot;a&quot;</ETag>"), "{text}");
        assert_eq!(upload_id(b"<R><UploadId>u1</UploadId></R>").unwrap(), "u1");
        assert!(upload_id(b"<R></R>").is_err());
    }
}
