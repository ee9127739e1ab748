//! Writes a directory as an ext4 image: `write_ext4 DIRECTORY IMAGE LABEL FREE_MIB`. No root rights, no mounts; the same directory gives the
//! same bytes.

use bootgen::ext4;
use bootgen::file_tree::{Attributes, FileTree, HardLinks, Ownership};
use bootgen::region::{Region, create_sparse};
use std::path::Path;

#[expect(clippy::print_stdout, reason = "an example talks")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, image, label, free] = arguments.as_slice() else {
        return Err("write_ext4 DIRECTORY IMAGE LABEL FREE_MIB".into());
    };
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    let mut links = HardLinks::default();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        tree.add_from_host(
            Path::new(&entry.file_name()),
            &entry.path(),
            Ownership::Root { mtime: 1 },
            &mut links,
        )?;
    }
    let options = ext4::Options::new(label, label.as_bytes(), 1);
    let size = ext4::size_for(&tree, &options, free.parse::<u64>()? << 20);
    let file = create_sparse(Path::new(image), size)?;
    let summary = ext4::write(&tree, &Region::new(&file, 0, size), &options)?;
    println!("{size} bytes, {} of {} blocks free", summary.free_blocks, summary.blocks);
    Ok(())
}
