//! The checksum of HDF5's metadata: Bob Jenkins' `lookup3` (`hashlittle` with the initial value 0,
//! 2006, public domain), which the HDF5 file format specification names for superblocks from
//! version 2 and object headers from version 2 on.

/// What the state starts with, before the length is added.
const START: u32 = 0xdead_beef;

/// The state of three words.
struct State([u32; 3]);

impl State {
    fn add(&mut self, block: &[u8; 12]) {
        for (word, bytes) in self.0.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = word.wrapping_add(u32::from_le_bytes(*bytes));
        }
    }

    /// Reversible mixing between blocks: each line is (changed, from, rotation, then added).
    fn mix(&mut self) {
        let [mut a, mut b, mut c] = self.0;
        for [first, second, third] in [[4, 6, 8], [16, 19, 4]] {
            a = a.wrapping_sub(c) ^ c.rotate_left(first);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(second);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(third);
            b = b.wrapping_add(a);
        }
        self.0 = [a, b, c];
    }

    /// Final mixing after the last block.
    fn finish(self) -> u32 {
        let [mut a, mut b, mut c] = self.0;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        (c ^ b).wrapping_sub(b.rotate_left(24))
    }
}

/// Checksum of `bytes` (below 4 GiB).
pub fn lookup3(bytes: &[u8]) -> u32 {
    let mut state = State([START.wrapping_add(bytes.len() as u32); 3]);
    if bytes.is_empty() {
        return state.0[2];
    }
    // The last block, of 1 to 12 bytes, is padded with zeros and mixed differently.
    let (before, last) = bytes.split_at((bytes.len() - 1) / 12 * 12);
    for block in before.as_chunks().0 {
        state.add(block);
        state.mix();
    }
    let mut block = [0; 12];
    block[..last.len()].copy_from_slice(last);
    state.add(&block);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the self-test that Jenkins publishes with the function.
    #[test]
    fn published_values() {
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
