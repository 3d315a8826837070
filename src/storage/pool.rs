//! Buffers for I/O: one aligned region per store instance, cut into equal parts and touched before
//! use.
//!
//! Huge pages matter: with 4 KiB pages each page of a request is a segment of its own, which costs
//! up to 3x the bandwidth and 10x the CPU at 1 MiB. So the region is taken from reserved huge pages
//! if there are any, else from transparent ones, else from plain pages; what was got is measured
//! and reported.

use super::align::{PAGE_BYTES, round_up};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

const HUGE_BYTES: usize = 2 << 20;
/// Room in each buffer beyond the caller's bytes: one alignment unit at either end.
const ALIGNMENT_ROOM_BYTES: usize = 2 * PAGE_BYTES;
/// Largest part of a pool that the caller may ask for.
const MAX_BUFFER_BYTES: usize = 1 << 30;

/// Page size behind a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    Plain,
    Transparent,
    Reserved,
}

/// A private anonymous mapping, unmapped on drop.
#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread; access to its bytes
// goes through `IoBuffer`s, which never overlap.
unsafe impl Send for Region {}
// SAFETY: as above; a shared `Region` gives no access to its bytes.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are exactly one mapping made in `map`, and every buffer that
        // points into it holds an `Arc` of this region, so none is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// One part of a pool's region; owned, so nobody else touches it.
///
/// It keeps the region alive. One that is dropped instead of given back is lost to its pool.
#[derive(Debug)]
pub struct IoBuffer {
    start: NonNull<u8>,
    capacity: u32,
    index: u32,
    region: Arc<Region>,
}

// SAFETY: the token is the only way to its part of the region (parts do not overlap), so moving it
// to another thread moves the exclusive access.
unsafe impl Send for IoBuffer {}

impl IoBuffer {
    /// Bytes in this buffer: what the caller asked for, rounded up to 4096, and 8192 more.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Number of this buffer in its pool.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// All bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start..start+capacity` lies in the live region, was zeroed by the kernel when
        // mapped, and belongs to this token alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.capacity()) }
    }

    /// All bytes, to fill.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.capacity()) }
    }

    /// Address for the kernel.
    pub(super) fn address(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

/// The region. Unmapped only after the pool and all its buffers are gone.
#[derive(Debug)]
pub struct BufferPool {
    region: Arc<Region>,
    free: Vec<IoBuffer>,
    count: usize,
    capacity: usize,
    pages: Pages,
    shortfall: Option<String>,
}

impl BufferPool {
    /// `count` buffers for requests of up to `buffer_bytes` each. Maps
    /// `count * (buffer_bytes rounded up to 4096 + 8192)` bytes, rounded up to 2 MiB where
    /// `huge_pages` are asked for, touches all of it, and never grows.
    ///
    /// # Errors
    /// ENOMEM and the like from `mmap`; `InvalidInput` for no buffers or one beyond 1 GiB.
    pub fn new(count: usize, buffer_bytes: usize, huge_pages: bool) -> io::Result<BufferPool> {
        if count == 0 || count > u16::MAX as usize || buffer_bytes > MAX_BUFFER_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{count} buffers of {buffer_bytes} bytes: 1 to 65535 of up to 1 GiB"),
            ));
        }
        let capacity = round_up(buffer_bytes as u64, PAGE_BYTES as u64) as usize;
        let capacity = capacity + ALIGNMENT_ROOM_BYTES;
        let bytes = count.checked_mul(capacity).ok_or_else(|| io::Error::from_raw_os_error(12))?;
        let (region, pages, shortfall) = map(bytes, huge_pages)?;
        let region = Arc::new(region);
        let free = (0..count)
            .rev()
            .map(|index| IoBuffer {
                // SAFETY: index < count, so the offset lies within the `bytes` that were mapped.
                start: unsafe { region.base.add(index * capacity) },
                capacity: capacity as u32,
                index: index as u32,
                region: Arc::clone(&region),
            })
            .collect();
        Ok(BufferPool { region, free, count, capacity, pages, shortfall })
    }

    /// A free buffer, or None.
    pub fn take(&mut self) -> Option<IoBuffer> {
        self.free.pop()
    }

    /// Takes a buffer of this pool back.
    ///
    /// # Panics
    /// If the buffer is of another pool.
    pub fn give(&mut self, buffer: IoBuffer) {
        assert!(self.owns(&buffer), "a buffer must go back to the pool it came from");
        self.free.push(buffer);
    }

    /// The buffer is of this pool.
    pub fn owns(&self, buffer: &IoBuffer) -> bool {
        Arc::ptr_eq(&self.region, &buffer.region)
    }

    /// Buffers made.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the mapping, whole pages of whatever size it has.
    pub fn mapped_bytes(&self) -> u64 {
        self.region.len as u64
    }

    /// What lies behind the buffers: `2MiB-hugetlb`, `2MiB-thp` or `4KiB`.
    pub fn page_size(&self) -> &'static str {
        match self.pages {
            Pages::Reserved => "2MiB-hugetlb",
            Pages::Transparent => "2MiB-thp",
            Pages::Plain => "4KiB",
        }
    }

    /// Why huge pages that were asked for are not (all) there.
    pub fn shortfall(&self) -> Option<&str> {
        self.shortfall.as_deref()
    }

    /// Address and length of each buffer by index, for registration with a ring.
    pub(super) fn iovecs(&self) -> Vec<libc::iovec> {
        (0..self.count)
            .map(|index| libc::iovec {
                // SAFETY: index < count, so the offset lies within the region.
                iov_base: unsafe { self.region.base.add(index * self.capacity) }.as_ptr().cast(),
                iov_len: self.capacity,
            })
            .collect()
    }
}

