//! A block device that remembers every write and every flush, in the order in which the kernel asked for them: a file of
//! a FUSE file system of our own (Linux, include/uapi/linux/fuse.h, protocol 7.31), made a block device by a loop device
//! with direct I/O. What a power cut could have left is then any prefix, or the flushed prefix and any subset of the rest.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the kernel asked of the disk.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// These bytes at this offset.
    Write(u64, Vec<u8>),
    /// Everything before must last.
    Flush,
}

/// All operations so far.
pub(crate) type Log = Arc<Mutex<Vec<Operation>>>;

/// The device, mounted.
pub(crate) struct LoggedDisk {
    pub(crate) mount_point: PathBuf,
    pub(crate) log: Log,
    file: PathBuf,
    loop_device: String,
    server: Option<JoinHandle<()>>,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Whether this machine lets us do that: root, FUSE, loop devices, the file system's tools.
pub(crate) fn possible(file_system: &str) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this needs root, to mount".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Err(format!("there is no {device}"));
        }
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.trim() == file_system) {
        return Err(format!("this kernel has no {file_system}"));
    }
    if !Command::new("losetup").arg("-f").output().is_ok_and(|found| found.status.success()) {
        return Err("loop devices cannot be had (losetup -f)".to_owned());
    }
    match Command::new(format!("mkfs.{file_system}")).arg("-V").output() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("mkfs.{file_system}: {error}")),
    }
}

/// Mounts a file with a file system through a loop device; gives the device.
pub(crate) fn mount(file: &Path, mount_point: &Path, direct: bool) -> Result<String, String> {
    let direct = format!("--direct-io={}", if direct { "on" } else { "off" });
    let device = run("losetup", &[&direct, "-f", "--show", file.to_str().unwrap()]);
    let kind = run("blkid", &["-p", "-o", "value", "-s", "TYPE", &device]);
    // The copies of a file system all have its name.
    let options = if kind == "xfs" { "nouuid" } else { "defaults" };
    let mounted = Command::new("mount").args(["-o", options]).arg(&device).arg(mount_point).output().unwrap();
    if mounted.status.success() {
        return Ok(device);
    }
    run("losetup", &["-d", &device]);
    Err(String::from_utf8_lossy(&mounted.stderr).into_owned())
}

/// Undoes it.
pub(crate) fn unmount(mount_point: &Path, device: &str) {
    run("umount", &[mount_point.to_str().unwrap()]);
    run("losetup", &["-d", device]);
}

impl LoggedDisk {
    /// Serves a raw image and mounts what is in it.
    pub(crate) fn start(image: &Path, directory: &Path) -> Self {
        let (file, mount_point) = (directory.join("device"), directory.join("mounted"));
        File::create(&file).unwrap();
        std::fs::create_dir_all(&mount_point).unwrap();
        let connection = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options =
            format!("fd={},rootmode=100000,user_id=0,group_id=0,max_read=1048576", connection.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(
            "firn-log",
            &file,
            "fuse",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        let log = Log::default();
        let backing = File::options().read(true).write(true).open(image).unwrap();
        let server = {
            let log = Arc::clone(&log);
            std::thread::spawn(move || serve(connection, &backing, &log))
        };
        let loop_device = mount(&file, &mount_point, true).unwrap();
        Self { mount_point, log, file, loop_device, server: Some(server) }
    }

    /// Unmounts everything.
    pub(crate) fn stop(mut self) {
        unmount(&self.mount_point, &self.loop_device);
        // The loop device lets go of the file when the last who looks at it does: another program may scan devices.
        let unmounted = (0..600).any(|_| {
            let done = Command::new("umount").arg(&self.file).output().unwrap().status.success();
            if !done {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            done
        });
        assert!(unmounted, "{} stays in use: see losetup -a", self.file.display());
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const FORGET: u32 = 2;
/// The largest write that we take at a time.
const MAX_WRITE: u32 = 1 << 20;

/// Answers the kernel until the file system is unmounted.
fn serve(mut connection: File, backing: &File, log: &Log) {
    let size = backing.metadata().unwrap().len();
    let mut request = vec![0; MAX_WRITE as usize + 4096];
    loop {
        let length = match connection.read(&mut request) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(2) || error.raw_os_error() == Some(4) => continue,
            Err(_) => return, // ENODEV: unmounted
        };
        let u32_at = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        let (operation, unique) = (u32_at(4), u64_at(8));
        // Arguments begin behind the header of 40 bytes.
        let answer: Result<Vec<u8>, i32> = match operation {
            INIT => Ok(init(u32_at(48))),
            GETATTR | SETATTR => Ok(attributes(size)),
            OPEN => Ok([0u64.to_le_bytes(), 1u64.to_le_bytes()].concat()), // FOPEN_DIRECT_IO
            READ => {
                let (offset, wanted) = (u64_at(48), u32_at(56) as usize);
                let wanted = wanted.min(size.saturating_sub(offset) as usize);
                let mut data = vec![0; wanted];
                backing.read_exact_at(&mut data, offset).unwrap();
                Ok(data)
            }
            WRITE => {
                let (offset, count) = (u64_at(48), u32_at(56) as usize);
                let data = request[80..80 + count].to_vec();
                assert!(length >= 80 + count);
                backing.write_all_at(&data, offset).unwrap();
                log.lock().unwrap().push(Operation::Write(offset, data));
                Ok([(count as u32).to_le_bytes(), [0; 4]].concat())
            }
            FSYNC => {
                log.lock().unwrap().push(Operation::Flush);
                Ok(Vec::new())
            }
            FLUSH | RELEASE => Ok(Vec::new()),
            STATFS => Ok(vec![0; 80]),
            FORGET | INTERRUPT => continue,
            DESTROY => return,
            _ => Err(38), // ENOSYS: the kernel does without
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = ((16 + body.len()) as u32).to_le_bytes().to_vec();
        reply.extend(error.to_le_bytes());
        reply.extend(unique.to_le_bytes());
        reply.extend(body);
        if connection.write_all(&reply).is_err() {
            return;
        }
    }
}

/// The answer to the greeting: our version, big writes, reads side by side.
fn init(readahead: u32) -> Vec<u8> {
    const ASYNC_READ: u32 = 1;
    const BIG_WRITES: u32 = 1 << 5;
    const MAX_PAGES: u32 = 1 << 22;
    let mut body = Vec::new();
    for word in [7u32, 31, readahead, ASYNC_READ | BIG_WRITES | MAX_PAGES] {
        body.extend(word.to_le_bytes());
    }
    body.extend([16u16, 12].map(u16::to_le_bytes).concat());
    body.extend(MAX_WRITE.to_le_bytes());
    body.extend(1u32.to_le_bytes()); // time granularity
    body.extend(256u16.to_le_bytes()); // pages of a request
    body.resize(64, 0);
    body
}

/// `struct fuse_attr_out` of the one file.
fn attributes(size: u64) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(3600u64.to_le_bytes()); // valid for
    body.extend(0u64.to_le_bytes());
    for word in [1, size, size / 512, 0, 0, 0] {
        body.extend(u64::to_le_bytes(word)); // inode, size, blocks, times
    }
    for word in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 512, 0] {
        body.extend(u32::to_le_bytes(word)); // nanoseconds, mode, links, owner, device, block size, flags
    }
    body
}
