//! Property tests of the image writers: random directories, written by each writer, read back by that file system's own tools, compared. The
//! seeds are fixed; `FIRN_TEST_SEED` tries another one.

use crate::checker;
use crate::file_tree::{Attributes, FileTree, HardLinks, Ownership};
use crate::identity::Uuid;
use crate::region::{Region, create_sparse};
use crate::{erofs, ext4, fat, iso9660};
use std::path::Path;

/// Xorshift: enough chance for tests, the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A file's size: often small, often near a block's edge, sometimes large.
    fn size(&mut self) -> usize {
        let size = match self.below(6) {
            0 => 0,
            1 => self.below(200),
            2 => 4096 * self.below(4) + self.below(3) + 4095,
            3 => self.below(20_000),
            4 => 512 * self.below(9),
            _ => self.below(400_000),
        };
        size as usize
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        // Some files have holes of zeros.
        let sparse = self.below(4) == 0;
        let mut bytes = vec![0; size];
        for chunk in bytes.chunks_mut(1024) {
            if !sparse || self.below(3) == 0 {
                let byte = self.below(255) as u8 + 1;
                chunk.fill(byte);
            }
        }
        bytes
    }

    fn name(&mut self, plain: bool) -> String {
        const SIGNS: &[char] = &['a', 'B', 'z', '0', '9', '-', '_', '.', '+', ' ', 'ü', '日', '~', '='];
        let signs = if plain { &SIGNS[..7] } else { SIGNS };
        let longest = if self.below(8) == 0 { 60 } else { 14 };
        let length = 1 + self.below(longest);
        let name: String = (0..length).map(|_| signs[self.below(signs.len() as u64) as usize]).collect();
        // FAT takes no blank or dot at the end; a name of dots is none.
        name.trim_matches(['.', ' ']).to_owned() + "x"
    }
}

/// Fills a directory. Without `links` there are only files and directories, and names that differ in more than case.
fn fill(directory: &Path, chance: &mut Chance, links: bool, depth: u32) {
    let count = chance.below(if depth == 0 { 60 } else { 25 });
    let mut last_file = None;
    for number in 0..count {
        let name = format!("{}{number}", chance.name(!links));
        let path = directory.join(&name);
        match chance.below(10) {
            0..=1 if depth < 4 => {
                std::fs::create_dir(&path).unwrap();
                fill(&path, chance, links, depth + 1);
            }
            2 if links => {
                let target = "t".repeat(1 + chance.below(120) as usize);
                std::os::unix::fs::symlink(target, &path).unwrap();
            }
            3 if links && last_file.is_some() => {
                std::fs::hard_link(last_file.as_ref().unwrap(), &path).unwrap();
            }
            _ => {
                let size = chance.size();
                std::fs::write(&path, chance.bytes(size)).unwrap();
                last_file = Some(path);
            }
        }
    }
}

/// Runs a test on several random directories: the directory, its tree, a scratch directory.
fn with_trees(links: bool, test: impl Fn(&Path, &FileTree, &Path)) {
    let other = std::env::var("FIRN_TEST_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    for seed in other.map_or_else(|| vec![1, 2, 3, 5, 8, 13], |seed| vec![seed]) {
        eprintln!("seed {seed}");
        let scratch = tempfile::tempdir().unwrap();
        let host = scratch.path().join("host");
        std::fs::create_dir(&host).unwrap();
        fill(&host, &mut Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), links, 0);
        let mut tree = FileTree::new(Attributes::root(0o755, 1));
        tree.add_from_host("host", &host, Ownership::Root { mtime: 1 }, &mut HardLinks::default()).unwrap();
        test(&host, &tree, scratch.path());
    }
}

#[test]
fn ext4() {
    with_trees(true, |host, tree, scratch| {
        let options = ext4::Options::new("random", b"seed", 1);
        let size = ext4::size_for(tree, &options, 1 << 20);
        let image = scratch.join("image");
        let file = create_sparse(&image, size).unwrap();
        ext4::write(tree, &Region::new(&file, 0, size), &options).unwrap();
        let image = image.to_str().unwrap();
        if let Some((clean, text)) = checker::run("e2fsck", "e2fsprogs", ["-fn", image]) {
            assert!(clean, "{text}");
        }
        let out = scratch.join("out");
        std::fs::create_dir(&out).unwrap();
        let command = format!("rdump /host {}", out.display());
        if checker::run("debugfs", "e2fsprogs", ["-R", &command, image]).is_some() {
            checker::assert_same(host, &out.join("host"));
        }
    });
}

#[test]
fn erofs() {
    with_trees(true, |host, tree, scratch| {
        let options = erofs::Options { label: "random".to_owned(), uuid: Uuid([7; 16]), time: 1 };
        let plan = erofs::Plan::new(tree, &options).unwrap();
        let image = scratch.join("image");
        let file = create_sparse(&image, plan.size()).unwrap();
        plan.write(&Region::new(&file, 0, plan.size()), &options).unwrap();
        let extract = format!("--extract={}", scratch.join("out").display());
        let run = checker::run("fsck.erofs", "erofs-utils", [&extract, image.to_str().unwrap()]);
        if let Some((clean, text)) = run {
            assert!(clean, "{text}");
            checker::assert_same(host, &scratch.join("out/host"));
        }
    });
}

#[test]
fn iso9660() {
    with_trees(true, |host, tree, scratch| {
        let options = iso9660::Options { volume_id: "RANDOM".to_owned(), ..iso9660::Options::default() };
        let plan = iso9660::Plan::new(tree, &options).unwrap();
        let image = scratch.join("image");
        let file = create_sparse(&image, plan.size()).unwrap();
        plan.write(&Region::new(&file, 0, plan.size())).unwrap();
        let (image, out) = (image.to_str().unwrap(), scratch.join("out"));
        let words = ["-abort_on", "WARNING", "-osirrox", "on", "-indev", image, "-extract", "/host"];
        let words = words.into_iter().chain([out.to_str().unwrap()]);
        if let Some((clean, text)) = checker::run("xorriso", "xorriso", words) {
            assert!(clean, "{text}");
            checker::assert_same(host, &out);
        }
    });
}

#[test]
fn fat() {
    with_trees(false, |host, tree, scratch| {
        let image = scratch.join("image");
        let size = fat::size_for(tree, 1 << 20);
        let file = create_sparse(&image, size).unwrap();
        let options = fat::Options { label: "RANDOM".to_owned(), serial: 1, hidden_sectors: 0, time: 1 };
        fat::write(tree, &Region::new(&file, 0, size), &options).unwrap();
        let image = image.to_str().unwrap();
        if let Some((clean, text)) = checker::run("fsck.vfat", "dosfstools", ["-n", image]) {
            assert!(clean, "{text}");
        }
        let out = scratch.join("out");
        std::fs::create_dir(&out).unwrap();
        let arguments = ["-s", "-Q", "-i", image, "::host", out.to_str().unwrap()];
        if let Some((copied, text)) = checker::run("mcopy", "mtools", arguments) {
            assert!(copied, "{text}");
            checker::assert_same(host, &out.join("host"));
        }
    });
}
