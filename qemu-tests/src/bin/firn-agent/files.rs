//! Files in the guest: read, written complete or not at all, looked at.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use qemu_tests::protocol::message::CHUNK;
use qemu_tests::protocol::{FileKind, FileStatus, Reply};

use crate::port::Port;
use crate::session::{Task, failed, failed_io};

/// Sends the file piece by piece; works for files without a size (/proc).
pub(crate) fn read(port: &Port, task: &Task, path: &[u8]) -> Result<Reply, Reply> {
    let path = Path::new(OsStr::from_bytes(path));
    let mut file = File::open(path).map_err(|e| failed_io("cannot open", path, &e))?;
    let mut buffer = vec![0; CHUNK];
    while !task.cancelled.load(Ordering::SeqCst) {
        match file.read(&mut buffer).map_err(|e| failed_io("cannot read", path, &e))? {
            0 => break,
            length => {
                port.send(task.request, &Reply::Data(buffer.get(..length).unwrap_or_default().to_vec()));
            }
        }
    }
    Ok(Reply::Done)
}

/// Writes what the driver sends to a file beside the path, then renames it there.
pub(crate) fn write(task: &Task, path: &[u8], mode: u32) -> Result<Reply, Reply> {
    let path = Path::new(OsStr::from_bytes(path));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".firn-agent-{}", task.request));
    let beside = path.with_file_name(name);
    let result = fill(task, &beside, mode)
        .and_then(|()| fs::rename(&beside, path).map_err(|e| failed_io("cannot rename to", path, &e)));
    if result.is_err() {
        // It may never have come to be.
        drop(fs::remove_file(&beside));
    }
    result.map(|()| Reply::Done)
}

fn fill(task: &Task, path: &PathBuf, mode: u32) -> Result<(), Reply> {
    let complain = |e: std::io::Error| failed_io("cannot write", path, &e);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path).map_err(complain)?;
    // Whatever the umask took away.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(complain)?;
    loop {
        match task.input.recv() {
            Ok(Some(bytes)) => file.write_all(&bytes).map_err(complain)?,
            Ok(None) => return file.flush().map_err(complain),
            Err(_) => return Err(failed(0, format!("writing {} was given up", path.display()))),
        }
    }
}

/// `lstat`, and where a link points.
pub(crate) fn status(path: &[u8]) -> Result<Reply, Reply> {
    let path = Path::new(OsStr::from_bytes(path));
    let metadata = fs::symlink_metadata(path).map_err(|e| failed_io("cannot stat", path, &e))?;
    let kind = metadata.file_type();
    let kinds = [
        (kind.is_dir(), FileKind::Directory),
        (kind.is_symlink(), FileKind::Symlink),
        (kind.is_block_device(), FileKind::BlockDevice),
        (kind.is_char_device(), FileKind::CharDevice),
        (kind.is_fifo(), FileKind::Fifo),
        (kind.is_socket(), FileKind::Socket),
    ];
    let target = if kind.is_symlink() {
        fs::read_link(path)
            .map_err(|e| failed_io("cannot read the link", path, &e))?
            .into_os_string()
            .into_vec()
    } else {
        Vec::new()
    };
    Ok(Reply::Status(FileStatus {
        kind: kinds.into_iter().find(|(is, _)| *is).map_or(FileKind::File, |(_, kind)| kind),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.size(),
        inode: metadata.ino(),
        modified: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        target,
    }))
}

/// The names in a directory, sorted.
pub(crate) fn list(path: &[u8]) -> Result<Reply, Reply> {
    let path = Path::new(OsStr::from_bytes(path));
    let complain = |e: std::io::Error| failed_io("cannot list", path, &e);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(complain)? {
        names.push(entry.map_err(complain)?.file_name().into_vec());
    }
    names.sort();
    Ok(Reply::Names(names))
}
