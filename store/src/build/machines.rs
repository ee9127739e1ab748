//! Machines that build for us: the setting `builders` and the files that it names, which of them can build a derivation, and
//! which has room. Nix manual, "Distributed Builds". How many builds a machine has is counted by locked files in
//! `STATE/current-load`, as Nix's own hook counts them, so that all programs of one machine count together.

use crate::cache::Address;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lock::{FileLock, Mode};
use formats::derivation::Derivation;
use formats::hash::Hash;
use std::collections::BTreeSet;
use std::path::Path;

/// How long an address may be in a file's name, which may have 255 bytes.
const LONGEST: usize = 240;

/// A machine, as one line of `/etc/nix/machines` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// The address of its store, as it was given.
    pub name: String,
    /// The same with what else the line says of it.
    pub(super) address: Address,
    /// The systems that it builds for; ours if none are given.
    systems: BTreeSet<String>,
    /// How many builds it takes at a time.
    pub(super) max_jobs: usize,
    /// How fast it is; a fast one may have more builds before a slow one gets its first.
    speed: f64,
    /// The features that it has.
    features: BTreeSet<String>,
    /// The features that a derivation must ask for to be built there.
    mandatory: BTreeSet<String>,
}

/// Room for one build on a machine, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pub(super) machine: &'a Machine,
    _lock: FileLock,
}

/// Where a derivation could be built.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    /// No machine is of its kind.
    Nowhere,
    /// Later, when a machine has room again.
    Later,
    /// There.
    There(Slot<'a>),
}

impl Machine {
    /// Reads the setting: machines separated by semicolons or lines, `@FILE` for the lines of a file (none, if it is not
    /// there).
    pub fn read(text: &str) -> Result<Vec<Self>> {
        let mut machines = Vec::new();
        for line in text.split(['\n', ';']) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(file) = line.strip_prefix('@') {
                match std::fs::read_to_string(file.trim()) {
                    // A file does not name files.
                    Ok(text) => {
                        let lines =
                            text.split(['\n', ';']).map(|line| line.split('#').next().unwrap_or_default());
                        for line in lines.filter(|line| !line.trim().is_empty()) {
                            machines.push(Self::parse(line)?);
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::file("reading", file)(error)),
                }
            } else if !line.is_empty() {
                machines.push(Self::parse(line)?);
            }
        }
        Ok(machines)
    }

    /// Reads a line: `ADDRESS SYSTEMS KEY JOBS SPEED FEATURES MANDATORY HOST-KEY`, `-` where nothing is said.
    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace().map(|word| Some(word).filter(|word| *word != "-"));
        let wrong = |what: String| Error::Invalid(format!("builders: `{}`: {what}", line.trim()));
        let Some(name) = words.next().flatten() else { return Err(wrong("it has no address".to_owned())) };
        // A mere name is a host.
        let is_special = ["auto", "daemon", "local"].contains(&name.split('?').next().unwrap_or_default());
        let full = if name.contains('/') || is_special { name.to_owned() } else { format!("ssh://{name}") };
        let mut address = Address::parse(&full)?;
        let mut next = || words.next().flatten();
        let list = |word: Option<&str>| -> BTreeSet<String> {
            word.into_iter()
                .flat_map(|word| word.split(','))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let systems = list(next());
        if let Some(key) = next() {
            address.parameters.entry("ssh-key".to_owned()).or_insert_with(|| key.to_owned());
        }
        let max_jobs = match next() {
            None => 1,
            Some(word) => word.parse().map_err(|_| wrong(format!("`{word}` is no number of jobs")))?,
        };
        let speed = match next() {
            None => 1.0,
            Some(word) => match word.parse() {
                Ok(speed) if speed > 0.0 && f64::is_finite(speed) => speed,
                _ => return Err(wrong(format!("`{word}` is no speed: a number above 0"))),
            },
        };
        let (mut features, mandatory) = (list(next()), list(next()));
        features.extend(mandatory.iter().cloned());
        if let Some(key) = next() {
            let name = "base64-ssh-public-host-key";
            address.parameters.entry(name.to_owned()).or_insert_with(|| key.to_owned());
        }
        if words.next().is_some() {
            return Err(wrong("it has more than eight words".to_owned()));
        }
        Ok(Self { name: full, address, systems, max_jobs, speed, features, mandatory })
    }

    /// Whether it can build for the system and has what is required, and nothing that only others are to use.
    fn builds(&self, platform: &str, required: &BTreeSet<String>, ours: &BTreeSet<String>) -> bool {
        let systems = if self.systems.is_empty() { ours } else { &self.systems };
        self.max_jobs > 0
            && systems.contains(platform)
            && required.is_subset(&self.features)
            && self.mandatory.is_subset(required)
    }

    /// What it has, for a store that we open ourselves.
    pub(super) const fn features(&self) -> &BTreeSet<String> {
        &self.features
    }

    /// The file that is locked while its numbered place is taken.
    fn slot_file(&self, number: usize) -> String {
        let escaped: String =
            self.name.chars().map(|character| if character == '/' { '_' } else { character }).collect();
        if escaped.len() > LONGEST {
            // Longer than a file's name may be. Nix fails there, so nobody counts by another name.
            return format!("{}-{number}", Hash::sha256(&self.name).digits32());
        }
        format!("{escaped}-{number}")
    }

