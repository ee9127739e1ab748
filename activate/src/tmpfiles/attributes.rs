//! Owner, mode, access lists, extended attributes and flags of what is there: lines of the kinds `z Z a A t T h H`, and what
//! every line that makes something sets.

use super::Run;
use super::rule::{self, Mode, OwnerField, Rule};
use crate::error::{Error, Result};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

impl Run<'_> {
    /// `a`: the access control list, of a directory also what files made there get.
    pub(super) fn access_list(&mut self, rule: &Rule, place: &Path) -> Result<()> {
        use super::access_list::{ACCESS, DEFAULT, Wish, decode, encode};
        let wrong = |problem: String| Error::Rule { line: rule.line.clone(), problem };
        let wish = Wish::parse(
            rule.argument.as_deref().unwrap_or_default(),
            |name| self.names.uid(name),
            |name| self.names.gid(name),
        )
        .map_err(wrong)?;
        let found = place.symlink_metadata().map_err(Error::file("look at", place))?;
        if found.is_symlink() {
            return Ok(());
        }
        let there = |name: &str| decode(&attribute(place, name).unwrap_or_default());
        let mode = found.mode();
        let access = wish.access(&there(ACCESS), mode, found.is_dir(), rule.plus);
        let default = wish.inherited(&there(DEFAULT), mode, rule.plus).filter(|_| found.is_dir());
        let mut changed = false;
        for (name, list) in [(ACCESS, access), (DEFAULT, default)] {
            if let Some(list) = list {
                changed |= set_attribute(place, name, &encode(&list))?;
            }
        }
        if changed {
            self.changed.push(format!("set {}", self.root.inside(place).display()));
        }
        Ok(())
    }

    /// `t`: extended attributes, `NAME=VALUE` separated by blanks, values perhaps in quotes.
    pub(super) fn extended_attributes(&mut self, rule: &Rule, place: &Path) -> Result<()> {
        if place.symlink_metadata().map_err(Error::file("look at", place))?.is_symlink() {
            return Ok(());
        }
        let mut changed = false;
        for word in rule::words(rule.argument.as_deref().unwrap_or_default())
            .map_err(|problem| Error::Rule { line: rule.line.clone(), problem })?
        {
            let (name, value) =
                word.split_once('=').filter(|(name, _)| name.contains('.')).ok_or_else(|| Error::Rule {
                    line: rule.line.clone(),
                    problem: format!("`{word}` is not user.NAME=VALUE"),
                })?;
            changed |= set_attribute(place, name, value.as_bytes())?;
        }
        if changed {
            self.changed.push(format!("set {}", self.root.inside(place).display()));
        }
        Ok(())
    }

    pub(super) fn set_tree(&mut self, rule: &Rule, place: &Path) -> Result<()> {
        self.set(rule, place, false, 0)?;
        if !place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        for entry in std::fs::read_dir(place).map_err(Error::file("list", place))? {
            self.set_tree(rule, &entry.map_err(Error::file("list", place))?.path())?;
        }
        Ok(())
    }

    /// Sets mode and owner as far as the line names them. `default_mode` counts for new things when it is not 0.
    pub(super) fn set(&mut self, rule: &Rule, place: &Path, new: bool, default_mode: u32) -> Result<()> {
        use rustix::fs::{AtFlags, Gid, Mode as Bits, OFlags, Uid, open};
        let handle = open(place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Bits::empty())
            .map_err(Error::call("open", place))?;
        let through = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle)));
        let found = place.symlink_metadata().map_err(Error::file("look at", place))?;
        if found.is_symlink() {
            return Ok(());
        }
        let uid = owner_id(rule, &rule.user, new, found.uid(), |name| self.names.uid(name))?;
        let gid = owner_id(rule, &rule.group, new, found.gid(), |name| self.names.gid(name))?;
        let (uid, gid) = if new { (uid.or(Some(0)), gid.or(Some(0))) } else { (uid, gid) };
        let wanted_owner = (uid.unwrap_or(found.uid()), gid.unwrap_or(found.gid()));
        let mode = wanted_mode(rule.mode, &found, new, default_mode);
        let owner_differs = self.root.sets_owners() && wanted_owner != (found.uid(), found.gid());
        let mode_differs = mode.is_some_and(|mode| mode != found.mode() & 0o7777);
        if (owner_differs || mode_differs) && found.is_file() && found.nlink() > 1 && found.uid() != 0 {
            return Err(Error::Rule {
                line: rule.line.clone(),
                problem: format!("{} has several names (hard links) and is left alone", place.display()),
            });
        }
        if owner_differs {
            let (uid, gid) = (Uid::from_raw(wanted_owner.0), Gid::from_raw(wanted_owner.1));
            rustix::fs::chownat(&handle, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .map_err(Error::call("set the owner of", place))?;
        }
        // A change of owner may clear bits of the mode.
        if let Some(mode) = mode.filter(|_| mode_differs || owner_differs) {
            std::fs::set_permissions(&through, std::fs::Permissions::from_mode(mode))
                .map_err(Error::file("set the mode of", place))?;
        }
        if (owner_differs || mode_differs) && !new {
            self.changed.push(format!("set {}", self.root.inside(place).display()));
        }
        Ok(())
    }

    /// chattr(1)'s letters, as far as the file system has them.
    pub(super) fn attributes(&mut self, rule: &Rule, place: &Path) -> Result<()> {
        use rustix::fs::IFlags;
        let text = rule.argument.as_deref().unwrap_or_default();
        let (operator, letters) = match text.chars().next() {
            Some(operator @ ('+' | '-' | '=')) => (operator, &text[1..]),
            _ => ('+', text),
        };
        let mut flags = IFlags::empty();
        for letter in letters.chars() {
            flags |= match letter {
                'a' => IFlags::APPEND,
                'c' => IFlags::COMPRESSED,
                'd' => IFlags::NODUMP,
                'i' => IFlags::IMMUTABLE,
                'A' => IFlags::NOATIME,
                'C' => IFlags::NOCOW,
                'D' => IFlags::DIRSYNC,
                'S' => IFlags::SYNC,
                'T' => IFlags::TOPDIR,
                other => {
                    let problem = format!("`{other}` is no attribute, see chattr(1)");
                    return Err(Error::Rule { line: rule.line.clone(), problem });
                }
            };
        }
        let file = std::fs::File::open(place).map_err(Error::file("open", place))?;
        let before =
            rustix::fs::ioctl_getflags(&file).map_err(Error::call("read the attributes of", place))?;
        let after = match operator {
            '-' => before - flags,
            '=' => flags,
            _ => before | flags,
        };
        if after != before {
            rustix::fs::ioctl_setflags(&file, after).map_err(Error::call("set the attributes of", place))?;
            self.changed.push(format!("set {}", rule.path));
        }
        Ok(())
    }
}

