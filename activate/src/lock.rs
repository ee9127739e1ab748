//! One activation at a time: a lock file under /run that is held for as long as the activation runs and that the kernel
//! gives up when the process dies.

use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use std::fs::File;

const LOCK: &str = "/run/firn/activate.lock";

/// Takes the lock; it is held while the handle lives.
///
/// # Errors
/// [`Error::Busy`] when another activation runs.
pub fn take(root: &Root) -> Result<File> {
    let place = root.resolve(LOCK)?;
    if let Some(parent) = place.parent() {
        durable::make_directories(parent)?;
    }
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&place)
        .map_err(Error::file("open", &place))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy { lock: place }),
        Err(errno) => Err(Error::call("lock", &place)(errno)),
    }
}