/// A touched region of at least `bytes`, the best pages to be had, and what was missed.
fn map(bytes: usize, huge_pages: bool) -> io::Result<(Region, Pages, Option<String>)> {
    if !huge_pages {
        let region = map_anonymous(round_up(bytes as u64, PAGE_BYTES as u64) as usize, 0)?;
        // SAFETY: the advice names exactly our mapping. It keeps hosts that give huge pages to
        // everybody from giving them here, where 4 KiB pages were asked for.
        unsafe { libc::madvise(region.base.as_ptr().cast(), region.len, libc::MADV_NOHUGEPAGE) };
        touch(&region)?;
        return Ok((region, Pages::Plain, None));
    }
    let len = round_up(bytes as u64, HUGE_BYTES as u64) as usize;
    let reserved = map_anonymous(len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB)
        .and_then(|region| touch(&region).map(|()| region));
    if let Ok(region) = reserved {
        return Ok((region, Pages::Reserved, None));
    }
    let region = map_huge_aligned(len)?;
    // SAFETY: the advice names exactly our mapping.
    let advised =
        unsafe { libc::madvise(region.base.as_ptr().cast(), len, libc::MADV_HUGEPAGE) } == 0;
    touch(&region)?;
    let huge = if advised { transparent_bytes(&region) } else { Some(0) };
    let (pages, shortfall) = judge_transparent(len, huge);
    Ok((region, pages, shortfall))
}

/// What a region of `len` bytes with `huge` bytes in transparent huge pages counts as.
fn judge_transparent(len: usize, huge: Option<usize>) -> (Pages, Option<String>) {
    let mib = |bytes: usize| bytes >> 20;
    match huge {
        Some(bytes) if bytes >= len => (Pages::Transparent, None),
        Some(0) => (
            Pages::Plain,
            Some(
                "no huge pages for the buffers, 4 KiB pages instead: set vm.nr_hugepages or \
                 /sys/kernel/mm/transparent_hugepage/enabled=madvise"
                    .into(),
            ),
        ),
        Some(bytes) => (
            Pages::Transparent,
            Some(format!(
                "only {} of {} MiB of the buffers are huge pages: memory is fragmented, set \
                 vm.nr_hugepages",
                mib(bytes),
                mib(len)
            )),
        ),
        None => (
            Pages::Plain,
            Some("huge pages were asked for, but /proc/self/smaps does not show any".into()),
        ),
    }
}

fn map_anonymous(len: usize, flags: i32) -> io::Result<Region> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of
    // ours.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = NonNull::new(base.cast()).expect("mmap without MAP_FIXED never gives address 0");
    Ok(Region { base, len })
}

/// A mapping of `len` bytes (a multiple of 2 MiB) that begins at a multiple of 2 MiB.
fn map_huge_aligned(len: usize) -> io::Result<Region> {
    let wide = std::mem::ManuallyDrop::new(map_anonymous(len + HUGE_BYTES, 0)?);
    let address = wide.base.as_ptr() as usize;
    let before = (HUGE_BYTES - address % HUGE_BYTES) % HUGE_BYTES;
    let after = HUGE_BYTES - before;
    // SAFETY: `before + len + after` is the whole mapping; its two ends, multiples of 4096, are
    // given back, and the `Region` below takes over the middle. `wide` is not dropped.
    unsafe {
        let base = wide.base.add(before);
        if before > 0 {
            libc::munmap(wide.base.as_ptr().cast(), before);
        }
        libc::munmap(base.add(len).as_ptr().cast(), after);
        Ok(Region { base, len })
    }
}

