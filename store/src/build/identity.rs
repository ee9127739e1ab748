//! Who a builder is. For root: a user and group of its own, unused by anybody else, from a range that Nix reserves for
//! this (`auto-allocate-uids`, from 0x34000000, 65536 apart), locked in `userpool2/slot-N`. For others: the user itself.

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lock::{FileLock, Mode};
use std::fs;

const FIRST_USER: u32 = 0x3400_0000;
const DISTANCE: u32 = 0x1_0000;
const SLOTS: u32 = 128;

/// The user that a builder runs as, outside of its namespace.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
    /// Whether it is another user than we are.
    pub(super) separate: bool,
    _slot: Option<FileLock>,
}

impl Identity {
    /// Takes a free user.
    pub(super) fn take(layout: &Layout) -> Result<Self> {
        if !rustix::process::geteuid().is_root() || !is_mapped(FIRST_USER + DISTANCE * SLOTS) {
            return Ok(Self::ourselves());
        }
        let pool = layout.state.join("userpool2");
        fs::create_dir_all(&pool).map_err(Error::file("creating", &pool))?;
        for slot in 0..SLOTS {
            let lock = FileLock::open(&pool.join(format!("slot-{slot}")))?;
            if lock.try_acquire(Mode::Exclusive)? {
                let user = FIRST_USER + slot * DISTANCE;
                return Ok(Self { user, group: user, separate: true, _slot: Some(lock) });
            }
        }
        Err(Error::Invalid(format!("all {SLOTS} build users of `{}` are in use", pool.display())))
    }

    /// We ourselves.
    pub(super) fn ourselves() -> Self {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { user, group, separate: false, _slot: None }
    }
}

/// Whether the user exists in our user namespace: in a container it may not.
fn is_mapped(user: u32) -> bool {
    let text = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    text.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().filter_map(|number| number.parse::<u64>().ok());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(first), Some(_), Some(count)) => (first..first + count).contains(&u64::from(user)),
            _ => false,
        }
    })
}
