//! A system that was built: its toplevel in the store, what belongs to it, and its files as the host sees them. The store may lie
//! below another directory than `/`, so links of the store are followed below that.

use crate::build::Builder;
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Arg, ArgMatches};
use formats::store_path::StorePath;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use store::Store;

/// A toplevel in a store.
#[derive(Debug)]
pub(crate) struct System {
    store: Rc<Store>,
    /// `/nix/store/…-system`.
    toplevel: String,
    root: PathBuf,
}

/// The arguments that say which system is meant and how it is built.
pub(crate) fn arguments() -> Vec<Arg> {
    let mut arguments = vec![
        Arg::new("configuration")
            .value_name("CONFIGURATION")
            .help("The configuration.nix, or a directory with one [default: $NIXOS_CONFIG, /etc/nixos/flake.nix, /etc/nixos/configuration.nix]"),
        Arg::new("toplevel")
            .long("toplevel")
            .value_name("PATH")
            .conflicts_with("configuration")
            .help("A system that is built already, in place of a configuration: /nix/store/…"),
    ];
    arguments.extend(crate::build::build_arguments());
    arguments
}

impl System {
    /// The system that the arguments mean, built if need be.
    pub(crate) fn from_arguments(matches: &ArgMatches) -> Result<Self> {
        let builder = Builder::new(Some(matches))?;
        let toplevel = if let Some(path) = matches.get_one::<String>("toplevel") {
            given_toplevel(&Settings::current()?.store_root, Path::new(path))?
        } else {
            let path = builder.system_attribute(configuration(matches), "config.system.build.toplevel")?;
            builder.store.dir().print(&path)
        };
        Self::new(&builder, toplevel)
    }

    /// The same for a virtual machine: the variant of the configuration that `virtualisation.*` describes, and what that says about the
    /// machine. `attribute` is `config.system.build.vm`, or `vmWithBootLoader` beside it. A given toplevel is taken as it is
    /// and says nothing.
    pub(crate) fn machine_from_arguments(
        matches: &ArgMatches,
        attribute: &str,
    ) -> Result<(Self, Option<serde_json::Value>)> {
        if matches.contains_id("toplevel") {
            return Ok((Self::from_arguments(matches)?, None));
        }
        let builder = Builder::new(Some(matches))?;
        let machine = builder.system_json(configuration(matches), attribute)?;
        let toplevel = machine.get("toplevel").and_then(serde_json::Value::as_str);
        let toplevel = toplevel.with_context(|| format!("{attribute} has no `toplevel`"))?.to_owned();
        Ok((Self::new(&builder, toplevel)?, Some(machine)))
    }

    /// A system that a builder has made.
    pub(crate) fn built(builder: &Builder, toplevel: &StorePath) -> Result<Self> {
        Self::new(builder, builder.store.dir().print(toplevel))
    }

    /// One that was there: a store path, or a link to one.
    pub(crate) fn given(builder: &Builder, path: &Path) -> Result<Self> {
        Self::new(builder, given_toplevel(&Settings::current()?.store_root, path)?)
    }

    fn new(builder: &Builder, toplevel: String) -> Result<Self> {
        let root = Settings::current()?.store_root.clone();
        Ok(Self { store: Rc::clone(&builder.store), toplevel, root })
    }

    /// `/nix/store/…-system`.
    pub(crate) fn toplevel(&self) -> &str {
        &self.toplevel
    }

    /// The directory below which `/nix/store` lies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The toplevel's path in the store's own terms.
    pub(crate) fn store_path(&self) -> Result<StorePath> {
        let name = self.toplevel.rsplit('/').next().unwrap_or_default();
        StorePath::from_base_name(name).with_context(|| format!("{} is not a store path", self.toplevel))
    }

    /// Every store path that the system needs, `/nix/store/…`, sorted.
    pub(crate) fn closure(&self) -> Result<Vec<String>> {
        let closure = self.store.closure([self.store_path()?])?;
        Ok(closure.iter().map(|path| self.store.dir().print(path)).collect())
    }

