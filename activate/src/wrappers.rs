//! Wrappers: copies of programs with set-id bits or file capabilities in `/run/wrappers/bin`, since nothing in the store
//! may carry either. A fresh directory is filled and then takes the old one's place by moving one link, so that
//! `sudo` exists at every moment. The bits are set last, on a file whose contents are complete and that nobody else owns.

use crate::accounts::Names;
use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use crate::{capabilities, file_mode};
use formats::activation::{Activation, Wrapper};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const ATTRIBUTE: &str = "security.capability";

/// One wrapper, ready to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The file's name.
    pub program: String,
    /// What is copied.
    pub source: PathBuf,
    /// Its mode, set-id bits included.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The value of its capability attribute.
    pub capabilities: Option<[u8; 20]>,
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct WrapperPlan {
    /// All wrappers of the generation, or nothing when those that are there are right.
    pub wrappers: Option<Vec<Wanted>>,
    /// Names that come (`+`), go (`-`) or change (`~`).
    pub names: Vec<String>,
    directory: String,
}

/// Compares the wrappers that are there with those wanted.
///
/// # Errors
/// When a wrapper names a user, group, mode or capability that does not exist, or a program that cannot be one.
pub fn changes(root: &Root, activation: &Activation, names: &Names) -> Result<WrapperPlan> {
    let wanted: Vec<Wanted> =
        activation.wrappers.iter().map(|wrapper| wanted(root, wrapper, names)).collect::<Result<_>>()?;
    let bin = root.resolve(Path::new(&activation.wrapper_dir).join("bin"))?;
    let mut differing = BTreeMap::new();
    for wrapper in &wanted {
        let place = bin.join(&wrapper.program);
        if place.symlink_metadata().is_err() {
            differing.insert(wrapper.program.clone(), '+');
        } else if !is_right(root, &place, wrapper)? {
            differing.insert(wrapper.program.clone(), '~');
        }
    }
    if let Ok(entries) = std::fs::read_dir(&bin) {
        for entry in entries {
            let name = entry.map_err(Error::file("list", &bin))?.file_name().to_string_lossy().into_owned();
            if !wanted.iter().any(|wrapper| wrapper.program == name) {
                differing.insert(name, '-');
            }
        }
    }
    let names = differing.iter().map(|(name, sign)| format!("{sign}{name}")).collect();
    let wrappers = (!differing.is_empty()).then_some(wanted);
    Ok(WrapperPlan { wrappers, names, directory: activation.wrapper_dir.clone() })
}

fn wanted(root: &Root, wrapper: &Wrapper, names: &Names) -> Result<Wanted> {
    let impossible = |problem: String| Error::Configuration {
        option: format!("security.wrappers.{}", wrapper.program),
        problem,
    };
    if wrapper.program.is_empty() || wrapper.program.contains('/') || wrapper.program.starts_with('.') {
        return Err(impossible("the name must be a plain file name".to_owned()));
    }
    let uid = names
        .uid(&wrapper.owner)
        .ok_or_else(|| impossible(format!("there is no user `{}`", wrapper.owner)))?;
    let gid = names
        .gid(&wrapper.group)
        .ok_or_else(|| impossible(format!("there is no group `{}`", wrapper.group)))?;
    let mut mode = file_mode::parse(&wrapper.permissions, 0)
        .ok_or_else(|| impossible(format!("`{}` is no mode", wrapper.permissions)))?;
    let capabilities = match wrapper.capabilities.as_str() {
        "" => None,
        _ if wrapper.setuid || wrapper.setgid => {
            return Err(impossible("set-id bits and capabilities exclude each other".to_owned()));
        }
        text => Some(capabilities::attribute(text).map_err(impossible)?),
    };
    mode |= if wrapper.setuid { 0o4000 } else { 0 } | if wrapper.setgid { 0o2000 } else { 0 };
    let source = root.resolve(&wrapper.source)?;
    check_program(&source).map_err(impossible)?;
    Ok(Wanted { program: wrapper.program.clone(), source, mode, uid, gid, capabilities })
}

