//! `nix hash …`: hashes of files and trees, and one notation in another.

use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use formats::hash::{Algorithm, Hash};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// What the command line says.
struct Wish {
    notation: &'static str,
    algorithm: Option<Algorithm>,
    flat: bool,
    subjects: Vec<String>,
}

fn read(front: &mut Front, arguments: &mut Arguments, notation: &'static str) -> Result<Wish> {
    let mut wish = Wish { notation, algorithm: None, flat: false, subjects: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--base16" => wish.notation = "base16",
            "--base32" | "--nix32" => wish.notation = "nix32",
            "--base64" => wish.notation = "base64",
            "--sri" => wish.notation = "sri",
            "--type" | "--algo" | "--hash-algo" => {
                wish.algorithm = Some(arguments.value(&argument)?.parse()?);
            }
            "--mode" => wish.flat = arguments.value(&argument)? == "flat",
            "--format" | "--to" => wish.notation = notation_of(&arguments.value(&argument)?)?,
            "--from" => drop(arguments.value(&argument)?),
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => wish.subjects.push(argument),
        }
    }
    Ok(wish)
}

fn notation_of(word: &str) -> Result<&'static str> {
    Ok(match word {
        "base16" => "base16",
        "nix32" | "base32" => "nix32",
        "base64" => "base64",
        "sri" => "sri",
        other => bail!("`{other}` is not a notation of hashes: base16, nix32, base64, sri"),
    })
}

fn print(notation: &str, hash: &Hash) -> Result<()> {
    let text = match notation {
        "base16" => hash.digits16(),
        "nix32" => hash.digits32(),
        "base64" => hash.digits64(),
        _ => hash.sri(),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn of_files(wish: &Wish) -> Result<ExitCode> {
    let algorithm = wish.algorithm.unwrap_or(Algorithm::Sha256);
    for subject in &wish.subjects {
        let path = Path::new(subject);
        let hash = if wish.flat {
            store::tree::hash_file(path, algorithm)?
        } else {
            store::tree::hash_tree(path, algorithm)?.0
        };
        print(wish.notation, &hash)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix hash file`.
pub(super) fn file(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    of_files(&Wish { flat: true, ..read(front, arguments, "sri")? })
}

/// `nix hash path`.
pub(super) fn path(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    of_files(&read(front, arguments, "sri")?)
}

fn rewrite(front: &mut Front, arguments: &mut Arguments, notation: &'static str) -> Result<ExitCode> {
    let wish = read(front, arguments, notation)?;
    for subject in &wish.subjects {
        print(wish.notation, &Hash::parse_any(subject, wish.algorithm)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix hash to-base16`.
pub(super) fn to_base16(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    rewrite(front, arguments, "base16")
}

/// `nix hash to-base32`.
pub(super) fn to_base32(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    rewrite(front, arguments, "nix32")
}

/// `nix hash to-base64`.
pub(super) fn to_base64(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    rewrite(front, arguments, "base64")
}

/// `nix hash to-sri`.
pub(super) fn to_sri(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    rewrite(front, arguments, "sri")
}

/// `nix hash convert`.
pub(super) fn convert(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    rewrite(front, arguments, "sri")
}
