//! A generation as one signed program: systemd's stub with the kernel, the initrd and the command line in it (UAPI.5,
//! "Unified Kernel Image"). With Secure Boot on the stub takes no other command line than this one, so that nothing of what
//! boots can be exchanged without breaking the signature.
//!
//! Such a program is only put together when it is written: until then it is known by what goes into it.

use super::authenticode::{self, ProgramError};
use super::keys::KeyPair;
use super::pe::{half, slice};
use super::sections::{self, SectionError};
use crate::boot_entry::BootEntry;
use crate::file_hashes::hex;
use crate::generations::resolve;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Changes when the same parts are put together to other bytes.
const FORM: &[u8] = b"firn unified kernel 1";

/// What all programs of one boot menu share: the stub, and the key that signs.
pub struct Signing {
    stub: Vec<u8>,
    key: KeyPair,
    /// What a signature takes. Making one to see is not for each entry anew.
    signature_size: OnceLock<u64>,
}

impl std::fmt::Debug for Signing {
    /// Without the stub's bytes.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signing").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a generation cannot be made such a program.
#[derive(Debug, thiserror::Error)]
pub enum UnifyError {
    /// A part cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The part.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A part has other bytes than when the menu was planned.
    #[error("{} changed while the boot menu was written, or the disk is damaged (see `firn store verify --contents`)", .0.display())]
    Changed(PathBuf),
    /// The stub cannot take the parts.
    #[error("systemd's stub cannot be used: {0}")]
    Stub(#[from] SectionError),
    /// It cannot be signed.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// One generation as one program.
#[derive(Debug, Clone)]
pub struct UnifiedKernel {
    /// Its path on the boot partition: named by all that goes into it and the key's certificate.
    pub path: String,
    /// Its size in bytes, signature included.
    pub size: u64,
    signing: Arc<Signing>,
    os_release: String,
    command_line: String,
    /// As `uname -r` will say it; nothing when the kernel does not tell.
    version: Option<String>,
    kernel: Part,
    initrd: Option<Part>,
}

/// A file of the store and what it must hold.
#[derive(Debug, Clone)]
struct Part {
    source: PathBuf,
    size: u64,
    sha256: [u8; 32],
}

impl PartialEq for UnifiedKernel {
    /// Alike in all that goes in: the name is a hash of it.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for UnifiedKernel {}

impl Signing {
    /// With this stub (the bytes of `linuxx64.efi.stub`) and key.
    pub fn new(stub: Vec<u8>, key: KeyPair) -> Self {
        Self { stub, key, signature_size: OnceLock::new() }
    }

    /// The key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// A menu entry as one program, to be written to the directory of this token.
    ///
    /// # Errors
    /// When the stub is none or the key cannot sign.
    pub fn unify(
        self: &Arc<Self>,
        root: &Path,
        token: &str,
        toplevel: &Path,
        entry: &BootEntry,
    ) -> Result<UnifiedKernel, UnifyError> {
        let part = |file: &crate::boot_entry::DataFile| Part {
            source: file.source.clone(),
            size: file.size,
            sha256: file.sha256,
        };
        // Only information for tools that list such programs: a generation without it boots as well.
        let os_release = std::fs::read_to_string(resolve(root, &toplevel.join("etc/os-release")));
        let mut image = UnifiedKernel {
            path: String::new(),
            size: 0,
            signing: Arc::clone(self),
            os_release: os_release.unwrap_or_default(),
            command_line: entry.options.clone(),
            version: kernel_version(&entry.kernel.source),
            kernel: part(&entry.kernel),
            initrd: entry.initrd.as_ref().map(part),
        };
        image.path = format!("EFI/{token}/{}-linux.efi", hex(&image.identity()[..16]));
        let sizes: Vec<(&str, u64)> =
            image.texts().iter().map(|(name, text)| (*name, text.len() as u64)).collect();
        let files = image.files().into_iter().map(|(name, part)| (name, part.size));
        let unsigned = sections::size_with(&self.stub, &sizes.into_iter().chain(files).collect::<Vec<_>>())?;
        let signature = match self.signature_size.get() {
            Some(size) => *size,
            None => authenticode::signature_size(&self.key).map_err(ProgramError::from)?,
        };
        self.signature_size.get_or_init(|| signature);
        image.size = authenticode::signed_size(unsigned, signature);
        Ok(image)
    }

    /// A program of the loader's with a signature.
    ///
    /// # Errors
    /// When it is no program or the key cannot sign.
    pub fn program(&self, program: &[u8]) -> Result<Vec<u8>, ProgramError> {
        authenticode::sign(program, &self.key)
    }
}

impl UnifiedKernel {
    /// Puts it together and signs it. The same parts and key give the same bytes.
    ///
    /// # Errors
    /// When a part cannot be read or is not what it was.
    pub fn bytes(&self) -> Result<Vec<u8>, UnifyError> {
        let mut read = Vec::new();
        for (name, part) in self.files() {
            let bytes = std::fs::read(&part.source)
                .map_err(|source| UnifyError::Read { path: part.source.clone(), source })?;
            if Sha256::digest(&bytes).as_slice() != part.sha256 {
                return Err(UnifyError::Changed(part.source.clone()));
            }
            read.push((name, bytes));
        }
        let texts = self.texts();
        let texts = texts.iter().map(|(name, text)| (*name, text.as_bytes()));
        let files = read.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        let whole = sections::add(&self.signing.stub, &texts.chain(files).collect::<Vec<_>>())?;
        Ok(authenticode::sign(&whole, &self.signing.key)?)
    }

    /// The key that signs it.
    pub fn key(&self) -> &KeyPair {
        &self.signing.key
    }

    fn texts(&self) -> Vec<(&'static str, &str)> {
        let os_release = Some((".osrel", self.os_release.as_str())).filter(|(_, text)| !text.is_empty());
        let version = self.version.as_ref().map(|version| (".uname", version.as_str()));
        os_release.into_iter().chain([(".cmdline", self.command_line.as_str())]).chain(version).collect()
    }

    /// The kernel before the initrd, as systemd's ukify has it.
    fn files(&self) -> Vec<(&'static str, &Part)> {
        let initrd = self.initrd.as_ref().map(|initrd| (".initrd", initrd));
        std::iter::once((".linux", &self.kernel)).chain(initrd).collect()
    }

    fn identity(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // Each part with its length, so that none can pass into the next.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(FORM);
        part(&Sha256::digest(&self.signing.stub));
        part(&self.signing.key.certificate().fingerprint());
        self.texts().iter().for_each(|(_, text)| part(text.as_bytes()));
        self.files().iter().for_each(|(_, file)| part(&file.sha256));
        hash.finalize().into()
    }
}

/// The version in a bzImage's header (Documentation/arch/x86/boot.rst, `kernel_version`), up to the first blank.
fn kernel_version(kernel: &Path) -> Option<String> {
    let mut head = vec![0; 0x8000];
    let read = std::fs::File::open(kernel).and_then(|mut file| read_up_to(&mut file, &mut head)).ok()?;
    head.truncate(read);
    slice(&head, 0x202, 4).filter(|magic| *magic == b"HdrS")?;
    let text = head.get(0x200 + usize::from(half(&head, 0x20e).filter(|place| *place != 0)?)..)?;
    let end = text.iter().position(|byte| matches!(byte, 0 | b' ')).filter(|end| (1..=64).contains(end))?;
    let version = std::str::from_utf8(text.get(..end)?).ok()?;
    version.bytes().all(|byte| byte.is_ascii_graphic()).then(|| version.to_owned())
}

fn read_up_to(file: &mut std::fs::File, buffer: &mut [u8]) -> std::io::Result<usize> {
    use std::io::Read as _;
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_entry::DataFile;
    use crate::file_hashes::hash_file;
    use crate::secure_boot::keys::samples::{other, owner};
    use crate::secure_boot::pe::{Layout, samples::program};

    fn data(directory: &Path, name: &str, contents: &[u8]) -> DataFile {
        let source = directory.join(name);
        std::fs::write(&source, contents).unwrap();
        let (sha256, size) = hash_file(&source).unwrap();
        DataFile { path: String::new(), source, size, sha256 }
    }

    fn entry(directory: &Path) -> BootEntry {
        BootEntry {
            generation: 1,
            specialisation: None,
            title: "Firn".to_owned(),
            version: "Generation 1".to_owned(),
            kernel: data(directory, "kernel", &[3; 9001]),
            initrd: Some(data(directory, "initrd", &[4; 777])),
            options: "init=/x/init quiet".to_owned(),
            unified: None,
        }
    }

    fn signing(key: KeyPair) -> Arc<Signing> {
        Arc::new(Signing::new(program(&[(".text", b"stub")], b""), key))
    }

    #[test]
    fn it_holds_all_that_boots_and_has_the_size_that_was_planned() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("system/etc")).unwrap();
        std::fs::write(root.join("system/etc/os-release"), "ID=firn\n").unwrap();
        let unify = |signing: &Arc<Signing>, entry: &BootEntry| {
            signing.unify(root, "firn-1", Path::new("/system"), entry).unwrap()
        };
        let signing_by_owner = signing(owner());
        let image = unify(&signing_by_owner, &entry(root));
        let bytes = image.bytes().unwrap();
        assert_eq!(bytes.len() as u64, image.size);
        assert!(image.bytes().unwrap() == bytes);
        assert!(authenticode::verify(&bytes, &[owner().certificate().clone()]).is_ok());
        let layout = Layout::of(&bytes).unwrap();
        for (name, contents) in [
            (".osrel", b"ID=firn\n".to_vec()),
            (".cmdline", b"init=/x/init quiet".to_vec()),
            (".linux", vec![3; 9001]),
            (".initrd", vec![4; 777]),
        ] {
            let section = layout.section(name).unwrap();
            assert!(bytes[section.data.start..][..section.size as usize] == contents, "{name}");
        }

        // Another name with anything that is another.
        let mut paths = std::collections::BTreeSet::from([image.path.clone()]);
        assert_eq!(unify(&signing(owner()), &entry(root)), image);
        assert!(paths.insert(unify(&signing(other()), &entry(root)).path));
        let options = BootEntry { options: "init=/y/init".to_owned(), ..entry(root) };
        assert!(paths.insert(unify(&signing_by_owner, &options).path));
        assert!(paths.insert(unify(&signing_by_owner, &BootEntry { initrd: None, ..entry(root) }).path));
    }

    #[test]
    fn the_kernel_tells_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut kernel = vec![0; 0x3000];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x1000u16.to_le_bytes());
        kernel[0x1200..0x1212].copy_from_slice(b"6.1.0-56-cloud (x)");
        std::fs::write(root.join("kernel"), &kernel).unwrap();
        assert_eq!(kernel_version(&root.join("kernel")).as_deref(), Some("6.1.0-56-cloud"));
        let with = BootEntry { kernel: data(root, "kernel", &kernel), ..entry(root) };
        std::fs::write(root.join("kernel"), &kernel).unwrap();
        let image = signing(owner()).unify(root, "t", Path::new("/none"), &with).unwrap();
        let bytes = image.bytes().unwrap();
        assert_eq!(bytes.len() as u64, image.size);
        let section = Layout::of(&bytes).unwrap().section(".uname").unwrap().data.start;
        assert!(bytes[section..].starts_with(b"6.1.0-56-cloud\0"));
        for (at, byte) in [(0x202, 0), (0x20f, 0xff), (0x1200, 0), (0x1201, 0xff)] {
            let mut strange = kernel.clone();
            strange[at] = byte;
            std::fs::write(root.join("kernel"), strange).unwrap();
            assert_eq!(kernel_version(&root.join("kernel")), None, "{at:#x}");
        }
    }

    #[test]
    fn a_kernel_that_changed_is_not_signed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let image = signing(owner()).unify(root, "t", Path::new("/none"), &entry(root)).unwrap();
        std::fs::write(root.join("kernel"), [5; 9001]).unwrap();
        assert!(matches!(image.bytes(), Err(UnifyError::Changed(path)) if path.ends_with("kernel")));
        std::fs::remove_file(root.join("initrd")).unwrap();
        std::fs::write(root.join("kernel"), [3; 9001]).unwrap();
        assert!(matches!(image.bytes(), Err(UnifyError::Read { path, .. }) if path.ends_with("initrd")));
    }
}
