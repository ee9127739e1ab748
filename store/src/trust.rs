//! Which paths may become valid because somebody vouches for them: a signature by a trusted key, or a name that follows
//! from the content itself. Nix manual, "trusted-public-keys", "require-sigs".

use crate::error::{Error, Result};
use crate::open::Store;
use formats::path_info::PathInfo;
use formats::signature::{PublicKey, SecretKey, TrustedKeys};
use formats::store_path::{StoreDir, StorePath};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Whom a store believes.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Whether a path from elsewhere needs a signature at all (`require-sigs`).
    pub require_signatures: bool,
    /// The keys whose signatures count (`trusted-public-keys`).
    pub keys: TrustedKeys,
}

impl Default for Trust {
    /// Signatures are wanted and no key is trusted: only what is named after its content gets in.
    fn default() -> Self {
        Self { require_signatures: true, keys: TrustedKeys::default() }
    }
}

impl Trust {
    /// Whether this description may be believed. Signatures by our own keys count as those of trusted ones.
    #[must_use]
    pub fn accepts(&self, info: &PathInfo, store: &StoreDir, own: &[SecretKey]) -> bool {
        !self.require_signatures
            || has_own_address(info, store)
            || signers(info, store, &self.keys).next().is_some()
            || signers(info, store, &TrustedKeys::new(own.iter().map(SecretKey::public))).next().is_some()
    }
}

/// The trusted keys that signed this description.
pub fn signers<'a>(
    info: &'a PathInfo,
    store: &StoreDir,
    keys: &'a TrustedKeys,
) -> impl Iterator<Item = &'a str> {
    let fingerprint = if keys.is_empty() { String::new() } else { info.fingerprint(store) };
    info.signatures.iter().filter_map(move |signature| keys.verify(&fingerprint, signature))
}

/// Whether the path's name is the one that its content address makes. The content itself is compared when it is there.
#[must_use]
pub fn has_own_address(info: &PathInfo, store: &StoreDir) -> bool {
    let Some(address) = &info.content_address else { return false };
    let mut references = info.references.clone();
    let own = references.remove(&info.path);
    store
        .make_content_address_path(info.path.name(), address, &references, own)
        .is_ok_and(|path| path == info.path)
}

impl Store {
    /// Refuses a path that nobody vouches for.
    pub fn check_signatures(&self, info: &PathInfo) -> Result<()> {
        if self.options.trust.accepts(info, self.dir(), &self.options.secret_keys) {
            return Ok(());
        }
        Err(Error::Untrusted {
            path: self.dir().print(&info.path),
            signed_by: info
                .signatures
                .iter()
                .filter_map(|signature| signature.split_once(':').map(|(name, _)| name.to_owned()))
                .collect(),
        })
    }

    /// Signs a valid path.
    pub fn sign_path(&self, path: &StorePath, key: &SecretKey) -> Result<()> {
        let info = self.path_info(path)?;
        self.add_signatures(path, [key.sign(&info.fingerprint(self.dir()))])
    }

    /// The valid paths with fewer trusted signatures than wanted: neither made here nor named after their content.
    pub fn lacking_signatures(&self, wanted: usize) -> Result<Vec<StorePath>> {
        let mut lacking = Vec::new();
        for path in self.all_valid()? {
            let info = self.path_info(&path)?;
            let signed = signers(&info, self.dir(), &self.options.trust.keys).count();
            if !info.ultimate && !has_own_address(&info, self.dir()) && signed < wanted {
                lacking.push(path);
            }
        }
        Ok(lacking)
    }

    /// Signs what was made here, with all keys of the store's options (`secret-key-files`).
    pub(crate) fn sign_new(&self, info: &mut PathInfo) {
        let fingerprint = info.fingerprint(self.dir());
        info.signatures.extend(self.options.secret_keys.iter().map(|key| key.sign(&fingerprint)));
    }
}

