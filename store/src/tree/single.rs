//! The one file that an archive holds: how a derivation is read from a store whose files are elsewhere.

use crate::error::{Error, Result};
use formats::nar::{self, Visitor};
use std::io::{self, Read};

/// Keeps the contents of the root, if that is a file.
#[derive(Default)]
struct Single {
    contents: Option<Vec<u8>>,
}

impl Visitor for Single {
    fn begin_directory(&mut self, _: Option<&[u8]>) -> io::Result<()> {
        Err(io::Error::other("it is a directory and no file"))
    }

    fn end_directory(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _: Option<&[u8]>, _: bool, _: u64, contents: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes)?;
        self.contents = Some(bytes);
        Ok(())
    }

    fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other("it is a link and no file"))
    }
}

/// The contents of the file that is the archive's root.
pub(crate) fn only_file(name: &str, archive: &[u8]) -> Result<Vec<u8>> {
    let mut single = Single::default();
    nar::read(&mut &*archive, &mut single).map_err(Error::nar(name))?;
    single.contents.ok_or_else(|| Error::Invalid(format!("`{name}` is no file")))
}

/// The archive of a plain file.
pub(crate) fn archive_of(name: &str, contents: &[u8]) -> Result<Vec<u8>> {
    let mut writer = nar::Writer::new(Vec::new()).map_err(Error::nar(name))?;
    writer.file(false, contents.len() as u64, &mut &*contents).map_err(Error::nar(name))?;
    writer.finish().map_err(Error::nar(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round() {
        let archive = archive_of("x", b"text").unwrap();
        assert_eq!(only_file("x", &archive).unwrap(), b"text");
        assert!(only_file("x", &archive[..archive.len() - 8]).is_err());
        let mut link = nar::Writer::new(Vec::new()).unwrap();
        link.symlink(b"target").unwrap();
        assert!(only_file("x", &link.finish().unwrap()).is_err());
    }
}
