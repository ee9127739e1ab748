//! The firmware's variables for Secure Boot, through Linux's efivarfs: each a file `NAME-VENDOR` with four bytes of attributes
//! before the value (Documentation/filesystems/efivarfs.rst).

use super::key_bundle::{BundleError, KeyBundle, Role};
use super::keys::Certificate;
use super::signature_database::{ATTRIBUTES, certificates_in, list_of, signed_value};
use super::signed_data::SignatureError;
use crate::identity::Uuid;
use rustix::fs::IFlags;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Where Linux shows the variables.
pub const EFIVARFS: &str = "/sys/firmware/efi/efivars";
/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c: whose `PK` and `KEK` are.
const GLOBAL: Uuid =
    Uuid([0x8b, 0xe4, 0xdf, 0x61, 0x93, 0xca, 0x11, 0xd2, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, d719b2cb-3d3a-4596-a3bc-dad00e67656f: whose `db` is.
const DATABASE: Uuid =
    Uuid([0xd7, 0x19, 0xb2, 0xcb, 0x3d, 0x3a, 0x45, 0x96, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);

/// The firmware.
#[derive(Debug, Clone)]
pub struct Firmware {
    variables: PathBuf,
}

/// What the firmware says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Whether it starts signed programs only.
    pub secure_boot: bool,
    /// Whether anybody may enroll keys: there is no platform key.
    pub setup_mode: bool,
}

/// Why keys were not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// A key cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Somebody's keys are enrolled.
    #[error(
        "the firmware has a platform key already, so it takes no other keys: clear the Secure Boot keys in its setup (\"setup mode\"), then run this again"
    )]
    NotInSetupMode,
    /// The machine has no such firmware.
    #[error("this machine was not booted by UEFI firmware, or {} is not mounted", .0.display())]
    NoFirmware(PathBuf),
    /// A key cannot sign.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The firmware said no.
    #[error("the firmware did not take {name}: {source}; {} of PK, KEK and db were changed", if *any { "some" } else { "none" })]
    Refused {
        /// The variable.
        name: &'static str,
        /// What it said.
        source: std::io::Error,
        /// Whether variables before this one were changed.
        any: bool,
    },
}

impl Firmware {
    /// The firmware whose variables are in this directory.
    pub fn at(variables: &Path) -> Self {
        Self { variables: variables.to_path_buf() }
    }

    /// What it says about itself; nothing when there is no UEFI firmware, or one that knows nothing of Secure Boot.
    ///
    /// # Errors
    /// When a variable cannot be read.
    pub fn state(&self) -> std::io::Result<Option<State>> {
        let flag = |name| Ok::<_, std::io::Error>(self.read(name, GLOBAL)?.map(|value| value == [1]));
        let Some(secure_boot) = flag("SecureBoot")? else { return Ok(None) };
        Ok(Some(State { secure_boot, setup_mode: flag("SetupMode")?.unwrap_or_default() }))
    }

    /// The certificates that are enrolled in a role.
    ///
    /// # Errors
    /// When the variable cannot be read.
    pub fn enrolled(&self, role: Role) -> std::io::Result<Vec<Certificate>> {
        let value = self.read(role.name(), vendor(role))?;
        Ok(certificates_in(&value.unwrap_or_default()))
    }

    /// Makes these keys the owner's: `db`, `KEK`, and last `PK`, with which setup mode ends. With `firmware_builtin` the
    /// certificates that the firmware was delivered with (`KEKDefault`, `dbDefault`: its vendor's and Microsoft's) stay beside the
    /// owner's. `time` is in seconds since 1970.
    ///
    /// # Errors
    /// See [`EnrollError`]; all that can be wrong with the keys is found before the first variable is written.
    pub fn enroll(&self, keys: &KeyBundle, firmware_builtin: bool, time: i64) -> Result<(), EnrollError> {
        let refused = |name, any| move |source| EnrollError::Refused { name, source, any };
        let state = self.state().map_err(refused("SetupMode", false))?;
        let state = state.ok_or_else(|| EnrollError::NoFirmware(self.variables.clone()))?;
        if !state.setup_mode {
            return Err(EnrollError::NotInSetupMode);
        }
        let owner = keys.owner()?;
        let mut values = Vec::new();
        for (role, signer) in [
            (Role::Database, Role::KeyExchange),
            (Role::KeyExchange, Role::Platform),
            (Role::Platform, Role::Platform),
        ] {
            let name = role.name();
            let mut lists = list_of(keys.read(role)?.certificate(), owner);
            if firmware_builtin && role != Role::Platform {
                let builtin = self.read(&format!("{name}Default"), GLOBAL).map_err(refused(name, false))?;
                lists.extend(builtin.unwrap_or_default());
            }
            values.push((role, signed_value(name, vendor(role), &lists, time, &keys.read(signer)?)?));
        }
        for (index, (role, value)) in values.iter().enumerate() {
            self.write(role.name(), vendor(*role), value).map_err(refused(role.name(), index > 0))?;
        }
        Ok(())
    }

