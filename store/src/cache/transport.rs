//! Files of a cache, in a directory or on a server. A broken transfer goes on where it broke (RFC 9110, section 14,
//! range requests); a server that cannot be reached says so within seconds.

use super::address::Place;
use crate::build::agent;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// A server that does not answer a connection within this time is away.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may think.
const ANSWER: Duration = Duration::from_secs(15);
/// How long one request's body may take: what is not done then is asked for again, from where it stood.
const BODY: Duration = Duration::from_secs(60);
/// Transfers without a byte of progress, one after the other, until the server is given up.
const ATTEMPTS: u32 = 4;

/// Why a file of a cache was not to be had.
#[derive(Debug, Error)]
pub enum TransportError {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// The server or directory cannot be reached or does not answer as it should.
    #[error("{0}")]
    Away(String),
    /// The server answered with this status.
    #[error("the server answered {0}")]
    Status(u16),
    /// The file is larger than such a file can be.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The place is none of this cache's.
    #[error("`{0}` is no place in this cache")]
    Place(String),
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Away(error.to_string()),
        }
    }
}

/// Reads a small file whole.
pub(super) fn get(place: &Place, name: &str, limit: u64) -> Result<Vec<u8>, TransportError> {
    let mut data = Vec::new();
    match locate(place, name)? {
        Located::File(path) => File::open(path)?.take(limit + 1).read_to_end(&mut data)?,
        Located::Url(url) => request(&url, 0)?.body.take(limit + 1).read_to_end(&mut data)?,
    };
    if data.len() as u64 > limit { Err(TransportError::TooLarge(limit)) } else { Ok(data) }
}

/// Whether a file is there.
pub(super) fn exists(place: &Place, name: &str) -> Result<bool, TransportError> {
    match locate(place, name)? {
        Located::File(path) => Ok(path.try_exists()?),
        Located::Url(url) => {
            let response = agent()
                .head(&url)
                .config()
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(ANSWER))
                .build()
                .call()
                .map_err(|error| TransportError::Away(error.to_string()))?;
            match response.status().as_u16() {
                200..=299 => Ok(true),
                403 | 404 | 410 => Ok(false),
                status => Err(TransportError::Status(status)),
            }
        }
    }
}

/// Opens a file of any size.
pub(super) fn open(place: &Place, name: &str) -> Result<Box<dyn Read + Send>, TransportError> {
    match locate(place, name)? {
        Located::File(path) => {
            let file = File::open(path)?;
            if !file.metadata()?.is_file() {
                return Err(TransportError::Away("it is no plain file".to_owned()));
            }
            Ok(Box::new(file))
        }
        Located::Url(url) => {
            let first = request(&url, 0)?;
            Ok(Box::new(Transfer { url, done: 0, total: first.total, body: Some(first.body), attempts: 0 }))
        }
    }
}

/// Stores a file that is complete at `from`: moved into a directory in one step, or sent to a server.
pub(super) fn put(place: &Place, name: &str, from: &Path) -> Result<(), TransportError> {
    match locate(place, name)? {
        Located::File(path) => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            Ok(fs::rename(from, path)?)
        }
        Located::Url(url) => {
            let file = File::open(from)?;
            let length = file.metadata()?.len();
            let response = agent()
                .put(&url)
                .header("Content-Length", length.to_string())
                .config()
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT))
                .build()
                .send(ureq::SendBody::from_owned_reader(file))
                .map_err(|error| TransportError::Away(error.to_string()))?;
            match response.status().as_u16() {
                200..=299 => Ok(()),
                status => Err(TransportError::Status(status)),
            }
        }
    }
}

/// Where a file that is to be `put` is written first: on the same file system as the cache, if that is a directory.
pub(super) fn temporary(place: &Place, name: &str) -> Result<PathBuf, TransportError> {
    let directory = match place {
        Place::Directory(directory) => directory.clone(),
        Place::Server(_) | Place::Root(_) | Place::Ssh(_) | Place::SshDaemon(_) => std::env::temp_dir(),
    };
    fs::create_dir_all(&directory)?;
    Ok(directory.join(format!(".tmp-{}-{name}", std::process::id())))
}