/// An extended attribute of what is no link.
pub(super) fn attribute(place: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 << 10];
    let length = rustix::fs::lgetxattr(place, name, &mut bytes[..]).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Sets one; false when it is so already.
pub(super) fn set_attribute(place: &Path, name: &str, value: &[u8]) -> Result<bool> {
    if attribute(place, name).as_deref() == Some(value) {
        return Ok(false);
    }
    rustix::fs::lsetxattr(place, name, value, rustix::fs::XattrFlags::empty())
        .map_err(Error::call("set an extended attribute of", place))?;
    Ok(true)
}

/// The id that an owner's field names; nothing: the line names none.
pub(super) fn owner_id(
    rule: &Rule,
    field: &OwnerField,
    new: bool,
    present: u32,
    find: impl Fn(&str) -> Option<u32>,
) -> Result<Option<u32>> {
    let Some(name) = &field.name else { return Ok(None) };
    if field.only_new && !new {
        return Ok(Some(present));
    }
    find(name).map(Some).ok_or_else(|| Error::Rule {
        line: rule.line.clone(),
        problem: format!("there is no user or group `{name}`"),
    })
}

/// The mode that the line wants. A masked one gives up what the existing file lacks: x without x, write and set-id bits
/// on what nobody may write, as tmpfiles.d(5) describes `~`.
pub(super) fn wanted_mode(mode: Mode, found: &std::fs::Metadata, new: bool, default: u32) -> Option<u32> {
    if new && mode.bits.is_none() {
        return (default != 0).then_some(default);
    }
    let mut bits = mode.bits?;
    if mode.only_new && !new {
        return None;
    }
    if mode.masked {
        for mask in [0o111, 0o222, 0o444] {
            if found.mode() & mask == 0 {
                bits &= !mask;
            }
        }
        if !found.is_dir() {
            bits &= !0o7000;
        }
    }
    Some(bits)
}
