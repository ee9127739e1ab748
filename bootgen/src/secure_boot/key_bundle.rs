//! Where the owner's keys lie: a directory as sbctl lays it out, /var/lib/sbctl, so that either program goes on with the other's
//! keys. `GUID` names the owner; `keys/PK`, `keys/KEK` and `keys/db` each hold a key and its certificate: the platform key
//! allows changes of the key exchange key, that one changes of the database, and the database's key signs programs.
//!
//! Keys are secrets of the machine: only root reads them, and they never go into the store.

use super::keys::{KeyError, KeyPair};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where sbctl keeps its own.
pub const DIRECTORY: &str = "/var/lib/sbctl";

/// One of the three keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `PK`: allows changes of `KEK`.
    Platform,
    /// `KEK`: allows changes of `db`.
    KeyExchange,
    /// `db`: signs programs.
    Database,
}

impl Role {
    /// All of them, in the order in which they sign each other.
    pub const ALL: [Self; 3] = [Self::Platform, Self::KeyExchange, Self::Database];

    /// The name of the variable that holds the certificate, of the directory and of the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "PK",
            Self::KeyExchange => "KEK",
            Self::Database => "db",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Platform => "CN=Platform Key",
            Self::KeyExchange => "CN=Key Exchange Key",
            Self::Database => "CN=Database Key",
        }
    }
}

/// Why keys cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There are none yet.
    #[error("there is no key at {}: make keys with `firn secure-boot create-keys`, or copy the owner's there", .0.display())]
    Missing(PathBuf),
    /// There are some already.
    #[error("there are keys in {} already; remove that directory first to be rid of them (what they signed does not start any more once others are enrolled)", .0.display())]
    Exists(PathBuf),
    /// A file operation.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The owner's GUID is none.
    #[error("{} holds no GUID (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)", .0.display())]
    Guid(PathBuf),
}

/// The directory.
#[derive(Debug, Clone)]
pub struct KeyBundle {
    directory: PathBuf,
}

impl KeyBundle {
    /// The keys in this directory, which need not be there yet.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf() }
    }

    /// The files of a role: its key and its certificate.
    pub fn files(&self, role: Role) -> (PathBuf, PathBuf) {
        let base = self.keys().join(role.name()).join(role.name());
        (base.with_extension("key"), base.with_extension("pem"))
    }

    /// Whether there are keys.
    pub fn exists(&self) -> bool {
        self.keys().exists()
    }

    /// Reads the key of a role.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(&self, role: Role) -> Result<KeyPair, BundleError> {
        let (key, certificate) = self.files(role);
        read_pair(&key, &certificate)
    }

    /// The owner's GUID, in text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn owner(&self) -> Result<crate::identity::Uuid, BundleError> {
        let path = self.directory.join("GUID");
        let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        crate::identity::Uuid::parse(text.trim()).ok_or(BundleError::Guid(path))
    }

    /// Makes new keys of that many bits, all of them or none. `now` is the time since 1970.
    ///
    /// # Errors
    /// When there are keys already, or they cannot be written.
    pub fn create(&self, bits: usize, now: Duration) -> Result<(), BundleError> {
        if self.exists() {
            return Err(BundleError::Exists(self.keys()));
        }
        let made = |source| BundleError::Key { path: self.keys(), source };
        let mut guid = [0; 16];
        getrandom::fill(&mut guid).map_err(|error| made(KeyError::Making(error.to_string())))?;
        let guid = crate::identity::Uuid::derive(&guid, "secure boot owner");
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.directory)
            .map_err(failed("make", &self.directory))?;
        // What a run that was cut off has left.
        let new = self.directory.join("keys.new");
        match std::fs::remove_dir_all(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &new)(error));
            }
            _ => {}
        }
        for role in Role::ALL {
            let directory = new.join(role.name());
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(failed("make", &directory))?;
            let pair = KeyPair::generate(bits, role.subject(), now).map_err(made)?;
            let file = directory.join(role.name());
            write(&file.with_extension("key"), &pair.key_to_pem().map_err(made)?)?;
            write(&file.with_extension("pem"), &pair.certificate().to_pem().map_err(made)?)?;
            sync(&directory)?;
        }
        sync(&new)?;
        let place = self.directory.join("GUID");
        if !place.exists() {
            write(&place, &format!("{guid}\n"))?;
        }
        std::fs::rename(&new, self.keys()).map_err(failed("rename", &new))?;
        sync(&self.directory)
    }

    fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }
}

/// Reads a key and its certificate from two files.
///
/// # Errors
/// When one is missing or damaged.
pub fn read_pair(key: &Path, certificate: &Path) -> Result<KeyPair, BundleError> {
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(BundleError::Missing(path.to_path_buf()))
        }
        other => other.map_err(failed("read", path)),
    };
    let (key_text, certificate_text) = (read(key)?, read(certificate)?);
    KeyPair::from_pem(&key_text, &certificate_text).map_err(|source| {
        let path = if matches!(source, KeyError::Certificate(_)) { certificate } else { key };
        BundleError::Key { path: path.to_path_buf(), source }
    })
}

/// Whether others than the owner may read or write a file: keys should not be like that.
///
/// # Errors
/// When it cannot be looked at.
pub fn open_to_others(path: &Path) -> std::io::Result<bool> {
    Ok(path.metadata()?.permissions().mode() & 0o077 != 0)
}

fn write(path: &Path, text: &str) -> Result<(), BundleError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("make", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

fn sync(directory: &Path) -> Result<(), BundleError> {
    std::fs::File::open(directory).and_then(|file| file.sync_all()).map_err(failed("write out", directory))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BundleError {
    move |source| BundleError::File { doing, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure_boot::keys::SHORTEST;

    #[test]
    fn keys_are_made_once_and_only_for_root() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = KeyBundle::at(&directory.path().join("sbctl"));
        assert!(
            matches!(bundle.read(Role::Database), Err(BundleError::Missing(path)) if path.ends_with("keys/db/db.key"))
        );
        // Of a run that was killed.
        std::fs::create_dir_all(directory.path().join("sbctl/keys.new/PK")).unwrap();
        bundle.create(SHORTEST, Duration::from_secs(1_790_000_000)).unwrap();
        for role in Role::ALL {
            let pair = bundle.read(role).unwrap();
            assert_eq!(pair.certificate().name(), role.subject());
            assert!(!open_to_others(&bundle.files(role).0).unwrap());
        }
        let owner = bundle.owner().unwrap();
        assert!(matches!(bundle.create(SHORTEST, Duration::ZERO), Err(BundleError::Exists(_))));
        assert_eq!(bundle.owner().unwrap(), owner);
        let (key, certificate) = bundle.files(Role::Database);
        std::fs::write(&certificate, "x").unwrap();
        let error = bundle.read(Role::Database).unwrap_err().to_string();
        assert!(error.contains("keys/db/db.pem: it is no X.509 certificate"), "{error}");
        std::fs::write(key, "x").unwrap();
        let error = bundle.read(Role::Database).unwrap_err().to_string();
        assert!(error.contains("keys/db/db.key: it is no RSA key"), "{error}");
        std::fs::write(directory.path().join("sbctl/GUID"), "x").unwrap();
        assert!(matches!(bundle.owner(), Err(BundleError::Guid(_))));
    }
}
