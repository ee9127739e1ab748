//! `builtin:fetchurl`: downloads in this process. What comes is checked against the derivation's hash like every
//! fixed output; until then it is only a file in the build's own directory. Broken transfers go on where they broke.

use super::one::Job;
use super::{Event, FailureKind};
use crate::error::Error;
use crate::tree;
use formats::content_address::Method;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, parse_pem};

/// How often a transfer is begun anew or continued.
const ATTEMPTS: u32 = 5;
/// How often a listener hears of a download.
const NEWS: Duration = Duration::from_millis(100);

/// Downloads.
pub(super) fn fetch_url(job: &Job<'_>) -> Result<(), FailureKind> {
    let Some(output) = job.outputs.get("out").filter(|_| job.may_use_network()) else {
        return Err(FailureKind::Unsupported(
            "'builtin:fetchurl' must be a fixed-output or impure derivation".to_owned(),
        ));
    };
    let mut urls = mirrors(job);
    urls.extend(job.attributes.text("url"));
    urls.extend(job.attributes.words("urls").unwrap_or_default());
    let download = job.scratch.build().join("download");
    let mut errors = Vec::new();
    let fetched = urls.iter().any(|url| match fetch_one(job, url, &download) {
        Ok(()) => true,
        Err(error) => {
            errors.push(format!("cannot download {url}: {error}"));
            false
        }
    });
    if job.options.cancel.load(Ordering::SeqCst) {
        return Err(FailureKind::Cancelled);
    }
    if !fetched {
        let errors = if urls.is_empty() { "it names no `url`".to_owned() } else { errors.join("\n  ") };
        return Err(FailureKind::Fetch(errors));
    }
    let target = job.scratch.store().join(output.base_name());
    if job.attributes.flag("unpack") {
        return unpack(&download, &target, urls.first().map(String::as_str).unwrap_or_default());
    }
    let mode = if job.attributes.flag("executable") { 0o755 } else { 0o644 };
    fs::set_permissions(&download, fs::Permissions::from_mode(mode))
        .map_err(Error::file("changing the mode of", &download))?;
    fs::rename(&download, &target).map_err(Error::file("moving", &download))?;
    Ok(())
}

/// Where mirrors that are ordered by hash have the file.
fn mirrors(job: &Job<'_>) -> Vec<String> {
    let Some(address) = job.goal.derivation.fixed_output().filter(|address| address.method == Method::Flat)
    else {
        return Vec::new();
    };
    let (algorithm, digits) = (address.hash.algorithm(), address.hash.digits16());
    let place = |mirror: &String| format!("{}/{algorithm}/{digits}", mirror.trim_end_matches('/'));
    job.options.hashed_mirrors.iter().map(place).collect()
}

/// `unpack`: the file is a NAR, perhaps compressed.
fn unpack(download: &Path, target: &Path, url: &str) -> Result<(), FailureKind> {
    let file = File::open(download).map_err(Error::file("opening", download))?;
    let mut input: Box<dyn Read> = if Path::new(url).extension() == Some("xz".as_ref()) {
        Box::new(liblzma::read::XzDecoder::new_multi_decoder(file))
    } else {
        Box::new(io::BufReader::new(file))
    };
    tree::restore(target, &mut input)?;
    Ok(())
}

/// Why one address gave nothing.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] Box<ureq::Error>),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server answered {0}")]
    Status(u16),
    #[error("the transfer ended after {done} of {total} bytes")]
    Short { done: u64, total: u64 },
    #[error("cancelled")]
    Cancelled,
    #[error("`{0}` is not an address that Firn can fetch (https, http, file)")]
    Scheme(String),
}

impl FetchError {
    /// Whether trying again makes sense.
    fn is_passing(&self) -> bool {
        match self {
            Self::Http(error) => !matches!(**error, ureq::Error::BadUri(_) | ureq::Error::Tls(_)),
            Self::Io(_) | Self::Short { .. } => true,
            Self::Status(status) => *status >= 500 || *status == 429 || *status == 408,
            Self::Cancelled | Self::Scheme(_) => false,
        }
    }
}

fn fetch_one(job: &Job<'_>, url: &str, target: &Path) -> Result<(), FetchError> {
    if let Some(path) = url.strip_prefix("file://") {
        fs::copy(path, target)?;
        return Ok(());
    }
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err(FetchError::Scheme(url.to_owned()));
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(target)?;
    let mut attempt = 0;
    loop {
        let before = file.stream_position()?;
        match transfer(job, url, &mut file) {
            Ok(()) => return Ok(()),
            Err(error) if !error.is_passing() => return Err(error),
            Err(error) => {
                // Progress is a reason to go on.
                attempt = if file.stream_position()? > before { 1 } else { attempt + 1 };
                if attempt >= ATTEMPTS {
                    return Err(error);
                }
                log::warn!("{url}: {error}; trying again");
                std::thread::sleep(Duration::from_millis(250 << attempt));
            }
        }
    }
}

/// One request, continuing behind what the file holds.
fn transfer(job: &Job<'_>, url: &str, file: &mut File) -> Result<(), FetchError> {
    let mut done = file.seek(SeekFrom::End(0))?;
    let mut request = agent().get(url).header("User-Agent", "firn").header("Accept-Encoding", "identity");
    if done > 0 {
        request = request.header("Range", format!("bytes={done}-"));
    }
    let response = request.call().map_err(|error| match error {
        ureq::Error::StatusCode(status) => FetchError::Status(status),
        other => FetchError::Http(Box::new(other)),
    })?;
    let partial = response.status().as_u16() == 206;
    if done > 0 && !partial {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        done = 0;
    }
    let length =
        response.headers().get("content-length").and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    let total = length.map(|length| length + done);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 128 * 1024];
    let mut told = Instant::now();
    loop {
        if job.options.cancel.load(Ordering::SeqCst) {
            return Err(FetchError::Cancelled);
        }
        let count = body.read(&mut buffer)?;
        file.write_all(buffer.get(..count).unwrap_or_default())?;
        done += count as u64;
        if count == 0 || told.elapsed() > NEWS {
            told = Instant::now();
            job.options.progress.event(&Event::Downloaded { derivation: &job.goal.path, done, total });
        }
        if count == 0 {
            break;
        }
    }
    match total.filter(|total| *total != done) {
        Some(total) => Err(FetchError::Short { done, total }),
        None => Ok(()),
    }
}

/// The system's certificates, if it has any where Nix and OpenSSL look.
pub(super) fn certificate_file() -> Option<PathBuf> {
    let from_environment = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"]
        .into_iter()
        .filter_map(std::env::var_os)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    from_environment
        .chain(["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"].map(PathBuf::from))
        .find(|path| path.is_file())
}

/// One agent for the process: it keeps connections open.
pub(crate) fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        // The system's certificates where there are some; those of Mozilla, built in, elsewhere.
        let certificates: Vec<Certificate<'static>> = certificate_file()
            .and_then(|path| fs::read(path).ok())
            .map(|text| {
                parse_pem(&text)
                    .filter_map(|item| match item {
                        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        let roots = if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::from(certificates) };
        Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build()
            .new_agent()
    })
}