    /// A variable's value, without its attributes.
    fn read(&self, name: &str, vendor: Uuid) -> std::io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.place(name, vendor)) {
            Ok(bytes) => Ok(Some(bytes.get(4..).unwrap_or_default().to_vec())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a variable in one call, as efivarfs wants it.
    fn write(&self, name: &str, vendor: Uuid, value: &[u8]) -> std::io::Result<()> {
        let place = self.place(name, vendor);
        // Linux protects variables that it does not know as harmless against being deleted by accident.
        if let Ok(file) = File::open(&place) {
            let flags = rustix::fs::ioctl_getflags(&file).unwrap_or(IFlags::empty());
            if flags.contains(IFlags::IMMUTABLE) {
                rustix::fs::ioctl_setflags(&file, flags.difference(IFlags::IMMUTABLE))?;
            }
        }
        let whole = [&ATTRIBUTES.to_le_bytes()[..], value].concat();
        let mut file = File::options().write(true).create(true).truncate(false).open(&place)?;
        file.write_all(&whole)
    }

    fn place(&self, name: &str, vendor: Uuid) -> PathBuf {
        self.variables.join(format!("{name}-{vendor}"))
    }
}

fn vendor(role: Role) -> Uuid {
    match role {
        Role::Platform | Role::KeyExchange => GLOBAL,
        Role::Database => DATABASE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure_boot::keys::SHORTEST;
    use std::time::Duration;

    fn put(directory: &Path, name: &str, vendor: Uuid, value: &[u8]) {
        std::fs::write(directory.join(format!("{name}-{vendor}")), [&[6, 0, 0, 0], value].concat()).unwrap();
    }

    #[test]
    fn the_state_is_what_the_variables_say() {
        assert_eq!(GLOBAL.to_string(), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
        assert_eq!(DATABASE.to_string(), "d719b2cb-3d3a-4596-a3bc-dad00e67656f");
        let directory = tempfile::tempdir().unwrap();
        let firmware = Firmware::at(directory.path());
        assert_eq!(firmware.state().unwrap(), None);
        put(directory.path(), "SecureBoot", GLOBAL, &[0]);
        assert_eq!(firmware.state().unwrap(), Some(State { secure_boot: false, setup_mode: false }));
        put(directory.path(), "SetupMode", GLOBAL, &[1]);
        assert_eq!(firmware.state().unwrap(), Some(State { secure_boot: false, setup_mode: true }));
        assert_eq!(firmware.enrolled(Role::Platform).unwrap(), []);
    }

    #[test]
    fn keys_are_enrolled_in_setup_mode_only_and_beside_the_firmwares_own() {
        let directory = tempfile::tempdir().unwrap();
        let firmware = Firmware::at(directory.path());
        let keys = KeyBundle::at(&directory.path().join("sbctl"));
        assert!(matches!(firmware.enroll(&keys, false, 0), Err(EnrollError::NoFirmware(_))));
        put(directory.path(), "SecureBoot", GLOBAL, &[0]);
        put(directory.path(), "SetupMode", GLOBAL, &[0]);
        assert!(matches!(firmware.enroll(&keys, false, 0), Err(EnrollError::NotInSetupMode)));
        put(directory.path(), "SetupMode", GLOBAL, &[1]);
        assert!(matches!(firmware.enroll(&keys, false, 0), Err(EnrollError::Bundle(_))));
        assert!(!directory.path().join(format!("db-{DATABASE}")).exists());

        keys.create(SHORTEST, Duration::from_secs(1_790_000_000)).unwrap();
        let vendors = crate::secure_boot::keys::samples::other();
        put(directory.path(), "dbDefault", GLOBAL, &list_of(vendors.certificate(), GLOBAL));
        firmware.enroll(&keys, true, 1_790_000_000).unwrap();
        // Without the signature before it, which real firmware takes off: what it would keep.
        let kept = |role: Role| {
            let whole = std::fs::read(firmware.place(role.name(), vendor(role))).unwrap();
            assert_eq!(whole[..4], ATTRIBUTES.to_le_bytes());
            let length = crate::secure_boot::pe::word(&whole, 20).unwrap() as usize;
            certificates_in(&whole[20 + length..])
        };
        let own = |role| keys.read(role).unwrap().certificate().clone();
        assert_eq!(kept(Role::Database), [own(Role::Database), vendors.certificate().clone()]);
        assert_eq!(kept(Role::KeyExchange), [own(Role::KeyExchange)]);
        assert_eq!(kept(Role::Platform), [own(Role::Platform)]);
    }
}