    /// How many builds it has, and a place for one more.
    fn room(&self, directory: &Path) -> Result<(usize, Option<FileLock>)> {
        let (mut load, mut free) = (0, None);
        for number in 0..self.max_jobs {
            let lock = FileLock::open(&directory.join(self.slot_file(number)))?;
            if !lock.try_acquire(Mode::Exclusive)? {
                load += 1;
            } else if free.is_none() {
                free = Some(lock);
            }
        }
        Ok((load, free))
    }
}

/// The machine for a derivation: the one with the least to do for its speed, of those the fastest. `usable` leaves out what
/// did not answer.
pub(super) fn choose<'a>(
    machines: &'a [Machine],
    usable: impl Fn(&str) -> bool,
    layout: &Layout,
    derivation: &Derivation,
    required: &BTreeSet<String>,
    ours: &BTreeSet<String>,
) -> Result<Choice<'a>> {
    let platform = String::from_utf8_lossy(&derivation.platform);
    let able: Vec<&Machine> = machines
        .iter()
        .filter(|machine| usable(&machine.name) && machine.builds(&platform, required, ours))
        .collect();
    if able.is_empty() {
        return Ok(Choice::Nowhere);
    }
    let directory = layout.state.join("current-load");
    std::fs::create_dir_all(&directory).map_err(Error::file("creating", &directory))?;
    // One who looks at a time: what is free stays free until it is taken.
    let main = FileLock::open(&directory.join("main-lock"))?;
    main.acquire(Mode::Exclusive)?;
    let mut best: Option<(f64, Slot<'a>)> = None;
    for machine in able {
        let (load, free) = machine.room(&directory)?;
        let Some(lock) = free else { continue };
        let load = load as f64 / machine.speed;
        let better = best.as_ref().is_none_or(|(least, slot)| {
            load < *least || (load <= *least && machine.speed > slot.machine.speed)
        });
        if better {
            best = Some((load, Slot { machine, _lock: lock }));
        }
    }
    Ok(best.map_or(Choice::Later, |(_, slot)| Choice::There(slot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> BTreeSet<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn lines() {
        let machines = Machine::read(
            "ssh://a x86_64-linux,i686-linux /key 3 2.5 kvm,big big - ; /srv/store\n# nothing\nnick@mac - - 8 # eight",
        )
        .unwrap();
        let names: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(names, ["ssh://a", "/srv/store", "ssh://nick@mac"]);
        let first = &machines[0];
        assert_eq!((first.max_jobs, first.speed), (3, 2.5));
        assert_eq!(first.address.parameters.get("ssh-key").map(String::as_str), Some("/key"));
        assert_eq!((&first.features, &first.mandatory), (&words("big kvm"), &words("big")));
        assert_eq!(machines[2].max_jobs, 8);
        for wrong in ["ssh://a - - many", "ssh://a - - 1 0", "ssh://a - - 1 1 - - - more", "-"] {
            assert!(Machine::read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Machine::read("@/does/not/exist").unwrap(), []);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("machines");
        std::fs::write(&file, "a\n\nb - - 2\n").unwrap();
        assert_eq!(Machine::read(&format!("@{} ; c", file.display())).unwrap().len(), 3);
    }

    #[test]
    fn what_a_machine_builds() {
        let ours = words("x86_64-linux");
        let machines = Machine::read("a - - 1 1 kvm ; b - - 1 1 kvm gpu ; c riscv64-linux").unwrap();
        let builders = |platform: &str, required: &str| -> String {
            let able = machines.iter().filter(|machine| machine.builds(platform, &words(required), &ours));
            able.map(|machine| machine.name.trim_start_matches("ssh://")).collect()
        };
        assert_eq!(builders("x86_64-linux", ""), "a");
        assert_eq!(builders("x86_64-linux", "kvm"), "a");
        assert_eq!(builders("x86_64-linux", "kvm gpu"), "b");
        assert_eq!(builders("x86_64-linux", "other"), "");
        assert_eq!(builders("riscv64-linux", ""), "c");
    }

    #[test]
    fn the_least_loaded_for_its_speed_is_chosen() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::below(directory.path());
        let machines = Machine::read("slow - - 2 1 ; fast - - 4 2").unwrap();
        let derivation = Derivation { platform: b"s".to_vec(), ..Derivation::default() };
        let ours = words("s");
        let take = |usable: &dyn Fn(&str) -> bool| {
            choose(&machines, usable, &layout, &derivation, &BTreeSet::new(), &ours).unwrap()
        };
        let mut taken = Vec::new();
        let mut order = Vec::new();
        while let Choice::There(slot) = take(&|_| true) {
            order.push(slot.machine.name.trim_start_matches("ssh://").to_owned());
            taken.push(slot);
        }
        assert_eq!(order, ["fast", "slow", "fast", "fast", "slow", "fast"]);
        assert!(matches!(take(&|_| true), Choice::Later));
        assert!(matches!(take(&|_| false), Choice::Nowhere));
        let long = Machine::read(&format!("ssh://localhost?remote-store=/{}", "x/".repeat(200))).unwrap();
        assert!(matches!(
            choose(&long, |_| true, &layout, &derivation, &BTreeSet::new(), &ours).unwrap(),
            Choice::There(_)
        ));
        taken.remove(0);
        assert!(matches!(take(&|_| true), Choice::There(slot) if slot.machine.name == "ssh://fast"));
    }
}
