//! What an answer to a read says of itself: which bytes it holds, of an object of which size.

/// A `Content-Range` header: `bytes FIRST-LAST/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub first: u64,
    pub last: u64,
    /// Size of the object; None: the server does not say.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads a header; None if it names no bytes.
    pub fn parse(text: &str) -> Option<ContentRange> {
        let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(ContentRange { first, last, total: total.trim().parse().ok() })
    }

    fn text(self) -> String {
        let total = self.total.map_or("*".into(), |total| total.to_string());
        format!("bytes {}-{}/{total}", self.first, self.last)
    }
}

/// What an answer that has a body for the buffer says before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// It is 206, or must be taken for it.
    pub is_partial: bool,
    pub content_length: Option<u64>,
    pub content_range: Option<ContentRange>,
}

/// Why this is not the answer to a read of `asked` (first byte and number of bytes; None: all) of
/// an object that must have `size_bytes`, where that is known. Servers disagree about the status of
/// a part, so the range that they name decides and not the status.
pub(super) fn unfit(
    asked: Option<(u64, u64)>,
    size_bytes: Option<u64>,
    said: Said,
) -> Option<String> {
    let found = match said.content_range {
        Some(range) => range.total,
        None if said.is_partial => None,
        None => said.content_length,
    };
    if let (Some(found), Some(wanted)) = (found, size_bytes)
        && found != wanted
    {
        return Some(other_size(found, wanted));
    }
    match (asked, said.content_range) {
        (None, None) => None,
        (None, Some(range)) => {
            let is_whole = range.first == 0 && range.total.is_none_or(|all| range.last + 1 == all);
            let what = || {
                let text = range.text();
                format!("the server answers a read of the whole object with {text}")
            };
            (!is_whole).then(what)
        }
        (Some((first, count)), Some(range)) => {
            let last = first + count - 1;
            // A shorter answer is right where the object ends.
            let ends = range.last < last && range.total == Some(range.last + 1);
            let fits = range.first == first && (range.last == last || ends);
            (!fits).then(|| {
                format!("the server answers a read of bytes {first}-{last} with {}", range.text())
            })
        }
        (Some(_), None) if said.is_partial => None,
        (Some((first, count)), None) => {
            let last = first + count - 1;
            let found = said.content_length.map_or("a body".into(), |len| format!("{len} bytes"));
            Some(format!(
                "the server ignores Range: it answers a read of bytes {first}-{last} with {found} \
                 and no Content-Range; this store cannot be read in parts"
            ))
        }
    }
}

/// What to say of an object that has another size than it must.
fn other_size(found: u64, wanted: u64) -> String {
    format!(
        "the object has {found} bytes where {wanted} were expected: truncated or of another \
         configuration; run `rankio datagen` again, or check --data-dir"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(is_partial: bool, content_length: u64, range: Option<&str>) -> Said {
        let content_range = range.map(|range| ContentRange::parse(range).unwrap());
        Said { is_partial, content_length: Some(content_length), content_range }
    }

    #[test]
    fn a_content_range_on_a_200_is_judged_and_not_blamed_on_the_dataset() {
        let (asked, size) = (Some((100, 50)), Some(5000));
        for is_partial in [true, false] {
            let fits = said(is_partial, 50, Some("bytes 100-149/5000"));
            assert_eq!(unfit(asked, size, fits), None);
            assert_eq!(unfit(asked, None, said(is_partial, 50, Some("bytes 100-149/*"))), None);
            let shifted = said(is_partial, 50, Some("bytes 0-49/5000"));
            let what = unfit(asked, size, shifted).unwrap();
            assert!(what.contains("a read of bytes 100-149 with bytes 0-49/5000"), "{what}");
            let other = said(is_partial, 50, Some("bytes 100-149/4000"));
            let what = unfit(asked, size, other).unwrap();
            assert!(what.contains("has 4000 bytes where 5000 were expected"), "{what}");
        }
        let what = unfit(asked, size, said(false, 5000, None)).unwrap();
        assert!(what.contains("ignores Range") && what.contains("with 5000 bytes"), "{what}");
        let what = unfit(asked, size, said(false, 4000, None)).unwrap();
        assert!(what.contains("has 4000 bytes where 5000 were expected"), "{what}");
    }

    #[test]
    fn a_part_ends_where_the_object_ends() {
        let cut = |range| unfit(Some((100, 50)), None, said(true, 20, Some(range)));
        assert_eq!(cut("bytes 100-119/120"), None);
        assert!(cut("bytes 100-119/5000").is_some());
        assert!(cut("bytes 100-119/*").is_some());
        assert_eq!(unfit(Some((100, 50)), Some(5000), said(true, 50, None)), None);
    }

    #[test]
    fn a_whole_object_may_be_told_as_its_only_part() {
        assert_eq!(unfit(None, Some(50), said(false, 50, Some("bytes 0-49/50"))), None);
        assert!(unfit(None, None, said(false, 40, Some("bytes 0-39/50"))).is_some());
        assert_eq!(ContentRange::parse("bytes */50"), None);
    }
}
