//! The overlay of one file: magic, row groups, footer.
//!
//! All full row groups have the same fixed bytes at the same places, so one of them is kept and the
//! rest is division; inside a group the chunk is found by binary search and the page by division
//! again. What is kept grows with the columns, not with groups or pages; only the footer, which is
//! in the file, grows with the groups.

use super::super::{Bytes, Layout, Segment};
use super::footer::{MAGIC, Rows, footer};
use super::pages::{Chunk, content_bytes, dictionary, head, walk};
use super::schema::{Coding, Column};
use std::sync::Arc;

/// Equal pages back to back.
struct Pages {
    start: u64,
    head: Vec<u8>,
    content: u64,
    /// What the values are.
    values: Bytes<'static>,
    count: u64,
}

impl Pages {
    fn page_bytes(&self) -> u64 {
        self.head.len() as u64 + self.content
    }

    fn end(&self) -> u64 {
        self.start + self.count * self.page_bytes()
    }

    /// The segment at `offset`, which counts from the start of the group.
    fn segment_at(&self, offset: u64) -> (u64, u64, Bytes<'_>) {
        let within = (offset - self.start) % self.page_bytes();
        let (page, head) = (offset - within, self.head.len() as u64);
        if within < head {
            (page, head, Bytes::Fixed(&self.head))
        } else {
            (page + head, self.content, self.values)
        }
    }
}

/// A chunk: dictionary page, full pages, last page.
struct ChunkLayout {
    start: u64,
    dictionary: Vec<u8>,
    full: Pages,
    last: Pages,
}

impl ChunkLayout {
    fn new(column: &Column, start: u64, chunk: &Chunk) -> ChunkLayout {
        let dictionary = dictionary(column);
        let values = match column.element.coding() {
            Coding::Text(characters) => Bytes::Text { characters },
            Coding::Plain(_) | Coding::Dictionary => Bytes::Content,
        };
        let pages = |start: u64, rows: u64, count: u64| match count {
            0 => Pages { start, head: Vec::new(), content: 0, values, count },
            _ => Pages {
                start,
                head: head(column, rows),
                content: content_bytes(column, rows),
                values,
                count,
            },
        };
        let full = pages(start + dictionary.len() as u64, chunk.page_rows, chunk.full_pages);
        let last = pages(full.end(), chunk.last_rows, chunk.last_rows.min(1));
        ChunkLayout { start, dictionary, full, last }
    }

    fn segment_at(&self, offset: u64) -> (u64, u64, Bytes<'_>) {
        if offset < self.full.start {
            let len = self.dictionary.len() as u64;
            (self.start, len, Bytes::Fixed(&self.dictionary))
        } else if offset < self.full.end() {
            self.full.segment_at(offset)
        } else {
            self.last.segment_at(offset)
        }
    }
}

/// A row group, with offsets from its start.
struct GroupLayout {
    chunks: Vec<ChunkLayout>,
    bytes: u64,
}

impl GroupLayout {
    fn new(columns: &[Column], rows: u64) -> GroupLayout {
        let mut chunks = Vec::with_capacity(columns.len());
        let bytes = walk(columns, rows, |column, start, chunk| {
            chunks.push(ChunkLayout::new(column, start, chunk));
        });
        GroupLayout { chunks, bytes }
    }

    fn segment_at(&self, offset: u64) -> (u64, u64, Bytes<'_>) {
        let after = self.chunks.partition_point(|chunk| chunk.start <= offset);
        self.chunks[after - 1].segment_at(offset)
    }
}

/// The overlay of all files of one shape.
pub struct FileLayout {
    full: Option<GroupLayout>,
    last: Option<GroupLayout>,
    last_start: u64,
    footer: Vec<u8>,
    footer_start: u64,
}

impl FileLayout {
    /// Lays out a file.
    pub fn new(columns: &[Column], rows: Rows) -> FileLayout {
        let group = |rows: u64| GroupLayout::new(columns, rows);
        let full = (rows.full_groups() > 0).then(|| group(rows.group));
        let last = (rows.last_rows() > 0).then(|| group(rows.last_rows()));
        let bytes = |group: &Option<GroupLayout>| group.as_ref().map_or(0, |group| group.bytes);
        let last_start = MAGIC.len() as u64 + rows.full_groups() * bytes(&full);
        let footer_start = last_start + bytes(&last);
        FileLayout { full, last, last_start, footer: footer(columns, rows), footer_start }
    }

    /// The segment at `offset`, which counts from `start`, moved to the file.
    fn in_group(group: &Option<GroupLayout>, start: u64, offset: u64) -> (u64, u64, Bytes<'_>) {
        let group = group.as_ref().expect("a group that has bytes has a layout");
        let within = (offset - start) % group.bytes;
        let (segment, len, bytes) = group.segment_at(within);
        (offset - within + segment, len, bytes)
    }
}

/// A shared overlay.
pub struct Shared(pub Arc<FileLayout>);

impl Layout for Shared {
    fn file_bytes(&self) -> u64 {
        self.0.footer_start + self.0.footer.len() as u64
    }

    fn segment_at(&self, offset: u64) -> Segment<'_> {
        let file = &*self.0;
        let magic = MAGIC.len() as u64;
        let (start, len, bytes) = if offset < magic {
            (0, magic, Bytes::Fixed(&MAGIC))
        } else if offset < file.last_start {
            FileLayout::in_group(&file.full, magic, offset)
        } else if offset < file.footer_start {
            FileLayout::in_group(&file.last, file.last_start, offset)
        } else {
            (file.footer_start, file.footer.len() as u64, Bytes::Fixed(&file.footer))
        };
        Segment { start, len, bytes, resets: 0, feeds: 0 }
    }
}
