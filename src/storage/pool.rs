//! Buffers for I/O: one aligned region per store instance, cut into equal parts, touched before use.

/// One part of a pool's region; owned, so nobody else touches it.
#[derive(Debug)]
pub struct IoBuffer {
    _index: u32,
}

/// The region. Dropped only after all its buffers are back.
#[derive(Debug)]
pub struct BufferPool {
    _private: (),
}
