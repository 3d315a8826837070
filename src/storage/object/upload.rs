//! An open object: one that is read, or one that is on its way up.

use super::exchange::Tag;
use crate::storage::Handle;

/// Most parts that an upload may have (Amazon S3 quotas).
pub(super) const PARTS_MAX: u64 = 10_000;
/// An object of unknown length is put together in memory; it is small, as markers and lists are.
pub(super) const STAGED_BYTES_MAX: usize = 256 << 20;

/// How an object gets its content.
#[derive(Debug)]
pub(super) enum Way {
    /// It is there and is read.
    Reading,
    /// One PUT from the buffer.
    Whole,
    /// Put together in memory, for its length is not known, until it turns out to be a large one.
    Staged(Vec<u8>),
    /// Parts, each from one buffer.
    Parts {
        /// Id of the upload; empty until it is created.
        id: String,
        /// ETags by number; empty: not there yet.
        tags: Vec<Tag>,
    },
}

/// How far the content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not visible yet.
    Open,
    /// A write failed, so it never becomes visible.
    Failed,
    /// Visible and durable.
    Committed,
}

/// An open object.
#[derive(Debug)]
pub(super) struct Object {
    pub name: String,
    /// Encoded key with a slash in front.
    pub path: Vec<u8>,
    pub way: Way,
    pub state: State,
    /// At open; 0 for a new one.
    pub size_bytes: u64,
    /// Length that it will have; 0: unknown.
    pub final_bytes: u64,
    /// Bytes written so far.
    pub written_bytes: u64,
    pub in_flight: u32,
    /// A sync that waits for the writes before it: tag, and when it was submitted.
    pub sync: Option<(u64, u64)>,
    /// Number of the part that is shorter than the others, and so the last; 0: none so far.
    pub short_part: u32,
    /// Must not replace anything.
    pub only_new: bool,
    /// Nobody has asked whether the size is true.
    pub size_is_trusted: bool,
    /// Slots of parts that wait for their upload to be created.
    pub waiting: Vec<usize>,
}

impl Object {
    /// Number of a part that is missing before the last one.
    pub fn missing_part(&self) -> Option<u32> {
        let Way::Parts { tags, .. } = &self.way else { return None };
        let missing = tags.iter().position(|tag| tag.as_str().is_empty());
        let missing = missing.or_else(|| tags.is_empty().then_some(0));
        missing.map(|place| place as u32 + 1)
    }

    /// Everything that was announced is there.
    pub fn is_whole(&self) -> bool {
        self.written_bytes >= self.final_bytes
    }

    /// Notes the outcome of a part or of the whole.
    pub fn wrote(&mut self, part: u32, tag: Tag, bytes: usize, failed: bool) {
        if failed {
            self.state = State::Failed;
            return;
        }
        self.written_bytes += bytes as u64;
        match &mut self.way {
            Way::Parts { tags, .. } => {
                let place = part as usize - 1;
                if tags.len() <= place {
                    tags.resize(place + 1, Tag::default());
                }
                tags[place] = tag;
            }
            _ => self.state = State::Committed,
        }
    }
}

/// The open objects, by handle. A handle's upper bits count the uses of its slot.
#[derive(Debug, Default)]
pub(super) struct Objects {
    slots: Vec<(u32, Option<Object>)>,
    free: Vec<u32>,
    /// Name and path of closed objects, for their room.
    spare: Vec<(String, Vec<u8>)>,
}

const SLOT_BITS: u32 = 20;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

impl Objects {
    /// Keeps an object; None if a million are open already.
    pub fn insert(&mut self, object: Object) -> Option<Handle> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() > SLOT_MASK as usize => return None,
            None => {
                self.slots.push((0, None));
                self.slots.len() as u32 - 1
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.1 = Some(object);
        Some(Handle(entry.0 << SLOT_BITS | slot))
    }

    /// The object behind a handle.
    pub fn get(&mut self, handle: Handle) -> Option<&mut Object> {
        let (uses, object) = self.slots.get_mut((handle.0 & SLOT_MASK) as usize)?;
        if *uses == handle.0 >> SLOT_BITS { object.as_mut() } else { None }
    }

    /// Gives it up.
    pub fn remove(&mut self, handle: Handle) -> Option<Object> {
        self.get(handle)?;
        let slot = handle.0 & SLOT_MASK;
        let entry = &mut self.slots[slot as usize];
        entry.0 = (entry.0 + 1) & (u32::MAX >> SLOT_BITS);
        self.free.push(slot);
        entry.1.take()
    }

    /// Room for name and path of an object.
    pub fn spare(&mut self) -> (String, Vec<u8>) {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps that room, of an object that is closed or was none.
    pub fn spare_back(&mut self, mut name: String, mut path: Vec<u8>) {
        name.clear();
        path.clear();
        self.spare.push((name, path));
    }

    /// `is` is true for one of them.
    pub fn any(&self, is: impl Fn(&Object) -> bool) -> bool {
        self.slots.iter().filter_map(|(_, object)| object.as_ref()).any(is)
    }

    /// All of them.
    pub fn drain(&mut self) -> impl Iterator<Item = Object> + '_ {
        self.slots.drain(..).filter_map(|(_, object)| object)
    }
}
