//! A unit's standard output: a pipe whose reading end PID 1 holds too. What is in it is copied out with tee(2), written to
//! the store, and only then taken: a collector that is killed in between has lost nothing, at worst the next one writes a
//! line again. A line without an end stays in the pipe for a moment, in case its end comes.

use super::announcement::Origin;
use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, tee};
use std::os::fd::{AsFd as _, OwnedFd};

/// A longer line is cut.
pub(super) const LINE_LIMIT: usize = 32 << 10;

/// So long a line without an end stays where it is: microseconds.
pub(super) const PATIENCE: u64 = 500_000;

/// One pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) origin: Origin,
    read: OwnedFd,
    /// The beginning of a line that was taken without its end.
    partial: Vec<u8>,
    /// Since when a line waits for its end in the pipe.
    pub(super) waits_since: Option<u64>,
}

/// Where tee(2) copies to.
#[derive(Debug)]
pub(super) struct Scratch {
    read: OwnedFd,
    write: OwnedFd,
}

impl Scratch {
    pub(super) fn new() -> nix::Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { read, write })
    }
}

impl Pipe {
    pub(super) fn new(origin: Origin, read: OwnedFd) -> Self {
        Self { origin, read, partial: Vec::new(), waits_since: None }
    }

    /// What to wait on.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.read
    }

    /// Copies out what is in the pipe. Whole lines go to `line`; returns how many bytes [`Self::take`] is to take once they
    /// are written. With `all`, what has no end yet counts too.
    pub(super) fn look(
        &mut self,
        scratch: &Scratch,
        now: u64,
        all: bool,
        mut line: impl FnMut(&[u8]),
    ) -> usize {
        let length =
            match tee(self.read.as_fd(), scratch.write.as_fd(), 1 << 20, SpliceFFlags::SPLICE_F_NONBLOCK) {
                Ok(0) | Err(_) => {
                    self.waits_since = None;
                    return 0;
                }
                Ok(length) => length,
            };
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match nix::unistd::read(scratch.read.as_fd(), rest) {
                Ok(count) if count > 0 => filled += count,
                Err(Errno::EINTR) => {}
                _ => break,
            }
        }
        bytes.truncate(filled);
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let take = if all || bytes.len() - end > LINE_LIMIT { bytes.len() } else { end };
        let is_left = take < bytes.len();
        self.waits_since = if is_left { self.waits_since.filter(|_| take == 0).or(Some(now)) } else { None };
        for part in bytes.get(..take).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            match part.split_last() {
                Some((b'\n', rest)) if self.partial.is_empty() => rest.chunks(LINE_LIMIT).for_each(&mut line),
                Some((b'\n', rest)) => {
                    self.partial.extend(rest);
                    std::mem::take(&mut self.partial).chunks(LINE_LIMIT).for_each(&mut line);
                }
                _ => self.partial.extend(part),
            }
        }
        if self.partial.len() > LINE_LIMIT {
            std::mem::take(&mut self.partial).chunks(LINE_LIMIT).for_each(&mut line);
        }
        take
    }

    /// Takes so many bytes out of the pipe.
    pub(super) fn take(&self, mut count: usize) {
        let mut buffer = [0; 16 << 10];
        while count > 0 {
            let share = count.min(buffer.len());
            match nix::unistd::read(self.read.as_fd(), buffer.get_mut(..share).unwrap_or_default()) {
                Ok(length) if length > 0 => count -= length.min(count),
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }

    /// What was taken without an end, when nobody can write any more.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            line(&rest);
        }
    }
}

/// The priority at a line's beginning (sd-daemon(3), `SD_ERR` and its kin), and the rest of the line.
pub(super) fn level(line: &[u8], origin: &Origin) -> (u8, usize) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', ..] if origin.level_prefix => (digit - b'0', 3),
        _ => (origin.level, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Pipe, OwnedFd) {
        let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        (Pipe::new(Origin::new("a.service"), read), write)
    }

    fn look(pipe: &mut Pipe, all: bool) -> (Vec<String>, usize) {
        let mut lines = Vec::new();
        let scratch = Scratch::new().unwrap();
        let take = pipe.look(&scratch, 1, all, |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (lines, take)
    }

    #[test]
    fn what_was_not_taken_is_found_again() {
        let (mut first, write) = pipe();
        nix::unistd::write(&write, b"one\ntwo\nthr").unwrap();
        assert_eq!(look(&mut first, false), (vec!["one".into(), "two".into()], 8));
        assert!(first.waits_since.is_some());
        // Killed before it took them: the next one sees the same.
        let mut second = Pipe::new(Origin::new("a.service"), first.read.try_clone().unwrap());
        drop(first);
        assert_eq!(look(&mut second, false).0, ["one", "two"]);
        second.take(8);
        nix::unistd::write(&write, b"ee\n").unwrap();
        assert_eq!(look(&mut second, false), (vec!["three".into()], 6));
        second.take(6);
        assert_eq!(look(&mut second, false), (vec![], 0));
        assert_eq!(second.waits_since, None);
    }

    #[test]
    fn a_line_without_an_end_is_kept_for_its_end() {
        let (mut pipe, write) = pipe();
        nix::unistd::write(&write, b"login: ").unwrap();
        let (lines, take) = look(&mut pipe, true);
        assert_eq!((lines.len(), take), (0, 7));
        pipe.take(take);
        nix::unistd::write(&write, b"root\nnext").unwrap();
        let (lines, take) = look(&mut pipe, true);
        assert_eq!(lines, ["login: root"]);
        pipe.take(take);
        let mut rest: Vec<u8> = Vec::new();
        pipe.finish(|line| rest.extend(line));
        assert_eq!(rest, b"next");
    }

    #[test]
    fn long_lines_are_cut_and_the_pipe_never_stays_full() {
        let (mut pipe, write) = pipe();
        let written = nix::unistd::write(&write, &vec![b'z'; 1 << 17]).unwrap();
        let (lines, take) = look(&mut pipe, false);
        assert_eq!(take, written);
        assert!(lines.iter().all(|line| line.len() <= LINE_LIMIT));
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), written);
    }

    #[test]
    fn levels() {
        let origin = Origin::new("a.service");
        assert_eq!(level(b"<3>bad", &origin), (3, 3));
        assert_eq!(level(b"<9>odd", &origin), (6, 0));
        assert_eq!(level(b"<3>", &Origin { level_prefix: false, ..origin }), (6, 0));
    }
}