/// Writes a small file.
pub(super) fn put_text(place: &Place, name: &str, text: &str) -> Result<(), TransportError> {
    let temporary = temporary(place, &name.replace('/', "-"))?;
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    let put = put(place, name, &temporary);
    if put.is_err() || !matches!(place, Place::Directory(_)) {
        fs::remove_file(&temporary)?;
    }
    put
}

enum Located {
    File(PathBuf),
    Url(String),
}

/// A name that a cache gave us must lie in that cache: a server's may be another address, but never a file of ours.
fn locate(place: &Place, name: &str) -> Result<Located, TransportError> {
    let outside = || TransportError::Place(name.to_owned());
    match place {
        Place::Directory(directory) => {
            let inside = Path::new(name);
            let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || name.contains("://") {
                return Err(outside());
            }
            Ok(Located::File(directory.join(inside)))
        }
        Place::Server(_) if name.starts_with("https://") || name.starts_with("http://") => {
            Ok(Located::Url(name.to_owned()))
        }
        Place::Server(base) if !name.contains("://") && !name.starts_with('/') => {
            Ok(Located::Url(format!("{base}/{name}")))
        }
        _ => Err(outside()),
    }
}

struct Answer {
    body: Box<dyn Read + Send>,
    /// Bytes in all, from the first.
    total: Option<u64>,
}

/// Asks for a file from a position on.
fn request(url: &str, from: u64) -> Result<Answer, TransportError> {
    let mut request = agent().get(url).header("User-Agent", "firn").header("Accept-Encoding", "identity");
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request
        .config()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_recv_body(Some(BODY))
        .build()
        .call()
        .map_err(|error| TransportError::Away(error.to_string()))?;
    let status = response.status().as_u16();
    let length =
        response.headers().get("content-length").and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    let mut body: Box<dyn Read + Send> = Box::new(response.into_body().into_reader());
    match status {
        206 => Ok(Answer { body, total: length.map(|length| length + from) }),
        200..=299 => {
            // A server that knows no ranges begins at the beginning.
            let skipped = io::copy(&mut body.by_ref().take(from), &mut io::sink())?;
            if skipped < from {
                return Err(TransportError::Away(format!("the transfer ended after {skipped} bytes")));
            }
            Ok(Answer { body, total: length })
        }
        403 | 404 | 410 => Err(TransportError::Missing),
        status => Err(TransportError::Status(status)),
    }
}

/// A transfer that survives broken connections.
struct Transfer {
    url: String,
    done: u64,
    total: Option<u64>,
    body: Option<Box<dyn Read + Send>>,
    attempts: u32,
}

impl Transfer {
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let body = match &mut self.body {
            Some(body) => body,
            none => {
                let answer = request(&self.url, self.done).map_err(io::Error::other)?;
                self.total = answer.total.or(self.total);
                none.insert(answer.body)
            }
        };
        let count = body.read(buffer)?;
        match self.total {
            Some(total) if count == 0 && self.done < total => {
                Err(io::Error::other(format!("the transfer ended after {} of {total} bytes", self.done)))
            }
            _ => Ok(count),
        }
    }
}

impl Read for Transfer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.step(buffer) {
                Ok(count) => {
                    self.done += count as u64;
                    self.attempts = 0;
                    return Ok(count);
                }
                Err(error) => {
                    self.body = None;
                    self.attempts += 1;
                    if self.attempts >= ATTEMPTS {
                        return Err(error);
                    }
                    log::debug!("{}: {error}; going on at byte {}", self.url, self.done);
                    std::thread::sleep(Duration::from_millis(100 << self.attempts));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_cannot_name_files_of_ours() {
        let directory = Place::Directory("/cache".into());
        let server = Place::Server("https://h/x".to_owned());
        for name in ["../etc/passwd", "/etc/passwd", "nar/../../x", "file:///etc/passwd", "https://h/x"] {
            assert!(locate(&directory, name).is_err(), "{name}");
        }
        for name in ["file:///etc/passwd", "/etc/passwd", "ftp://h/x"] {
            assert!(locate(&server, name).is_err(), "{name}");
        }
        assert!(matches!(locate(&server, "nar/x"), Ok(Located::Url(url)) if url == "https://h/x/nar/x"));
        assert!(
            matches!(locate(&directory, "nar/x"), Ok(Located::File(path)) if path == Path::new("/cache/nar/x"))
        );
    }
}
