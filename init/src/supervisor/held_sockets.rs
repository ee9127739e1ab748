//! Listening sockets outlive the supervisor: PID 1 holds a copy of each, under a tag that says whose it is, so that a
//! connection that waits in one is answered though the supervisor died, and nobody is refused meanwhile.

use super::{Supervisor, channel};
use crate::sorted_map::SortedMap;
use std::os::fd::{AsFd as _, OwnedFd};

/// Marks a socket's tag; below it lie the unit's index and the socket's place in the unit.
const MARK: u32 = 1 << 31;

/// The tag of a unit's socket.
const fn tag(unit: u32, place: usize) -> u32 {
    MARK | unit << 8 | (place as u32 & 0xff)
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

    /// Gives every unit the sockets that were held for it. What belongs to no unit of that many is let go.
    pub(super) fn restore_sockets(&mut self, held: SortedMap<u32, OwnedFd>) {
        // In the order of the tags: a unit's sockets in the order of its settings.
        for (tag, socket) in held {
            self.sockets.get_or_default((tag & !MARK) >> 8).push(socket);
        }
    }

    /// Has PID 1 hold a unit's sockets.
    pub(super) fn hold_sockets(&self, unit: u32) {
        for (place, socket) in self.sockets.get(&unit).into_iter().flatten().enumerate() {
            let sent =
                channel::send(self.channel.as_fd(), channel::HOLD, tag(unit, place), Some(socket.as_fd()));
            crate::best_effort::tolerate(sent);
        }
    }

    /// Has PID 1 let them go.
    pub(super) fn let_sockets_go(&self, unit: u32) {
        for place in 0..self.sockets.get(&unit).map_or(0, Vec::len) {
            let sent = channel::send(self.channel.as_fd(), channel::LET_GO, tag(unit, place), None);
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
        for (unit, place) in [(8191, 255), (0, 0), (3, 1)] {
            assert!(Supervisor::take_socket(&mut sockets, tag(unit, place), socket()).is_none());
        }
        let units: Vec<u32> = sockets.keys().map(|tag| (tag & !MARK) >> 8).collect();
        assert_eq!(units, [0, 3, 8191]);
    }
}
