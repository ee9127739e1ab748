//! Block devices: having the kernel read a partition table again (linux/fs.h).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `_IO(0x12, 95)`
const BLKRRPART: libc::c_ulong = 0x125f;

/// Has the kernel forget the disk's partitions and read its table. Fails with `EBUSY` while one of them is in use.
pub fn read_partition_table(disk: &File) -> io::Result<()> {
    // SAFETY: an ioctl without memory argument on an open descriptor.
    let result = unsafe { libc::ioctl(disk.as_raw_fd(), BLKRRPART) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