/// Faults every page in, so that no page fault falls into a measured window.
fn touch(region: &Region) -> io::Result<()> {
    let base = region.base.as_ptr();
    // SAFETY: the advice names exactly our mapping; it only populates it.
    if unsafe { libc::madvise(base.cast(), region.len, libc::MADV_POPULATE_WRITE) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EINVAL) {
        return Err(error);
    }
    // Kernels before 5.14 do not know the advice.
    for offset in (0..region.len).step_by(PAGE_BYTES) {
        // SAFETY: offset < len, and nobody else has access to the region yet.
        unsafe { base.add(offset).write_volatile(0) };
    }
    Ok(())
}

/// Bytes of the region in transparent huge pages, from /proc/self/smaps. A mapping that the
/// kernel merged with its neighbour counts by its share.
fn transparent_bytes(region: &Region) -> Option<usize> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let start = region.base.as_ptr() as usize;
    transparent_in(&smaps, start, start + region.len)
}

fn transparent_in(smaps: &str, start: usize, end: usize) -> Option<usize> {
    let mut area = None;
    let mut found = None;
    for line in smaps.lines() {
        let word = line.split(' ').next().unwrap_or("");
        if let Some((low, high)) = word.split_once('-') {
            let bounds = (usize::from_str_radix(low, 16), usize::from_str_radix(high, 16));
            area = match bounds {
                (Ok(low), Ok(high)) if low < end && high > start => Some((low, high)),
                _ => None,
            };
        } else if let (Some((low, high)), Some(rest)) = (area, line.strip_prefix("AnonHugePages:"))
        {
            let kib: usize = rest.trim().trim_end_matches(" kB").parse().ok()?;
            let share = high.min(end) - low.max(start);
            let bytes = (kib as u128 * 1024 * share as u128 / (high - low) as u128) as usize;
            found = Some(found.unwrap_or(0) + bytes);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_apart_and_capped() {
        for huge in [false, true] {
            let mut pool = BufferPool::new(5, 5000, huge).unwrap();
            let mut all: Vec<IoBuffer> = std::iter::from_fn(|| pool.take()).collect();
            assert_eq!(all.len(), 5);
            for (i, b) in all.iter_mut().enumerate() {
                assert_eq!(b.capacity(), 8192 + 8192);
                assert_eq!(b.address() as usize % PAGE_BYTES, 0);
                assert!(b.as_slice().iter().all(|x| *x == 0));
                b.as_mut_slice().fill(i as u8 + 1);
            }
            for (i, b) in all.iter().enumerate() {
                assert!(b.as_slice().iter().all(|x| *x == i as u8 + 1));
                assert_eq!(b.index(), i as u32);
            }
            let last = all.pop().unwrap();
            all.into_iter().for_each(|b| pool.give(b));
            drop(pool);
            assert_eq!(last.as_slice()[16383], 5, "the region outlives its pool");
        }
    }

    #[test]
    fn plain_pages_are_reported_as_such() {
        let pool = BufferPool::new(2, 4 << 20, false).unwrap();
        assert_eq!((pool.page_size(), pool.shortfall()), ("4KiB", None));
    }

    #[test]
    fn huge_pages_or_a_reason() {
        let pool = BufferPool::new(2, 4 << 20, true).unwrap();
        assert!(pool.page_size() != "4KiB" || pool.shortfall().is_some());
    }

    #[test]
    fn senseless_pools_are_refused() {
        assert!(BufferPool::new(0, 4096, false).is_err());
        assert!(BufferPool::new(1, (1 << 30) + 1, false).is_err());
    }

    #[test]
    fn smaps_counts_only_the_overlapping_share() {
        let smaps = "7f0000000000-7f0000400000 rw-p 0 00:00 0 \nSize: 4096 kB\n\
                     AnonHugePages:      4096 kB\n\
                     7f0000400000-7f0000600000 rw-p 0 00:00 0\nAnonHugePages:  2048 kB\n";
        let at = 0x7f00_0000_0000;
        assert_eq!(transparent_in(smaps, at, at + (2 << 20)), Some(2 << 20));
        assert_eq!(transparent_in(smaps, at, at + (6 << 20)), Some(6 << 20));
        assert_eq!(transparent_in(smaps, 0, 4096), None);
    }

    #[test]
    fn partial_huge_pages_are_named() {
        assert_eq!(judge_transparent(4 << 20, Some(4 << 20)), (Pages::Transparent, None));
        let (pages, why) = judge_transparent(4 << 20, Some(2 << 20));
        assert_eq!(pages, Pages::Transparent);
        assert!(why.unwrap().contains("2 of 4 MiB"));
        assert_eq!(judge_transparent(4 << 20, Some(0)).0, Pages::Plain);
    }

    #[test]
    #[should_panic(expected = "pool it came from")]
    fn a_foreign_buffer_is_refused() {
        let mut a = BufferPool::new(1, 4096, false).unwrap();
        let mut b = BufferPool::new(1, 4096, false).unwrap();
        b.give(a.take().unwrap());
    }
}
