//! What a directly started machine is given: the store's image, the disk that it writes to, the initrd with its mounts.

use crate::system::System;
use anyhow::{Context as _, Result};
use bootgen::ext4;
use bootgen::file_tree::FileTree;
use bootgen::identity::Uuid;
use bootgen::initrd::{Mount, Overlay};
use bootgen::region::{Region, create_sparse};
use bootgen::system_tree::{self, Closure};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The label of the disk that the machine writes to.
pub(super) const MACHINE_LABEL: &str = "firn-machine";
/// The label of the store's image.
pub(super) const STORE_LABEL: &str = "firn-store";
/// How many store images are kept for closures that may come back.
const KEPT_IMAGES: usize = 4;

/// The read-only image of the closure, from the cache or made now.
pub(super) fn store_image(system: &System, additional: &[String], cache: &Path) -> Result<PathBuf> {
    let store = system.store();
    let mut wanted = vec![system.store_path()?];
    for path in additional {
        wanted.push(
            store.dir().parse(path).with_context(|| format!("virtualisation.additionalPaths: {path}"))?,
        );
    }
    let paths = store.closure(wanted)?;
    let closure: Vec<String> = paths.iter().map(|path| store.dir().print(path)).collect();
    let id = Uuid::derive(closure.join("\n").as_bytes(), "store image 1");
    let image = cache.join(format!("store-{id}.ext4"));
    if image.exists() {
        // Its time says when it was last of use.
        let touched = std::fs::File::options()
            .append(true)
            .open(&image)
            .and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            log::debug!("{}: {error}", image.display());
        }
        return Ok(image);
    }
    let registration = store.dump_database(Some(&paths))?;
    let tree = system_tree::store_image(
        Closure { store_root: system.root(), paths: &closure },
        registration.as_bytes(),
    )?;
    let mut options = ext4::Options::new(STORE_LABEL, id.to_string().as_bytes(), 1);
    options.journal = Some(0);
    options.bytes_per_inode = 1 << 20;
    let size = ext4::size_for(&tree, &options, 0);
    let unfinished = cache.join(format!("store-{id}.{}.tmp", std::process::id()));
    write_file_system(&tree, &unfinished, size, &options)?;
    std::fs::rename(&unfinished, &image).with_context(|| format!("cannot rename to {}", image.display()))?;
    forget_old_images(cache)?;
    Ok(image)
}

/// Writes an ext4 image; an unfinished one is removed.
fn write_file_system(tree: &FileTree, path: &Path, size: u64, options: &ext4::Options) -> Result<()> {
    let file = create_sparse(path, size).with_context(|| format!("cannot make {}", path.display()))?;
    let written = ext4::write(tree, &Region::new(&file, 0, size), options);
    if let Err(error) = written {
        if let Err(error) = std::fs::remove_file(path) {
            log::debug!("{}: {error}", path.display());
        }
        return Err(error).with_context(|| format!("cannot write {}", path.display()));
    }
    Ok(())
}

/// Removes all but the newest images. One that a machine has open lives on until that ends.
fn forget_old_images(cache: &Path) -> Result<()> {
    let mut images = Vec::new();
    for entry in std::fs::read_dir(cache).with_context(|| format!("cannot read {}", cache.display()))? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("store-") && path.extension().is_some_and(|extension| extension == "ext4") {
            images.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    images.sort();
    let old = images.len().saturating_sub(KEPT_IMAGES);
    for (_, path) in images.drain(..old) {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// A new disk: empty directories, and the database of what the machine starts with.
pub(super) fn create_machine_disk(system: &System, path: &Path, size: u64, scratch: &Path) -> Result<()> {
    let database = scratch.join("db.sqlite");
    system.store().export_database([system.store_path()?], &database)?;
    let schema = scratch.join("schema");
    std::fs::write(&schema, "10").with_context(|| format!("cannot write {}", schema.display()))?;
    let files = [("db.sqlite".to_owned(), database), ("schema".to_owned(), schema)];
    let tree = system_tree::machine_disk(&files, 1)?;
    let mut options = ext4::Options::new(MACHINE_LABEL, MACHINE_LABEL.as_bytes(), 1);
    // Room for many small files: a machine may build packages.
    options.bytes_per_inode = 8192;
    write_file_system(&tree, path, size, &options)
}

/// The generation's initrd, and behind it the archive that mounts the machine's disks instead.
pub(super) fn write_initrd(system: &System, path: &Path) -> Result<()> {
    let own = system.file("initrd")?;
    let listing = own.with_file_name("contents.json");
    let rescue = std::fs::read_to_string(listing).is_ok_and(|text| text.contains("\"/bin/busybox\""));
    let overlay = Overlay {
        modules_tree: Some(system.package("kernel")?),
        available_modules: MODULES.iter().map(|module| (*module).to_owned()).collect(),
        mounts: mounts(),
        timeout: 60,
        rescue,
    };
    let mut bytes = std::fs::read(&own).with_context(|| format!("cannot read {}", own.display()))?;
    // The kernel wants an uncompressed archive at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(overlay.to_bytes()?);
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The devices that the emulator gives.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
    "ext4",
    "overlay",
];

/// The machine's own disk as `/`, the store as an overlay.
fn mounts() -> Vec<Mount> {
    let mount = |source: &str, target: &str, fs_type: &str, options: &[&str]| Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        fs_type: fs_type.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    vec![
        mount(&format!("LABEL={MACHINE_LABEL}"), "/", "ext4", &[]),
        mount(&format!("LABEL={STORE_LABEL}"), "/nix/.ro-store", "ext4", &["ro"]),
        mount(
            "overlay",
            "/nix/store",
            "overlay",
            &[
                "lowerdir=/sysroot/nix/.ro-store/store",
                "upperdir=/sysroot/nix/.rw-store/upper",
                "workdir=/sysroot/nix/.rw-store/work",
            ],
        ),
    ]
}
