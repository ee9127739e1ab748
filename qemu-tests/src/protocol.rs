//! The protocol between the test driver and `firn-agent` in the guest, over one virtio-serial port.
//!
//! The port is a byte pipe that QEMU keeps open while guests come and go: a guest may be reset in the middle of a
//! frame, and bytes meant for the guest before it may still lie in QEMU's buffers. So frames can be found again in any
//! stream, and nothing is believed before a handshake.
//!
//! **Frame** (little-endian): magic `F1 56 4D 0A`, kind `u8`, three zero bytes, request `u32`, payload length `u32` (at
//! most [`MAX_PAYLOAD`]), CRC-32 of these 16 bytes; then the payload and its CRC-32. A reader that meets anything else
//! drops one byte and looks for the magic again ([`frame::Decoder`]).
//!
//! **Handshake.** Each side may say a frame of its own only behind [`PADDING`] zero bytes, which complete (and thereby
//! break) any frame that an earlier guest left half said:
//!
//! 1. the agent opens the port and sends `Hello { version, nonce, boot_id }`;
//! 2. the driver answers `Welcome { version, nonce }` with the same nonce; the agent drops everything before it;
//! 3. a driver that finds a running agent (a restored snapshot) sends `Knock`; the agent forgets what it was asked,
//!    kills the commands it runs and begins at 1 with a new nonce.
//!
//! An agent of another [`VERSION`] is refused by the driver with both numbers.
//!
//! **Requests** carry a number that the driver chooses; all replies to it carry the same one, any number of requests run
//! side by side, and each ends with exactly one final reply ([`Reply::is_final`]). The messages are in [`message`]:
//! integers are little-endian, byte strings are a `u32` length and the bytes, lists a `u32` count and the items.

pub mod frame;
pub mod message;

pub use frame::{Decoder, Frame, MAX_PAYLOAD, PADDING};
pub use message::{FileKind, FileStatus, Malformed, PathCondition, Reply, Request};

/// Both sides must have the same; it changes with every change of a message.
pub const VERSION: u32 = 1;

/// The name of the virtio-serial port, as `/sys/class/virtio-ports/*/name` shows it in the guest.
pub const PORT_NAME: &str = "firn.agent.0";
