//! A suite's `InRelease`: what an archive says it holds, with hashes, under its signature (repository format, "Release
//! files"; apt-secure(8)).

use super::apt_sources::Source;
use super::{control, download};
use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Key rings of a Debian system that may sign Debian's own archives.
const KEY_RINGS: &[&str] = &["/usr/share/keyrings/debian-archive-keyring.gpg", "/etc/apt/trusted.gpg"];

/// A suite as its archive describes it.
#[derive(Debug)]
pub(crate) struct Release {
    text: String,
    /// Whether the signature was checked.
    pub(crate) verified: bool,
}

impl Release {
    /// Fetches it and checks its signature, unless that is not wanted.
    pub(crate) fn fetch(source: &Source, verify: bool) -> Result<Self> {
        let url = format!("{}/dists/{}/InRelease", source.base, source.suite);
        let bytes = download::fetch(&url)?.with_context(|| {
            format!("{} has no suite `{}` ({url} does not exist)", source.base, source.suite)
        })?;
        if verify && let Some(text) = verified_text(&bytes, source)? {
            return Ok(Self { text, verified: true });
        }
        let text = String::from_utf8(bytes).with_context(|| format!("{url} is not text"))?;
        Ok(Self { text: signed_part(&text)?.to_owned(), verified: false })
    }

    /// A field, `Date` or `Codename`.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        control::stanzas(&self.text).next()?.get(name)
    }

    /// The list of packages of a component, for an architecture, decompressed and checked.
    pub(crate) fn packages(&self, source: &Source, component: &str, architecture: &str) -> Result<String> {
        let stanza = control::stanzas(&self.text).next().unwrap_or_default();
        let hashes = stanza.get("SHA256").context("the suite's Release has no SHA-256 hashes")?;
        let directory = format!("{component}/binary-{architecture}");
        let wanted = [".xz", ".gz", ""].iter().find_map(|suffix| {
            let name = format!("{directory}/Packages{suffix}");
            let line = hashes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            line.into_iter()
                .find(|words| words.get(2) == Some(&name.as_str()))
                .map(|words| (name.clone(), words, *suffix))
        });
        let Some((name, words, suffix)) = wanted else {
            bail!("the suite {} has no packages for {architecture} in `{component}`", source.suite);
        };
        let (Some(hash), Some(size)) = (words.first(), words.get(1)) else {
            bail!("the Release of {} is damaged at {name}", source.suite);
        };
        let base = format!("{}/dists/{}", source.base, source.suite);
        let by_hash = stanza.get("Acquire-By-Hash") == Some("yes");
        let named_by_hash = format!("{base}/{directory}/by-hash/SHA256/{hash}");
        let bytes = if by_hash { download::fetch(&named_by_hash)? } else { None };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => download::fetch(&format!("{base}/{name}"))?
                .with_context(|| format!("{base}/{name} does not exist"))?,
        };
        ensure!(
            bytes.len().to_string() == **size,
            "{base}/{name} has {} bytes instead of {size}; try again later",
            bytes.len()
        );
        let found = hexadecimal(&Sha256::digest(&bytes));
        ensure!(found == **hash, "{base}/{name} has the SHA-256 {found} instead of {hash}; try again later");
        let mut text = String::new();
        match suffix {
            ".xz" => liblzma::read::XzDecoder::new_multi_decoder(&bytes[..]).read_to_string(&mut text),
            ".gz" => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text),
            _ => (&bytes[..]).read_to_string(&mut text),
        }
        .with_context(|| format!("cannot decompress {name}"))?;
        Ok(text)
    }
}

