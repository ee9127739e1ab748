//! `nix-hash`: hashes of files and trees, and of one notation in another. nix-hash(1).

use crate::nix_front::{Arguments, Front, print_version};
use anyhow::{Result, bail};
use formats::hash::{Algorithm, Hash};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// How a hash is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    Base16,
    Base32,
    Base64,
    Sri,
}

impl Notation {
    fn print(self, hash: &Hash) -> String {
        match self {
            Self::Base16 => hash.digits16(),
            Self::Base32 => hash.digits32(),
            Self::Base64 => hash.digits64(),
            Self::Sri => hash.sri(),
        }
    }
}

/// `nix-hash …`.
pub(crate) fn nix_hash(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let (mut algorithm, mut notation) = (Algorithm::Md5, Notation::Base16);
    let (mut flat, mut truncate, mut convert) = (false, false, false);
    let (mut front, mut subjects) = (Front::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--flat" => flat = true,
            "--base16" => notation = Notation::Base16,
            "--base32" => notation = Notation::Base32,
            "--base64" => notation = Notation::Base64,
            "--sri" => notation = Notation::Sri,
            "--truncate" => truncate = true,
            "--type" => algorithm = arguments.value(&argument)?.parse()?,
            "--to-base16" => (convert, notation) = (true, Notation::Base16),
            "--to-base32" => (convert, notation) = (true, Notation::Base32),
            "--to-base64" => (convert, notation) = (true, Notation::Base64),
            "--to-sri" => (convert, notation) = (true, Notation::Sri),
            "--version" => {
                print_version("nix-hash")?;
                return Ok(ExitCode::SUCCESS);
            }
            _ if front.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => subjects.push(argument),
        }
    }
    let mut out = std::io::stdout().lock();
    for subject in &subjects {
        if convert {
            let hash = Hash::parse_any(subject, Some(algorithm))?;
            writeln!(out, "{}", notation.print(&hash))?;
            continue;
        }
        let path = Path::new(subject);
        let hash = if flat {
            store::tree::hash_file(path, algorithm)?
        } else {
            store::tree::hash_tree(path, algorithm)?.0
        };
        let text = match notation {
            // The 20 bytes that a store path has.
            _ if truncate && hash.bytes().len() > 20 => {
                let short = hash.compress20();
                match Hash::from_bytes(Algorithm::Sha1, &short) {
                    Some(short) => notation.print(&short),
                    None => bail!("the hash cannot be shortened"),
                }
            }
            _ => notation.print(&hash),
        };
        writeln!(out, "{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}
