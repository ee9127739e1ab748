//! Stores on other machines, reached by ssh(1): `ssh-ng://HOST` talks the worker protocol to `nix-daemon --stdio` there,
//! `ssh://HOST` the older protocol of `nix-store --serve`. Nix manual, "Experimental SSH Store", "SSH Store". As with Nix,
//! `localhost` means no ssh at all: the program is started here.

use crate::cache::{Address, Place};
use crate::daemon::client::Connection;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::open::{Options, Store};
use crate::remote::Remote;
use crate::serve::client::Machine;
use formats::store_path::StoreDir;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

impl Store {
    /// The store at an `ssh://` or `ssh-ng://` address; `settings` are what its user wants to be otherwise.
    pub fn over_ssh(
        address: &Address,
        layout: Layout,
        options: Options,
        settings: Vec<(String, String)>,
    ) -> Result<Self> {
        Self::over_ssh_saying(address, layout, options, settings, None)
    }

    /// The same; what the program there says beside the conversation goes to `speaks`, or to our own standard error.
    pub(crate) fn over_ssh_saying(
        address: &Address,
        mut layout: Layout,
        options: Options,
        settings: Vec<(String, String)>,
        speaks: Option<Stdio>,
    ) -> Result<Self> {
        if let Some(directory) = address.parameters.get("store") {
            layout.store_dir = StoreDir::new(directory);
        }
        let parameter = |name: &str, default: &str| {
            address.parameters.get(name).map_or_else(|| default.to_owned(), Clone::clone)
        };
        let (host, mut words) = match &address.place {
            Place::SshDaemon(host) => {
                (host, vec![parameter("remote-program", "nix-daemon"), "--stdio".to_owned()])
            }
            Place::Ssh(host) => {
                let program = parameter("remote-program", "nix-store");
                (host, vec![program, "--serve".to_owned(), "--write".to_owned()])
            }
            _ => return Err(Error::Invalid(format!("`{}` is no address of ssh", address.name))),
        };
        if let Some(store) = address.parameters.get("remote-store") {
            words.extend(["--store".to_owned(), store.clone()]);
        }
        let host_key = HostKey::of(address, host)?;
        let child = start(address, host, &words, host_key.as_ref(), speaks)?;
        let name = format!("the store `{}`", address.name);
        if matches!(address.place, Place::SshDaemon(_)) {
            let remote = Remote::behind(Connection::with_child(name, child)?, &layout.store_dir, settings);
            return Self::kept(layout, options, Box::new(remote));
        }
        let machine = Machine::greet(name, child, &layout.store_dir)?;
        Self::kept(layout, options, Box::new(machine))
    }
}

/// Starts a program on a machine, its input and output being pipes.
fn start(
    address: &Address,
    host: &str,
    words: &[String],
    host_key: Option<&HostKey>,
    speaks: Option<Stdio>,
) -> Result<Child> {
    let mut more = std::env::var("NIX_SSHOPTS").unwrap_or_default();
    if let Some(key) = host_key {
        more = format!("-oUserKnownHostsFile={} {more}", key.file().display());
    }
    let mut command = arguments(address, host, words, &more)?;
    let program = command.get_program().to_string_lossy().into_owned();
    if let Some(speaks) = speaks {
        command.stderr(speaks);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(Error::file("starting", program))
}

fn arguments(address: &Address, host: &str, words: &[String], more: &str) -> Result<Command> {
    if host.is_empty() || host.starts_with('-') {
        return Err(Error::Invalid(format!("`{}`: `{host}` is no host", address.name)));
    }
    if host == "localhost" {
        let Some((program, rest)) = words.split_first() else {
            return Err(Error::Invalid(format!("`{}`: nothing to start", address.name)));
        };
        let mut command = Command::new(program);
        command.args(rest);
        return Ok(command);
    }
    let mut command = Command::new("ssh");
    command.args(["-x", "-a"]);
    if let Some(key) = address.parameters.get("ssh-key") {
        command.args(["-i", key]);
    }
    if address.flag("compress") {
        command.arg("-C");
    }
    command.args(more.split_ascii_whitespace());
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    command.args([host, "--", &words.join(" ")]);
    Ok(command)
}

/// The key of a machine, as its address gives it (`base64-ssh-public-host-key`), in a file for ssh that goes with this.
#[derive(Debug)]
struct HostKey(PathBuf);

impl HostKey {
    fn of(address: &Address, host: &str) -> Result<Option<Self>> {
        const NAME: &str = "base64-ssh-public-host-key";
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let Some(text) = address.parameters.get(NAME) else { return Ok(None) };
        let key = formats::hash::decode_base64(text.trim_end_matches('='))
            .and_then(|key| String::from_utf8(key).ok())
            .filter(|key| key.split_whitespace().count() >= 2)
            .ok_or_else(|| {
                Error::Invalid(format!("`{}`: {NAME} is no host key in base 64: `{text}`", address.name))
            })?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("firn-ssh-{}-{number}", std::process::id()));
        // New and ours alone, or nothing.
        DirBuilder::new().mode(0o700).create(&directory).map_err(Error::file("creating", &directory))?;
        let made = Self(directory);
        let host = host.rsplit('@').next().unwrap_or(host);
        fs::write(made.file(), format!("{host} {}\n", key.trim()))
            .map_err(Error::file("writing", made.file()))?;
        Ok(Some(made))
    }

    fn file(&self) -> PathBuf {
        self.0.join("host-key")
    }
}

impl Drop for HostKey {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::debug!("removing {}: {error}", self.0.display());
        }
    }
}

/// A word for the shell of another machine.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started() {
        let shown = |text: &str, more: &str| {
            let address = Address::parse(text).unwrap();
            let (Place::Ssh(host) | Place::SshDaemon(host)) = &address.place else { panic!("{text}") };
            arguments(&address, host, &["nix-store".to_owned(), "it's".to_owned()], more).map(|command| {
                let words = std::iter::once(command.get_program()).chain(command.get_args());
                words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join("|")
            })
        };
        assert_eq!(shown("ssh://localhost", "").unwrap(), "nix-store|it's");
        assert_eq!(
            shown("ssh-ng://root@host?ssh-key=/k&compress=true", "-p 22").unwrap(),
            "ssh|-x|-a|-i|/k|-C|-p|22|root@host|--|'nix-store' 'it'\\''s'"
        );
        // What looks like a flag of ssh is no host.
        assert!(shown("ssh://-oProxyCommand=x", "").is_err());
    }

    #[test]
    fn a_host_key_is_in_a_file_as_long_as_it_is_needed() {
        let of = |text: &str| HostKey::of(&Address::parse(text).unwrap(), "me@host");
        let key = of("ssh://me@host?base64-ssh-public-host-key=c3NoLWVkMjU1MTkgQUFBQQo=").unwrap().unwrap();
        assert_eq!(fs::read_to_string(key.file()).unwrap(), "host ssh-ed25519 AAAA\n");
        let file = key.file();
        drop(key);
        assert!(!file.exists());
        assert!(of("ssh://me@host").unwrap().is_none());
        assert!(of("ssh://me@host?base64-ssh-public-host-key=nonsense").is_err());
    }
}