/// The text that the signature covers, if a checker is at hand: `gpgv`. `None` was said aloud.
fn verified_text(bytes: &[u8], source: &Source) -> Result<Option<String>> {
    let rings: Vec<PathBuf> = match &source.signed_by {
        Some(ring) => vec![ring.clone()],
        None => KEY_RINGS.iter().map(PathBuf::from).filter(|ring| ring.exists()).collect(),
    };
    if rings.is_empty() {
        log::warn!(
            "{}: no key ring is at hand, so its signature was not checked; --keyring FILE names one",
            source.suite
        );
        return Ok(None);
    }
    let file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    std::fs::write(file.path(), bytes).context("cannot write a temporary file")?;
    let mut command = Command::new("gpgv");
    for ring in &rings {
        command.arg("--keyring").arg(ring);
    }
    let output = command.args(["--output", "-"]).arg(file.path()).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8(output.stdout).context("the suite's Release is not text")?))
        }
        Ok(output) => bail!(
            "the signature of {}/dists/{}/InRelease is not by a key in {}: {}; --no-verify takes it all the same",
            source.base,
            source.suite,
            rings.iter().map(|ring| ring.display().to_string()).collect::<Vec<_>>().join(", "),
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("gpgv gave no reason")
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            log::warn!(
                "{}: gpgv is not installed, so the signature of the suite was not checked",
                source.suite
            );
            Ok(None)
        }
        Err(error) => Err(error).context("cannot start gpgv"),
    }
}

/// The text within the clear signature's armour (RFC 9580, section 7), not checked.
fn signed_part(text: &str) -> Result<&str> {
    let Some(rest) = text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") else { return Ok(text) };
    let start = rest.find("\n\n").context("the InRelease is damaged")? + 2;
    let end = rest.find("-----BEGIN PGP SIGNATURE-----").context("the InRelease is cut off")?;
    rest.get(start..end).context("the InRelease is damaged")
}

/// Bytes in hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        text
    })
}

/// Whether a file is a key ring that `gpgv` can be given.
pub(crate) fn check_key_ring(path: &Path) -> Result<()> {
    std::fs::File::open(path)
        .map(drop)
        .with_context(|| format!("cannot read the key ring {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive in a directory, with one package list; returns its source.
    fn archive(directory: &Path, damage: bool) -> Source {
        let dists = directory.join("dists/suite/main/binary-amd64");
        std::fs::create_dir_all(&dists).expect("made");
        let list = b"Package: a\n";
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(&list[..], 1).read_to_end(&mut packed).expect("packed");
        let hash = hexadecimal(&Sha256::digest(&packed));
        let size = packed.len();
        if damage {
            packed[0] ^= 1;
        }
        std::fs::write(dists.join("Packages.xz"), packed).expect("written");
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nDate: now\nSHA256:\n {hash} {size} main/binary-amd64/Packages.xz\n\
             -----BEGIN PGP SIGNATURE-----\nx\n"
        );
        std::fs::write(directory.join("dists/suite/InRelease"), text).expect("written");
        Source {
            base: format!("file://{}", directory.display()),
            suite: "suite".into(),
            components: vec!["main".into()],
            signed_by: None,
        }
    }

    #[test]
    fn lists_are_checked() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = archive(directory.path(), false);
        let release = Release::fetch(&source, false).expect("fetched");
        assert!(!release.verified);
        assert_eq!(release.field("Date"), Some("now"));
        assert_eq!(release.packages(&source, "main", "amd64").expect("a list"), "Package: a\n");
        let error = release.packages(&source, "contrib", "amd64").expect_err("no such component").to_string();
        assert!(error.contains("`contrib`"), "{error}");
    }

    #[test]
    fn a_damaged_list_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = archive(directory.path(), true);
        let release = Release::fetch(&source, false).expect("fetched");
        let error = release.packages(&source, "main", "amd64").expect_err("damaged").to_string();
        assert!(error.contains("SHA-256"), "{error}");
    }

    #[test]
    fn a_suite_that_is_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut source = archive(directory.path(), false);
        source.suite = "nosuite".into();
        let error = Release::fetch(&source, false).expect_err("none").to_string();
        assert!(error.contains("no suite `nosuite`"), "{error}");
    }
}
