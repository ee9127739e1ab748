//! Where an evaluation keeps what it makes: a bump arena for most things, and frames (environments and the like) in a
//! region of their own, so that a reference to a frame fits into 32 bits and a slot into 64. Nothing is freed before
//! the arena goes as a whole.

pub(crate) mod frames;

use self::frames::Frames;
use bumpalo::Bump;
use std::ops::Deref;

/// The memory of an evaluation.
#[derive(Debug, Default)]
pub struct Arena {
    objects: Bump,
    pub(crate) frames: Frames,
}

impl Arena {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes hold something or are set aside for it.
    pub fn bytes(&self) -> usize {
        self.objects.allocated_bytes() + self.frames.bytes()
    }
}

impl Deref for Arena {
    type Target = Bump;

    fn deref(&self) -> &Bump {
        &self.objects
    }
}