/// The kernel ignores set-id bits on scripts, so only an ELF program makes sense.
fn check_program(source: &Path) -> std::result::Result<(), String> {
    use std::io::Read as _;
    let mut head = [0; 4];
    let read = std::fs::File::open(source).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) if head == *b"\x7fELF" => Ok(()),
        Ok(()) => {
            Err(format!("{} is no ELF program; the kernel ignores set-id bits on scripts", source.display()))
        }
        Err(error) => Err(format!("cannot read {}: {error}", source.display())),
    }
}

fn is_right(root: &Root, place: &Path, wanted: &Wanted) -> Result<bool> {
    let Ok(found) = place.symlink_metadata() else { return Ok(false) };
    let source = wanted.source.metadata().map_err(Error::file("look at", &wanted.source))?;
    let owner_right = !root.sets_owners() || (found.uid(), found.gid()) == (wanted.uid, wanted.gid);
    if !found.is_file() || found.mode() & 0o7777 != wanted.mode || found.len() != source.len() || !owner_right
    {
        return Ok(false);
    }
    let mut value = [0; 64];
    let attribute = match rustix::fs::getxattr(place, ATTRIBUTE, &mut value) {
        Ok(length) => value.get(..length).map(<[u8]>::to_vec),
        Err(_) => None,
    };
    if root.sets_owners() && attribute.as_deref() != wanted.capabilities.as_ref().map(<[u8; 20]>::as_slice) {
        return Ok(false);
    }
    let there = std::fs::read(place).map_err(Error::file("read", place))?;
    Ok(there == std::fs::read(&wanted.source).map_err(Error::file("read", &wanted.source))?)
}

/// Makes the wrappers.
///
/// # Errors
/// With the step that failed; the old wrappers are then still in place.
pub fn apply(root: &Root, plan: &WrapperPlan) -> Result<()> {
    let Some(wrappers) = &plan.wrappers else { return Ok(()) };
    let base = root.resolve(&plan.directory)?;
    durable::make_directories(&base)?;
    if root.is_running_system() {
        allow_set_id(&base)?;
    }
    let link = base.join("bin");
    let before = std::fs::read_link(&link).ok();
    let fresh = ["wrappers.0", "wrappers.1"]
        .into_iter()
        .find(|name| before.as_deref().and_then(Path::file_name) != Some((*name).as_ref()))
        .unwrap_or("wrappers.0");
    let directory = base.join(fresh);
    crate::etc::remove_tree_if_there(&directory)?;
    std::fs::create_dir(&directory).map_err(Error::file("make the directory", &directory))?;
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))
        .map_err(Error::file("set the mode of", &directory))?;
    for wrapper in wrappers {
        make(root, &directory, wrapper)?;
    }
    if before.is_none() {
        crate::etc::remove_tree_if_there(&link)?;
    }
    durable::link(&root.inside(&directory), &link)?;
    if let Some(name) = before.as_deref().and_then(Path::file_name).filter(|name| *name != fresh) {
        crate::etc::remove_tree_if_there(&base.join(name))?;
    }
    Ok(())
}

fn make(root: &Root, directory: &Path, wrapper: &Wanted) -> Result<()> {
    let place = directory.join(&wrapper.program);
    let mut source = std::fs::File::open(&wrapper.source).map_err(Error::file("open", &wrapper.source))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&place)
        .map_err(Error::file("create", &place))?;
    std::io::copy(&mut source, &mut file).map_err(Error::file("write", &place))?;
    if root.sets_owners() {
        // Changing the owner clears set-id bits and capabilities, so it comes before both.
        std::os::unix::fs::fchown(&file, Some(wrapper.uid), Some(wrapper.gid))
            .map_err(Error::file("set the owner of", &place))?;
        if let Some(value) = &wrapper.capabilities {
            rustix::fs::fsetxattr(&file, ATTRIBUTE, value, rustix::fs::XattrFlags::empty())
                .map_err(Error::call("set the capabilities of", &place))?;
        }
    }
    file.set_permissions(std::fs::Permissions::from_mode(wrapper.mode))
        .map_err(Error::file("set the mode of", &place))
}