/// Makes a key from the kernel's randomness.
pub fn generate_key(name: &str) -> Result<SecretKey> {
    let mut seed = [0; 32];
    let mut done = 0;
    while let Some(rest) = seed.get_mut(done..).filter(|rest| !rest.is_empty()) {
        done += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
            .map_err(Error::call("reading randomness for", name))?;
    }
    SecretKey::from_seed(name, &seed).map_err(|error| Error::Invalid(error.to_string()))
}

/// Reads a secret key from its file.
pub fn read_secret_key(file: &Path) -> Result<SecretKey> {
    let text = fs::read_to_string(file).map_err(Error::file("reading the secret key", file))?;
    text.parse().map_err(|error| Error::Invalid(format!("`{}`: {error}", file.display())))
}

/// Writes a new pair of keys to files; the secret one is for its owner's eyes only.
pub fn write_key_pair(key: &SecretKey, secret: &Path, public: &Path) -> Result<()> {
    write_new(secret, &key.reveal(), 0o600)?;
    write_new(public, &PublicKey::to_string(&key.public()), 0o644)
}

fn write_new(file: &Path, text: &str, mode: u32) -> Result<()> {
    let mut open = fs::OpenOptions::new();
    let mut output = open
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)
        .map_err(Error::file("creating the key file", file))?;
    output.write_all(text.as_bytes()).map_err(Error::file("writing the key file", file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::content_address::{ContentAddress, Method};
    use formats::hash::Hash;

    fn info(store: &StoreDir) -> PathInfo {
        let hash = Hash::sha256("some NAR");
        let path = store.parse("/nix/store/k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d").unwrap();
        PathInfo::new(path, hash, 8)
    }

    #[test]
    fn a_signature_by_a_trusted_key_is_needed() {
        let store = StoreDir::default();
        let (ours, theirs) = (generate_key("ours").unwrap(), generate_key("theirs").unwrap());
        let trust = Trust { require_signatures: true, keys: TrustedKeys::new([ours.public()]) };
        let mut signed = info(&store);
        assert!(!trust.accepts(&signed, &store, &[]));
        signed.signatures.insert(theirs.sign(&signed.fingerprint(&store)));
        assert!(!trust.accepts(&signed, &store, &[]));
        assert!(trust.accepts(&signed, &store, &[theirs]));
        signed.signatures.insert(ours.sign(&signed.fingerprint(&store)));
        assert!(trust.accepts(&signed, &store, &[]));
        // A signature is for one description: another size, reference or hash needs another.
        for change in [
            |info: &mut PathInfo| info.nar_size += 1,
            |info: &mut PathInfo| info.nar_hash = Hash::sha256("other"),
            |info: &mut PathInfo| info.references.extend([info.path.clone()]),
        ] {
            let mut changed = signed.clone();
            change(&mut changed);
            assert!(!trust.accepts(&changed, &store, &[]));
        }
        assert!(Trust { require_signatures: false, ..Trust::default() }.accepts(&info(&store), &store, &[]));
    }

    #[test]
    fn a_content_address_must_make_the_name() {
        let store = StoreDir::default();
        let hash = Hash::sha256("some NAR");
        let address = ContentAddress { method: Method::Recursive, hash };
        let mut forged = info(&store);
        forged.content_address = Some(address);
        assert!(!Trust::default().accepts(&forged, &store, &[]));
        let path = store.make_content_address_path("d", &address, &forged.references, false).unwrap();
        let mut honest = PathInfo::new(path, hash, 8);
        honest.content_address = Some(address);
        assert!(Trust::default().accepts(&honest, &store, &[]));
    }

    #[test]
    fn key_files_are_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let (secret, public) = (directory.path().join("secret"), directory.path().join("public"));
        let key = generate_key("k-1").unwrap();
        write_key_pair(&key, &secret, &public).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            read_secret_key(&secret).unwrap().public(),
            fs::read_to_string(&public).unwrap().parse().unwrap()
        );
        assert!(write_key_pair(&key, &secret, &public).is_err());
    }
}