    /// Where a file of the toplevel really is on the host.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf> {
        self.follow(&Path::new(&self.toplevel).join(name))
            .with_context(|| format!("the system {} has no usable `{name}`", self.toplevel))
    }

    /// A small text of the toplevel.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let path = self.file(name)?;
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The store path that a link of the toplevel leads into, on the host.
    pub(crate) fn package(&self, name: &str) -> Result<PathBuf> {
        let file = self.file(name)?;
        let store = self.root.join("nix/store");
        let below =
            file.strip_prefix(&store).with_context(|| format!("{} is not in the store", file.display()))?;
        let first =
            below.components().next().with_context(|| format!("{} is the store itself", file.display()))?;
        Ok(store.join(first))
    }

    /// Follows links of the store, which begin at `/` and mean the store's root.
    pub(crate) fn follow(&self, path: &Path) -> Result<PathBuf> {
        follow(&self.root, path)
    }
}

/// The configuration's file, if one is named.
fn configuration(matches: &ArgMatches) -> Option<&Path> {
    matches.get_one::<String>("configuration").map(Path::new)
}

/// The path below `root` that `path` (as the machine will see it) leads to.
fn follow(root: &Path, path: &Path) -> Result<PathBuf> {
    let mut pending: Vec<PathBuf> = vec![path.to_owned()];
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = pending.pop() {
        let mut components = part.components();
        let Some(component) = components.next() else { continue };
        let rest = components.as_path().to_owned();
        if !rest.as_os_str().is_empty() {
            pending.push(rest);
        }
        match component {
            Component::RootDir => real = PathBuf::from("/"),
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                real.push(name);
                let host = root.join(real.strip_prefix("/").unwrap_or(&real));
                let metadata = host.symlink_metadata().with_context(|| format!("{}", host.display()))?;
                if metadata.is_symlink() {
                    links += 1;
                    ensure!(links < 40, "{}: too many symbolic links", path.display());
                    real.pop();
                    pending.push(std::fs::read_link(&host).with_context(|| format!("{}", host.display()))?);
                }
            }
        }
    }
    Ok(root.join(real.strip_prefix("/").unwrap_or(&real)))
}

/// A toplevel named on the command line: a store path, or a link to one (`./result`).
fn given_toplevel(root: &Path, path: &Path) -> Result<String> {
    let logical = if path.starts_with("/nix/store") {
        path.to_owned()
    } else {
        let real = std::fs::read_link(path)
            .or_else(|_| std::path::absolute(path))
            .with_context(|| format!("--toplevel {}", path.display()))?;
        match real.strip_prefix(root) {
            Ok(below) => Path::new("/").join(below),
            Err(_) => real,
        }
    };
    if !logical.starts_with("/nix/store") || logical.components().count() != 4 {
        bail!("--toplevel {}: this is not a store path (/nix/store/…) or a link to one", path.display());
    }
    follow(root, &logical.join("init"))
        .with_context(|| format!("--toplevel {}: this is not a built system", path.display()))?;
    Ok(logical.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_below_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("nix/store");
        std::fs::create_dir_all(store.join("aaa-linux/boot")).unwrap();
        std::fs::create_dir_all(store.join("bbb-system")).unwrap();
        std::fs::write(store.join("aaa-linux/boot/vmlinuz"), "kernel").unwrap();
        std::fs::write(store.join("bbb-system/init"), "").unwrap();
        symlink("/nix/store/aaa-linux/boot", store.join("bbb-system/boot")).unwrap();
        symlink("boot/vmlinuz", store.join("bbb-system/kernel")).unwrap();
        symlink("loop", store.join("bbb-system/loop")).unwrap();
        let system = Path::new("/nix/store/bbb-system");
        let kernel = follow(directory.path(), &system.join("kernel")).unwrap();
        assert_eq!(kernel, store.join("aaa-linux/boot/vmlinuz"));
        assert!(follow(directory.path(), &system.join("loop")).is_err());
        assert!(follow(directory.path(), &system.join("missing")).is_err());
        assert_eq!(given_toplevel(directory.path(), system).unwrap(), "/nix/store/bbb-system");
        assert!(given_toplevel(directory.path(), Path::new("/etc")).is_err());
        let link = directory.path().join("result");
        symlink(store.join("bbb-system"), &link).unwrap();
        assert_eq!(given_toplevel(directory.path(), &link).unwrap(), "/nix/store/bbb-system");
    }
}