/// /run is mounted nosuid; the wrappers get a small file system of their own where the bits count.
fn allow_set_id(base: &Path) -> Result<()> {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    use rustix::mount::{MountFlags, mount};
    let found = statvfs(base).map_err(Error::call("look at the file system of", base))?;
    if !found.f_flag.contains(StatVfsMountFlags::NOSUID) {
        return Ok(());
    }
    mount("wrappers", base, "tmpfs", MountFlags::NODEV, c"mode=755,size=50%")
        .map_err(Error::call("mount a file system on", base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::plan::Accounts;

    fn activation(json: &str) -> Activation {
        let mut activation = Activation::empty();
        activation.wrappers = serde_json::from_str(json).unwrap();
        activation
    }

    #[test]
    fn wrappers_are_made_once_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        std::fs::create_dir_all(root.join("/s")).unwrap();
        std::fs::write(root.join("/s/ping"), b"\x7fELF ping").unwrap();
        std::fs::write(root.join("/s/su"), b"\x7fELF su").unwrap();
        let names = Names::of(&Accounts::default());
        let both = activation(
            r#"[{"program":"su","source":"/s/su","setuid":true},
                {"program":"ping","source":"/s/ping","capabilities":"cap_net_raw+ep","permissions":"0755"}]"#,
        );
        let plan = changes(&root, &both, &names).unwrap();
        assert_eq!(plan.names, ["+ping", "+su"]);
        apply(&root, &plan).unwrap();
        let su = root.resolve("/run/wrappers/bin/su").unwrap();
        assert_eq!(su.metadata().unwrap().mode() & 0o7777, 0o4511);
        if root.sets_owners() {
            let mut value = [0; 32];
            let ping = root.resolve("/run/wrappers/bin/ping").unwrap();
            assert_eq!(rustix::fs::getxattr(&ping, ATTRIBUTE, &mut value), Ok(20));
        }
        assert!(changes(&root, &both, &names).unwrap().wrappers.is_none(), "a second run changes nothing");

        std::fs::write(root.join("/s/su"), b"\x7fELF SU").unwrap();
        let one = activation(r#"[{"program":"su","source":"/s/su","setuid":true}]"#);
        let plan = changes(&root, &one, &names).unwrap();
        assert_eq!(plan.names, ["-ping", "~su"]);
        apply(&root, &plan).unwrap();
        assert_eq!(std::fs::read(root.resolve("/run/wrappers/bin/su").unwrap()).unwrap(), b"\x7fELF SU");
        assert_eq!(
            std::fs::read_dir(root.join("/run/wrappers")).unwrap().count(),
            2,
            "the old directory is gone"
        );
    }

    #[test]
    fn impossible_wrappers_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        std::fs::write(root.join("/script"), "#!/bin/sh").unwrap();
        std::fs::write(root.join("/elf"), b"\x7fELF").unwrap();
        let names = Names::of(&Accounts::default());
        for (json, expected) in [
            (r#"[{"program":"x","source":"/script","setuid":true}]"#, "no ELF program"),
            (r#"[{"program":"x","source":"/nothing"}]"#, "cannot read"),
            (r#"[{"program":"x","source":"/elf","owner":"nobody"}]"#, "no user `nobody`"),
            (r#"[{"program":"x","source":"/elf","permissions":"rwx"}]"#, "no mode"),
            (r#"[{"program":"../x","source":"/elf"}]"#, "plain file name"),
            (r#"[{"program":"x","source":"/elf","setuid":true,"capabilities":"cap_kill+ep"}]"#, "exclude"),
        ] {
            let error = changes(&root, &activation(json), &names).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("security.wrappers."), "{error}");
        }
    }
}
