//! The service graph: every unit of a generation, compiled at build time to one flat file that PID 1's supervisor maps.
//!
//! Nothing is parsed at boot: names are interned and NUL-terminated, argument vectors split, dependencies resolved to
//! indices in both directions, units sorted by start order. The semantics of the settings are those of systemd.unit(5),
//! systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.socket(5), systemd.timer(5).
//!
//! Layout (all integers little-endian, all offsets in bytes from the section's start):
//!
//! ```text
//! header   magic "FIRNGRAF", version u32, unit count u32, words u32 (count), strings u32 (bytes), checksum u64
//! units    per unit: name u32, kind u32, first entry u32, entry count u32
//! by name  per unit: index into `units`, sorted by name
//! words    u32 each: entries (key and shape, value) and the values that do not fit one word
//! strings  per string: length u32, bytes, NUL
//! ```
//!
//! [`builder::GraphBuilder`] writes it, [`view::Graph`] reads it in place, [`diff`] compares two for a switch.

pub mod builder;
pub mod diff;
pub mod key;
pub mod rebuild;
pub mod view;

/// The first bytes of the file.
pub const MAGIC: [u8; 8] = *b"FIRNGRAF";

/// The version that this module writes and the only one it reads.
pub const VERSION: u32 = 1;

/// Bytes before the unit table.
pub(crate) const HEADER_BYTES: usize = 32;

/// Words per row of the unit table.
pub(crate) const UNIT_WORDS: usize = 4;

/// What a unit is, by the suffix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum UnitKind {
    /// Processes: systemd.service(5).
    Service = 1,
    /// A milestone: systemd.target(5).
    Target = 2,
    /// A file system: systemd.mount(5).
    Mount = 3,
    /// Listening sockets that start a service: systemd.socket(5).
    Socket = 4,
    /// Times that start a unit: systemd.timer(5).
    Timer = 5,
    /// Paths whose changes start a unit: systemd.path(5).
    Path = 6,
    /// A cgroup for others: systemd.slice(5).
    Slice = 7,
    /// Swap space: systemd.swap(5).
    Swap = 8,
}

/// Every kind with the suffix of its names.
const KINDS: [(UnitKind, &str); 8] = [
    (UnitKind::Service, "service"),
    (UnitKind::Target, "target"),
    (UnitKind::Mount, "mount"),
    (UnitKind::Socket, "socket"),
    (UnitKind::Timer, "timer"),
    (UnitKind::Path, "path"),
    (UnitKind::Slice, "slice"),
    (UnitKind::Swap, "swap"),
];

impl UnitKind {
    /// The kind that a unit's name says by its suffix.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, suffix) = name.rsplit_once('.')?;
        KINDS.iter().find(|(_, text)| *text == suffix).map(|(kind, _)| *kind)
    }

    /// The kind of that number in the file.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        KINDS.iter().map(|(kind, _)| *kind).find(|kind| *kind as u32 == number)
    }

    /// The suffix of this kind's names, without the dot.
    pub fn suffix(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
    }
}

/// The checksum over all that follows the header, mixed with the header's counts: guards against damage, not against malice.
pub(crate) fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |word: u64| {
        state = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
    };
    for part in [header, body] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            mix(u64::from_le_bytes(*word));
        }
        let mut last = [0_u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        mix(u64::from_le_bytes(last));
        mix(part.len() as u64);
    }
    state
}
