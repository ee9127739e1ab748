//! The specifiers of tmpfiles.d(5): `%H` the host's name, `%m` the machine id, `%t` /run and so on, for the system instance.

use crate::durable;
use crate::root::Root;

/// The values, read once.
#[derive(Debug, Clone)]
pub struct Specifiers {
    machine_id: String,
    boot_id: String,
    host_name: String,
    kernel: String,
}

impl Specifiers {
    /// Reads the values from this root.
    pub fn read(root: &Root, host_name: &str) -> Self {
        let line = |path: &str| -> String {
            let bytes =
                root.resolve(path).ok().and_then(|place| durable::read_if_there(&place).ok().flatten());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).trim().to_owned()
        };
        Self {
            machine_id: line("/etc/machine-id"),
            boot_id: line("/proc/sys/kernel/random/boot_id").replace('-', ""),
            host_name: if host_name.is_empty() { "localhost".to_owned() } else { host_name.to_owned() },
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
            boot_id: "b".to_owned(),
            host_name: "host.example".to_owned(),
            kernel: "6.1".to_owned(),
        }
    }

    /// Replaces every specifier.
    ///
    /// # Errors
    /// With a sentence naming one that does not exist.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            expanded.push_str(match characters.next() {
                Some('%') => "%",
                Some('m') => &self.machine_id,
                Some('b') => &self.boot_id,
                Some('H') => &self.host_name,
                Some('l') => self.host_name.split('.').next().unwrap_or_default(),
                Some('v') => &self.kernel,
                Some('a') => std::env::consts::ARCH,
                Some('t') => "/run",
                Some('S') => "/var/lib",
                Some('C') => "/var/cache",
                Some('L') => "/var/log",
                Some('T') => "/tmp",
                Some('V') => "/var/tmp",
                Some('u' | 'g') => "root",
                Some('U' | 'G') => "0",
                Some('h') => "/root",
                Some(other) => return Err(format!("there is no specifier `%{other}`")),
                None => return Err("it ends in a `%`".to_owned()),
            });
        }
        Ok(expanded)
    }
}
