//! Fetching a file of an archive over `http`, `https` or from `file:`.

use anyhow::{Context as _, Result, bail};
use std::io::Read as _;

/// No file of an archive's index is larger.
const LARGEST: u64 = 512 << 20;

/// The file's bytes; `None` if the archive does not have it.
pub(crate) fn fetch(url: &str) -> Result<Option<Vec<u8>>> {
    if let Some(path) = url.strip_prefix("file://").or_else(|| url.strip_prefix("file:")) {
        return match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
        };
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        bail!(
            "{url} is not of a kind that Firn can fetch (http, https, file); name a mirror with --mirror URL"
        );
    }
    log::info!("fetching {url}");
    let response =
        match ureq::get(url).header("User-Agent", concat!("firn/", env!("CARGO_PKG_VERSION"))).call() {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(404)) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot fetch {url}")),
        };
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_with_config().limit(LARGEST).reader();
    body.read_to_end(&mut bytes).with_context(|| format!("the download of {url} was cut off"))?;
    Ok(Some(bytes))
}
