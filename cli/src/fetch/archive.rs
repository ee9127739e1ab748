//! Downloading a file, and unpacking an archive that holds one directory, whatever it is compressed with.

use super::system;
use evaluator::io::IoError;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

/// Downloads to `target`; of a file of this machine, only where it is. And the address that the server says is for ever.
pub(super) fn download(
    url: &str,
    target: &Path,
    headers: &[(&'static str, String)],
) -> Result<(PathBuf, Option<String>), IoError> {
    let refused = |error: String| IoError::Store(format!("unable to download '{url}': {error}"));
    if let Some(path) = url.strip_prefix("file://") {
        let path = PathBuf::from(path.split(['?', '#']).next().unwrap_or_default());
        return match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok((path, None)),
            Ok(_) => Err(refused(format!("{} is not a file", path.display()))),
            Err(error) => Err(refused(format!("{}: {error}", path.display()))),
        };
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(refused("Firn fetches http, https and file".to_owned()));
    }
    let mut request = ureq::get(url).header("User-Agent", concat!("firn/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = request.call().map_err(|error| refused(error.to_string()))?;
    let links = response.headers().get_all("link").iter().filter_map(|link| link.to_str().ok());
    let immutable = links.flat_map(|links| links.split(',')).find_map(immutable_link);
    let mut file = File::create(target).map_err(system("creating", target))?;
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    std::io::copy(&mut body, &mut file).map_err(|error| refused(error.to_string()))?;
    Ok((target.to_owned(), immutable))
}

/// The address in one entry of a `Link` header, if that is the one that never changes: `<ADDRESS>; rel="immutable"`.
fn immutable_link(entry: &str) -> Option<String> {
    let (address, parameters) = entry.trim().strip_prefix('<')?.split_once('>')?;
    let is_immutable = parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().strip_prefix("rel="))
        .any(|relation| relation.trim_matches('"').split(' ').any(|word| word == "immutable"));
    is_immutable.then(|| address.to_owned())
}

/// Unpacks below `target`. The tree (without the one directory around it, if there is one) and when its newest file was
/// changed.
pub(super) fn unpack(url: &str, file: &Path, target: &Path) -> Result<(PathBuf, i64), IoError> {
    let broken =
        |error: std::io::Error| IoError::Store(format!("unable to unpack the archive '{url}': {error}"));
    std::fs::create_dir(target).map_err(system("creating", target))?;
    let mut archive = tar::Archive::new(plain(file).map_err(broken)?);
    let mut newest = 0;
    let mut count = 0;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        // A comment that git writes before everything else.
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        newest = newest.max(i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0));
        count += 1;
        if !entry.unpack_in(target).map_err(broken)? {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(IoError::Store(format!(
                "the archive '{url}' has an entry '{name}' that leads out of it"
            )));
        }
    }
    if count == 0 {
        return Err(IoError::Store(format!("'{url}' is no archive, or an empty one")));
    }
    let entries: Vec<PathBuf> = std::fs::read_dir(target)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(system("reading directory", target))?;
    let tree = match entries.as_slice() {
        [only] if only.is_dir() && !only.is_symlink() => only.clone(),
        _ => target.to_owned(),
    };
    Ok((tree, newest))
}

/// A file's contents, decompressed by what its first bytes say.
fn plain(file: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(file)?);
    let head = file.fill_buf()?.get(..6).unwrap_or_default().to_vec();
    Ok(match head.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, contents) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(7);
            // Set by hand: the library refuses to write names that lead out.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, contents.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_one_directory_is_left_out() {
        let work = tempfile::tempdir().unwrap();
        let file = work.path().join("a.tar");
        std::fs::write(&file, archive(&[("top/x", "1"), ("top/y", "2")])).unwrap();
        let (tree, time) = unpack("a.tar", &file, &work.path().join("tree")).unwrap();
        assert_eq!((tree.file_name().unwrap().to_str(), time), (Some("top"), 7));
        std::fs::write(&file, archive(&[("x", "1"), ("y", "2")])).unwrap();
        let (tree, _) = unpack("a.tar", &file, &work.path().join("other")).unwrap();
        assert_eq!(tree, work.path().join("other"));
    }

    #[test]
    fn addresses_for_ever() {
        for (entry, address) in [
            ("<https://h/x.tar.gz?rev=1>; rel=\"immutable\"", Some("https://h/x.tar.gz?rev=1")),
            (" <https://h/y>; a=b; rel=immutable", Some("https://h/y")),
            ("<https://h/y>; rel=\"next\"", None),
            ("https://h/y; rel=immutable", None),
        ] {
            assert_eq!(immutable_link(entry).as_deref(), address, "{entry}");
        }
    }

    #[test]
    fn nothing_leads_out() {
        let work = tempfile::tempdir().unwrap();
        let file = work.path().join("a.tar");
        std::fs::write(&file, archive(&[("../bad", "1")])).unwrap();
        assert!(unpack("a.tar", &file, &work.path().join("tree")).is_err());
        assert!(!work.path().join("bad").exists());
        std::fs::write(&file, b"no archive").unwrap();
        assert!(unpack("a.tar", &file, &work.path().join("other")).is_err());
    }
}
