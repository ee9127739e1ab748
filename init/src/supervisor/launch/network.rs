//! IPAddressAllow=, SocketBindAllow= and their kin: the programs that the graph has for a unit's cgroup are attached there.

use formats::service_graph::key::Key;
use formats::service_graph::view::Unit;
use std::io;
use std::os::fd::BorrowedFd;

/// Restricts what the unit's processes send, receive and bind to, if it says so.
pub(super) fn restrict(unit: &Unit<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    let words: Vec<u64> = unit.numbers(Key::NetworkFilter).collect();
    let mut rest = words.as_slice();
    while let [place, length, tail @ ..] = rest {
        let (program, after) = tail.split_at_checked(*length as usize).unwrap_or((tail, &[]));
        sys::cgroup_program::attach(cgroup, *place as u32, program)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot restrict the network: {error}")))?;
        rest = after;
    }
    Ok(())
}
