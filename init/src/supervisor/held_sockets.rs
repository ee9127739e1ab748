//! Listening sockets outlive the supervisor: PID 1 holds a copy of each, under a tag that says whose it is, so that a
//! connection that waits in one is answered though the supervisor died, and nobody is refused meanwhile.

use super::{Supervisor, channel};
use crate::sorted_map::SortedMap;
use std::os::fd::{AsFd as _, OwnedFd};

/// Marks a socket's tag; below it lie the bank of the memory in which the unit has its index, that index, and the socket's place in
/// the unit.
const MARK: u32 = 1 << 31;
const BANK_SHIFT: u32 = 30;

/// The tag of a unit's socket.
const fn tag(bank: u32, unit: u32, place: usize) -> u32 {
    MARK | bank << BANK_SHIFT | unit << 8 | (place as u32 & 0xff)
}

/// A tag's bank and unit.
const fn owner(tag: u32) -> (u32, u32) {
    (tag >> BANK_SHIFT & 1, (tag & ((1 << BANK_SHIFT) - 1)) >> 8)
}

impl Supervisor {
    /// Takes an inherited descriptor as a unit's socket; gives it back when it is something else.
    pub(super) fn take_socket(
        sockets: &mut SortedMap<u32, OwnedFd>,
        tag: u32,
        held: OwnedFd,
    ) -> Option<OwnedFd> {
        if tag & MARK == 0 {
            return Some(held);
        }
        sockets.insert(tag, held);
        None
    }

    /// Gives every unit the sockets that were held for it. Those of the other bank are from a switch of graphs that was not finished,
    /// or not tidied up after: each is there a second time.
    pub(super) fn restore_sockets(&mut self, held: SortedMap<u32, OwnedFd>) {
        // In the order of the tags: a unit's sockets in the order of its settings.
        for (tag, socket) in held {
            let (bank, unit) = owner(tag);
            if bank == self.memory.number() {
                self.sockets.get_or_default(unit).push(socket);
            } else {
                let sent = channel::send_surely(self.channel.as_fd(), channel::LET_GO, tag, None);
                crate::best_effort::tolerate(sent);
            }
        }
    }

    /// Has PID 1 hold a unit's sockets, as those of the unit of that index in that bank.
    pub(super) fn hold_sockets(&self, bank: u32, unit: u32) {
        for (place, socket) in self.sockets.get(&unit).into_iter().flatten().enumerate() {
            let sent = channel::send_surely(
                self.channel.as_fd(),
                channel::HOLD,
                tag(bank, unit, place),
                Some(socket.as_fd()),
            );
            crate::best_effort::tolerate(sent);
        }
    }

    /// Has PID 1 let so many of them go.
    pub(super) fn let_sockets_go(&self, bank: u32, unit: u32, count: usize) {
        for place in 0..count {
            let sent =
                channel::send_surely(self.channel.as_fd(), channel::LET_GO, tag(bank, unit, place), None);
            crate::best_effort::tolerate(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_whose_a_socket_is() {
        let socket = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut sockets = SortedMap::new();
        assert!(Supervisor::take_socket(&mut sockets, 7, socket()).is_some(), "a log's pipe");
        for (bank, unit, place) in [(0, 8191, 255), (0, 0, 0), (1, 3, 1)] {
            assert!(Supervisor::take_socket(&mut sockets, tag(bank, unit, place), socket()).is_none());
        }
        let owners: Vec<(u32, u32)> = sockets.keys().map(|tag| owner(*tag)).collect();
        assert_eq!(owners, [(0, 0), (0, 8191), (1, 3)]);
    }
}
