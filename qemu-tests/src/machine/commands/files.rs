//! Files, ports, mounts and clocks of the guest.

use std::time::Duration;

use super::Machine;
use crate::error::{Error, Result};
use crate::protocol::{FileStatus, PathCondition, Reply, Request};

/// A line of the guest's `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub target: String,
    /// The kind of file system.
    pub kind: String,
    /// The device or other source.
    pub source: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
}

impl Machine {
    /// The bytes of a file.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let description = format!("read {path}");
        let mut bytes = Vec::new();
        let mut pending = self.ask(&description, &Request::ReadFile(path.into()))?;
        self.answer(&description, &mut pending, &mut bytes)?;
        Ok(bytes)
    }

    /// The text of a file.
    pub fn read_text(&self, path: &str) -> Result<String> {
        self.read_file(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts a file in place, complete or not at all.
    pub fn write_file(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let description = format!("write {path}");
        let mut pending = self.ask(&description, &Request::WriteFile { path: path.into(), mode })?;
        self.send_data(&description, &pending, bytes.as_ref())?;
        self.answer(&description, &mut pending, &mut Vec::new()).map(drop)
    }

    /// What a path is, links not followed; `None` when nothing is there.
    pub fn status(&self, path: &str) -> Result<Option<FileStatus>> {
        let description = format!("stat {path}");
        let mut pending = self.ask(&description, &Request::Status(path.into()))?;
        match self.answer(&description, &mut pending, &mut Vec::new()) {
            Ok(Reply::Status(status)) => Ok(Some(status)),
            Err(Error::Agent { errno: nix::libc::ENOENT | nix::libc::ENOTDIR, .. }) => Ok(None),
            Ok(other) => Err(self.wrong(format!("{description} was answered with {other:?}"))),
            Err(error) => Err(error),
        }
    }

    /// Where a symbolic link points.
    pub fn link_target(&self, path: &str) -> Result<String> {
        let status = self.status(path)?.filter(|status| !status.target.is_empty());
        let target = status.map(|status| String::from_utf8_lossy(&status.target).into_owned());
        target.ok_or_else(|| self.wrong(format!("{path} is no symbolic link")))
    }

    /// The names in a directory, sorted.
    pub fn list_directory(&self, path: &str) -> Result<Vec<String>> {
        let description = format!("list {path}");
        let mut pending = self.ask(&description, &Request::List(path.into()))?;
        match self.answer(&description, &mut pending, &mut Vec::new())? {
            Reply::Names(names) => {
                Ok(names.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect())
            }
            other => Err(self.wrong(format!("{description} was answered with {other:?}"))),
        }
    }

    /// Waits until something is at a path.
    pub fn wait_for_file(&self, path: &str) -> Result<()> {
        let condition = PathCondition::Exists;
        self.finish(&format!("{path} to appear"), &Request::WaitPath { path: path.into(), condition })
    }

    /// Waits until nothing is at a path.
    pub fn wait_for_no_file(&self, path: &str) -> Result<()> {
        let condition = PathCondition::Absent;
        self.finish(&format!("{path} to vanish"), &Request::WaitPath { path: path.into(), condition })
    }

    /// Waits until a file contains this.
    pub fn wait_for_file_text(&self, path: &str, text: &str) -> Result<()> {
        let condition = PathCondition::Contains(text.into());
        self.finish(
            &format!("{path} to contain {text:?}"),
            &Request::WaitPath { path: path.into(), condition },
        )
    }

    /// Waits until somebody listens on a TCP port in the guest.
    pub fn wait_for_port(&self, port: u16) -> Result<()> {
        self.finish(&format!("port {port} to be listened on"), &Request::WaitPort { port, open: true })
    }

    /// Waits until nobody listens on a TCP port in the guest.
    pub fn wait_for_closed_port(&self, port: u16) -> Result<()> {
        self.finish(&format!("port {port} to be closed"), &Request::WaitPort { port, open: false })
    }

    /// How long the guest's kernel has been running.
    pub fn uptime(&self) -> Result<Duration> {
        self.clock().map(|(_, uptime)| uptime)
    }

    /// The guest's time since 1970.
    pub fn time(&self) -> Result<Duration> {
        self.clock().map(|(time, _)| time)
    }

    fn clock(&self) -> Result<(Duration, Duration)> {
        let mut pending = self.ask("the clocks", &Request::Clock)?;
        match self.answer("the clocks", &mut pending, &mut Vec::new())? {
            Reply::Clock { realtime, monotonic } => {
                Ok((Duration::from_nanos(realtime), Duration::from_nanos(monotonic)))
            }
            other => Err(self.wrong(format!("the clocks were answered with {other:?}"))),
        }
    }

    /// What is mounted, in order.
    pub fn mounts(&self) -> Result<Vec<Mount>> {
        Ok(parse_mounts(&self.read_text("/proc/self/mountinfo")?))
    }
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let mut right = right.split(' ');
        let (kind, source) = (right.next()?, right.next()?);
        let options = left.get(5)?.split(',').chain(right.next().unwrap_or_default().split(','));
        Some(Mount {
            target: unescape(left.get(4)?),
            kind: kind.to_owned(),
            source: unescape(source),
            options: options.filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The kernel writes blank, tab, newline and backslash in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let text = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda2 rw,discard\n\
                    23 22 0:21 / /a\\040b ro,nosuid - tmpfs tmp ro\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts[0].target, "/");
        assert_eq!(mounts[0].options, ["rw", "relatime", "rw", "discard"]);
        assert_eq!((mounts[1].target.as_str(), mounts[1].kind.as_str()), ("/a b", "tmpfs"));
    }
}
