//! One read or write on its way: which bytes move, how far it is, and what the caller gets.

use super::table::OpenFile;
use crate::storage::align::{PAGE_BYTES, outward, round_up};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Sync,
}

impl Kind {
    /// The word for error messages.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Sync => "sync",
        }
    }
}

/// What has to happen after some bytes moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: all bytes moved, or the file ended.
    Done,
    /// The rest has to be asked for.
    More,
    /// A write that moves nothing and gives no reason.
    Stuck,
}

/// A range in flight. `total` bytes from `start` move; the caller wants `len` of them, `lead` bytes
/// in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    pub kind: Kind,
    pub start: u64,
    pub total: u32,
    pub lead: u32,
    pub len: u32,
    pub done: u32,
    align: u32,
    file_size: u64,
}

impl Transfer {
    /// A sync.
    pub fn sync() -> Transfer {
        Transfer {
            kind: Kind::Sync,
            start: 0,
            total: 0,
            lead: 0,
            len: 0,
            done: 0,
            align: 1,
            file_size: 0,
        }
    }

    /// A read of `[offset, offset + len)`, rounded outward where the file is direct. The error
    /// is the reason why it cannot be.
    pub fn read(
        file: &OpenFile,
        offset: u64,
        len: usize,
        room: usize,
    ) -> Result<Transfer, &'static str> {
        check_range(offset, len)?;
        let extent = outward(offset, len, file.align);
        if extent.total > room {
            return Err("the buffer is smaller than the aligned range");
        }
        Ok(Transfer {
            kind: Kind::Read,
            start: extent.start,
            total: extent.total as u32,
            lead: extent.lead as u32,
            len: len as u32,
            done: 0,
            align: file.align,
            file_size: file.size,
        })
    }

    /// A write of the first `len` bytes of `data` at `offset`. On a direct file a ragged end is
    /// padded with zeros to 4096; the file's length is put right later.
    pub fn write(
        file: &OpenFile,
        offset: u64,
        len: usize,
        data: &mut [u8],
    ) -> Result<Transfer, &'static str> {
        check_range(offset, len)?;
        if !offset.is_multiple_of(PAGE_BYTES as u64) {
            return Err("the offset of a write must be a multiple of 4096");
        }
        let total =
            if file.direct { round_up(len as u64, PAGE_BYTES as u64) as usize } else { len };
        if total > data.len() {
            return Err("the buffer is smaller than the bytes to write");
        }
        data[len..total].fill(0);
        Ok(Transfer {
            kind: Kind::Write,
            start: offset,
            total: total as u32,
            lead: 0,
            len: len as u32,
            done: 0,
            align: if file.direct { PAGE_BYTES as u32 } else { 1 },
            file_size: 0,
        })
    }

    /// Notes that `moved` more bytes arrived and says what is next.
    pub fn advance(&mut self, moved: u32) -> Step {
        self.done += moved;
        if self.done >= self.total {
            return Step::Done;
        }
        if self.kind == Kind::Write {
            if moved == 0 {
                return Step::Stuck;
            }
            // The rest must begin aligned; what was written of the last unit is written again.
            self.done -= self.done % self.align;
            return Step::More;
        }
        let ended = moved == 0 || self.start + u64::from(self.done) >= self.file_size;
        // Direct reads end inside a unit only at the end of the file.
        if ended || !self.done.is_multiple_of(self.align) { Step::Done } else { Step::More }
    }

    /// Wanted bytes that have arrived or were written.
    pub fn wanted_bytes(&self) -> usize {
        self.done.saturating_sub(self.lead).min(self.len) as usize
    }

    /// Bytes that the device moved: whole units, also where the file ends within one.
    pub fn transferred_bytes(&self) -> usize {
        round_up(u64::from(self.done), u64::from(self.align)) as usize
    }

    /// Offset for error messages: of the wanted bytes; none for a sync.
    pub fn offset(&self) -> Option<u64> {
        (self.kind != Kind::Sync).then(|| self.start + u64::from(self.lead))
    }

    /// Offset of the next byte to move.
    pub fn next_offset(&self) -> u64 {
        self.start + u64::from(self.done)
    }
}

fn check_range(offset: u64, len: usize) -> Result<(), &'static str> {
    // Room for the rounding, and `len` in the kernel's 31 bits.
    let last = i64::MAX as u64 - 2 * PAGE_BYTES as u64;
    if len > (1 << 30) || offset > last - len as u64 {
        return Err("the range is beyond what a file or a request can hold");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::file_of;
    use super::*;

    #[test]
    fn a_direct_read_is_rounded_outward_and_ends_at_the_end_of_the_file() {
        let file = file_of(1000, 512);
        let mut t = Transfer::read(&file, 700, 400, 12288).unwrap();
        assert_eq!((t.start, t.total, t.lead), (512, 1024, 188));
        assert_eq!(t.advance(488), Step::Done);
        assert_eq!((t.wanted_bytes(), t.transferred_bytes()), (300, 512));
    }

    #[test]
    fn a_short_read_goes_on_and_a_shrunken_file_does_not_loop() {
        let file = file_of(100_000, 512);
        let mut t = Transfer::read(&file, 0, 8192, 12288).unwrap();
        assert_eq!(t.advance(1024), Step::More);
        assert_eq!(t.next_offset(), 1024);
        assert_eq!(t.advance(100), Step::Done, "ended within a unit");
        assert_eq!(t.wanted_bytes(), 1124);
        let mut t = Transfer::read(&file_of(100_000, 1), 10, 50, 4096).unwrap();
        assert_eq!(t.advance(20), Step::More);
        assert_eq!(t.advance(0), Step::Done);
        assert_eq!((t.wanted_bytes(), t.transferred_bytes()), (20, 20));
    }

    #[test]
    fn a_read_before_the_wanted_bytes_gives_none() {
        let mut t = Transfer::read(&file_of(520, 512), 700, 10, 4096).unwrap();
        assert_eq!(t.advance(8), Step::Done);
        assert_eq!(t.wanted_bytes(), 0);
    }

    #[test]
    fn a_ragged_direct_write_is_padded_with_zeros() {
        let file = file_of(0, 512);
        let mut data = vec![7u8; 8192];
        let mut t = Transfer::write(&file, 4096, 5000, &mut data).unwrap();
        assert_eq!(t.total, 8192);
        assert!(data[..5000].iter().all(|b| *b == 7) && data[5000..].iter().all(|b| *b == 0));
        assert_eq!(t.advance(4608), Step::More);
        assert_eq!(t.next_offset(), 8192);
        assert_eq!(t.advance(0), Step::Stuck);
        assert_eq!(t.advance(4096), Step::Done);
        assert_eq!((t.wanted_bytes(), t.transferred_bytes()), (5000, 8192));
    }

    #[test]
    fn senseless_requests_have_a_reason() {
        let file = file_of(0, 512);
        let mut data = vec![0u8; 4096];
        assert!(Transfer::write(&file, 512, 10, &mut data).is_err());
        assert!(Transfer::write(&file, 0, 4097, &mut data).is_err());
        assert!(Transfer::read(&file, u64::MAX, 10, 4096).is_err());
        assert!(Transfer::read(&file, 511, 4096, 4096).is_err());
        assert!(Transfer::read(&file, 0, 2 << 30, 4096).is_err());
    }
}
