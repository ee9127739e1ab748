//! A visitor that keeps nothing: to read past a NAR.

use formats::nar::Visitor;
use std::io::{self, Read};

/// Takes everything and keeps nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nothing;

impl Visitor for Nothing {
    fn begin_directory(&mut self, _: Option<&[u8]>) -> io::Result<()> {
        Ok(())
    }

    fn end_directory(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _: Option<&[u8]>, _: bool, _: u64, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }

    fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
