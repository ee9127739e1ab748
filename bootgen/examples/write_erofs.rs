//! Writes a directory as an erofs image: `write_erofs DIRECTORY IMAGE LABEL`. No root rights, no mounts; the same directory gives the same
//! bytes.

use bootgen::erofs::{Options, Plan};
use bootgen::file_tree::{Attributes, FileTree, HardLinks, Ownership};
use bootgen::identity::Uuid;
use bootgen::region::{Region, create_sparse};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, image, label] = arguments.as_slice() else {
        return Err("write_erofs DIRECTORY IMAGE LABEL".into());
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
    let options = Options { label: label.clone(), uuid: Uuid::derive(label.as_bytes(), "erofs"), time: 1 };
    let plan = Plan::new(&tree, &options)?;
    let file = create_sparse(Path::new(image), plan.size())?;
    Ok(plan.write(&Region::new(&file, 0, plan.size()), &options)?)
}
