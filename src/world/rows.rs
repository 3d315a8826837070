//! How rows of all ranks come to rank 0 in pieces of bounded size.

use std::ops::Range;

/// Bytes that come to rank 0 at once, at least one row.
pub(super) const AT_ONCE_BYTES: u64 = 64 << 20;

/// The ranks from `first` on whose rows, of these lengths, come together: as many as fit into
/// `most_bytes`, at least one.
pub(super) fn together(lengths: &[u64], first: usize, most_bytes: u64) -> Range<usize> {
    let mut bytes = 0u64;
    let fits = |length: &&u64| {
        bytes = bytes.saturating_add(**length);
        bytes <= most_bytes
    };
    let count = lengths[first..].iter().take_while(fits).count();
    first..(first + count.max(1)).min(lengths.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(lengths: &[u64], most_bytes: u64) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut first = 0;
        while first < lengths.len() {
            groups.push(together(lengths, first, most_bytes));
            first = groups.last().map_or(first, |group: &Range<usize>| group.end);
        }
        groups
    }

    #[test]
    fn rows_come_in_order_and_each_once() {
        assert_eq!(groups(&[3, 4, 3, 20, 0, 1], 10), [0..3, 3..4, 4..6]);
        assert_eq!(groups(&[20, 20], 10), [0..1, 1..2]);
        assert_eq!(groups(&[0; 5], 10), vec![0..5]);
    }

    /// Bug: offsets of 32 bits, so a run of 116,000 ranks with 128 servers panicked after it had
    /// measured.
    #[test]
    fn rows_of_more_than_2_gib_in_all_never_need_offsets_beyond_32_bits() {
        let lengths = vec![18_700; 116_000];
        assert!(lengths.iter().sum::<u64>() > i32::MAX as u64);
        let groups = groups(&lengths, AT_ONCE_BYTES);
        assert_eq!(groups.iter().map(|group| group.len()).sum::<usize>(), lengths.len());
        assert!(groups.iter().all(|group| group.len() as u64 * 18_700 <= AT_ONCE_BYTES));
    }
}
