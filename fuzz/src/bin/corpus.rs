//! Corpora are many small files; the repository has one NAR of each. `corpus pack DIR NAR`, `corpus unpack NAR DIR`.

use formats::nar::{Visitor, Writer};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["pack", directory, archive] => {
            let mut files = BTreeMap::new();
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                files.insert(entry.file_name().into_encoded_bytes(), std::fs::read(entry.path())?);
            }
            let mut writer = Writer::new(Vec::new())?;
            writer.begin_directory()?;
            for (name, bytes) in files {
                writer.entry(&name)?;
                writer.file(false, bytes.len() as u64, &mut bytes.as_slice())?;
            }
            writer.end_directory()?;
            std::fs::write(archive, writer.finish()?)?;
        }
        ["unpack", archive, directory] => {
            std::fs::create_dir_all(directory)?;
            let bytes = std::fs::read(archive)?;
            formats::nar::read(&mut bytes.as_slice(), &mut Unpack(PathBuf::from(directory)))?;
        }
        _ => return Err("usage: corpus pack DIR NAR | corpus unpack NAR DIR".into()),
    }
    Ok(())
}

struct Unpack(PathBuf);

impl Visitor for Unpack {
    fn begin_directory(&mut self, name: Option<&[u8]>) -> std::io::Result<()> {
        name.map_or(Ok(()), |_| Err(std::io::Error::other("a corpus has no directories in it")))
    }

    fn end_directory(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn file(
        &mut self,
        name: Option<&[u8]>,
        _executable: bool,
        _size: u64,
        contents: &mut dyn Read,
    ) -> std::io::Result<()> {
        let name = String::from_utf8_lossy(name.unwrap_or(b"corpus")).into_owned();
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes)?;
        std::fs::write(self.0.join(Path::new(&name)), bytes)
    }

    fn symlink(&mut self, _name: Option<&[u8]>, _target: &[u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("a corpus has no links in it"))
    }
}
