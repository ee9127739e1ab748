//! Writes a disk image from a toplevel in a directory: `disk_image ROOT TOPLEVEL IMAGE`, where ROOT/nix/store/… has everything. A disk for
//! UEFI and BIOS, without a store database: `firn image` adds that.

use bootgen::file_tree::{Attributes, Contents, FileTree, Kind};
use bootgen::generations::{Generation, Generations};
use bootgen::image::DiskImage;
use bootgen::partition::Partition;
use bootgen::plan::{self, Request};
use bootgen::system_tree::{self, Closure};
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, toplevel, image] = arguments.as_slice() else {
        return Err("disk_image ROOT TOPLEVEL IMAGE".into());
    };
    let root = Path::new(root);
    let generation = Generation::of_toplevel(root, 1, Path::new(toplevel), None)?;
    let loader = generation.bootloader(root)?;
    let generations = Generations { good: vec![generation], broken: Vec::new() };
    let request = Request {
        root,
        generations: &generations,
        default: 1,
        loader: &loader,
        token: &plan::token_of(toplevel.as_bytes()),
        booted: None,
        space: None,
        signing: None,
    };
    let mut boot = FileTree::new(Attributes::root(0o755, 1));
    for file in plan::plan(&request, &Partition::empty())?.files {
        let contents = match file.contents {
            plan::Contents::Text(text) => Contents::Bytes(text.into_bytes()),
            plan::Contents::File { source, size, .. } => Contents::Host { path: source, size, data: None },
            plan::Contents::Signed { bytes, .. } => Contents::Bytes(bytes),
            plan::Contents::Unified(kernel) => Contents::Bytes(kernel.bytes()?),
        };
        boot.add(&file.path, Kind::File(contents), Attributes::root(0o755, 1))?;
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root.join("nix/store"))? {
        paths.push(format!("/nix/store/{}", entry?.file_name().to_string_lossy()));
    }
    paths.sort();
    let closure = Closure { store_root: root, paths: &paths };
    let files = system_tree::root(closure, &[system_tree::Generation { number: 1, toplevel }], &[], 1)?;
    let mut disk = DiskImage::new(boot, files, toplevel.as_bytes());
    let host = |path: &String| root.join(path.trim_start_matches('/'));
    disk.grub = loader.grub.as_ref().and_then(|grub| {
        let pair: (PathBuf, PathBuf) = (host(grub.bios_boot.as_ref()?), host(grub.bios_core.as_ref()?));
        Some(pair)
    });
    disk.write(Path::new(image))?;
    Ok(())
}
