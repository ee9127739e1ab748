//! The protocol of `nix-store --serve`, which `ssh://` stores speak: requests one after the other, no messages between,
//! errors on standard error only. Nix manual, "Nix Serve Protocol"; version 2.7, and older ones from 2.5 on.

pub(crate) mod client;
mod server;

use crate::daemon::wire::{Answer, read_number, read_text, read_texts};
use crate::error::{Error, Result};
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use std::io::Read;

const CLIENT_MAGIC: u64 = 0x390c_9deb;
const SERVER_MAGIC: u64 = 0x5452_eecb;
/// 2.7.
const VERSION: u64 = 0x207;
/// From this one on paths are sent with their descriptions.
const OLDEST: u64 = 0x205;

/// The requests, by number.
const QUERY_VALID: u64 = 1;
const QUERY_INFOS: u64 = 2;
const DUMP: u64 = 3;
const IMPORT: u64 = 4;
const EXPORT: u64 = 5;
const BUILD_PATHS: u64 = 6;
const QUERY_CLOSURE: u64 = 7;
const BUILD_DERIVATION: u64 = 8;
const ADD: u64 = 9;

/// Writes what is told of a path: without its name.
fn write_info(answer: &mut Answer, dir: &StoreDir, info: &PathInfo) {
    let print = |path: &StorePath| dir.print(path);
    let references: Vec<String> = info.references.iter().map(print).collect();
    answer.text(&info.deriver.as_ref().map(print).unwrap_or_default()).texts(references.iter());
    answer.number(info.nar_size).number(info.nar_size);
    answer.text(&format!("sha256:{}", info.nar_hash.digits32()));
    answer.text(&info.content_address.map(|address| address.to_string()).unwrap_or_default());
    answer.texts(info.signatures.iter());
}

/// Reads the same.
fn read_info(input: &mut dyn Read, dir: &StoreDir, path: StorePath) -> Result<PathInfo> {
    let deriver = read_text(input)?;
    let references = read_texts(input)?;
    read_number(input)?; // how much is to download
    let size = read_number(input)?;
    let mut info = PathInfo::new(path, read_hash(input)?, size);
    info.deriver = if deriver.is_empty() { None } else { Some(dir.parse(&deriver)?) };
    for reference in references {
        info.references.insert(dir.parse(&reference)?);
    }
    read_address(input, &mut info)?;
    info.signatures = read_texts(input)?.into_iter().collect();
    Ok(info)
}

fn read_hash(input: &mut dyn Read) -> Result<Hash> {
    Hash::parse_as(&read_text(input)?, Algorithm::Sha256)
        .map_err(|error| Error::Invalid(format!("the other end sent a bad hash: {error}")))
}

fn read_address(input: &mut dyn Read, info: &mut PathInfo) -> Result<()> {
    let address = read_text(input)?;
    if !address.is_empty() {
        let parsed = address.parse();
        info.content_address =
            Some(parsed.map_err(|error| Error::Invalid(format!("the other end sent: {error}")))?);
    }
    Ok(())
}
