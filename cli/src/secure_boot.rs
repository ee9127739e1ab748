//! `firn secure-boot`: the owner's keys and the firmware's, with sbctl's verbs and in sbctl's directory. The boot menu itself is
//! signed by `firn switch`, `firn boot` and `firn bootmenu` when the configuration says so (`boot.lanzaboote.enable`).

mod programs;

use crate::json;
use crate::machine::{Machine, say};
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail, ensure};
use bootgen::secure_boot::authenticode;
use bootgen::secure_boot::firmware::{EFIVARFS, Firmware, State};
use bootgen::secure_boot::key_bundle::{DIRECTORY, KeyBundle, Role, open_to_others};
use bootgen::secure_boot::keys::{Certificate, SHORTEST};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The keys' length, in bits, unless it is said: sbctl's.
const BITS: &str = "4096";

/// The arguments.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let file = || Arg::new("file").value_name("FILE").value_parser(value_parser!(PathBuf));
    Command::new("secure-boot")
        .about("Make and enroll keys, so that the firmware starts only what they signed")
        .subcommand_required(true)
        .arg(
            Arg::new("keys")
                .long("keys")
                .value_name("DIRECTORY")
                .global(true)
                .help("Where the owner's keys are, laid out as sbctl does [default: the running system's, /var/lib/sbctl]"),
        )
        .subcommand(
            Command::new("create-keys").about("Make the owner's keys").arg(
                Arg::new("bits")
                    .long("bits")
                    .value_name("N")
                    .default_value(BITS)
                    .value_parser(["2048", "3072", "4096"])
                    .help("Length of the RSA keys; some firmware knows 2048 only"),
            ),
        )
        .subcommand(
            Command::new("enroll-keys")
                .about("Put the owner's keys into the firmware, which must be in setup mode")
                .arg(flag(
                    "firmware-builtin",
                    "Keep the certificates that the firmware came with (its vendor's, Microsoft's) beside the owner's",
                ))
                .arg(flag(
                    "yes-this-might-brick-my-machine",
                    "Enroll the owner's keys alone, though graphics and other cards may need programs that Microsoft signed",
                ))
                .arg(flag("microsoft", "Refused: Firn brings no certificates of Microsoft's").hide(true)),
        )
        .subcommand(
            Command::new("status")
                .about("Show the firmware's state, the keys, and whether the boot menu is signed")
                .arg(flag("json", "Show it as JSON")),
        )
        .subcommand(
            Command::new("sign").about("Sign an EFI program").arg(file().required(true)).arg(
                Arg::new("output")
                    .long("output")
                    .short('o')
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("Where the signed program goes [default: in the file's place]"),
            ),
        )
        .subcommand(
            Command::new("verify")
                .about("Check that EFI programs are signed by the owner or an enrolled key")
                .arg(file().num_args(0..).help("Programs [default: all on the boot partitions]"))
                .arg(flag("json", "Show the results as JSON")),
        )
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let Some((verb, matches)) = matches.subcommand() else { bail!("no subcommand given") };
    let given = matches.get_one::<String>("keys").cloned();
    let directory = given.or_else(|| configured(&machine)).unwrap_or_else(|| DIRECTORY.to_owned());
    let keys = KeyBundle::at(&machine.place(&directory));
    match verb {
        "create-keys" => create(&keys, matches),
        "enroll-keys" => enroll(&machine, &keys, matches),
        "status" => status(&machine, &keys, matches),
        "sign" => sign(&keys, matches),
        "verify" => programs::verify(&machine, &keys, matches),
        other => bail!("`firn secure-boot {other}` is not a command"),
    }
}

/// The directory that the booted system takes its key from, where it is laid out like sbctl's.
fn configured(machine: &Machine) -> Option<String> {
    let settings = crate::bootmenu::booted_loader(machine).ok()?.systemd_boot?.secure_boot?;
    settings.private_key_file.strip_suffix("/keys/db/db.key").map(str::to_owned)
}

fn now() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")
}

fn create(keys: &KeyBundle, matches: &ArgMatches) -> Result<ExitCode> {
    let bits = matches.get_one::<String>("bits").and_then(|bits| bits.parse().ok()).unwrap_or(SHORTEST);
    keys.create(bits, now()?)?;
    let (key, _) = keys.files(Role::Database);
    say(&format!("keys of {bits} bits are made; what signs programs is {}", key.display()));
    Ok(ExitCode::SUCCESS)
}

fn enroll(machine: &Machine, keys: &KeyBundle, matches: &ArgMatches) -> Result<ExitCode> {
    ensure!(
        !matches.get_flag("microsoft"),
        "Firn brings no certificates of Microsoft's; --firmware-builtin keeps those that the firmware came with, which they usually are among"
    );
    let builtin = matches.get_flag("firmware-builtin");
    ensure!(
        builtin || matches.get_flag("yes-this-might-brick-my-machine"),
        "cards whose own programs Microsoft signed, such as graphics cards, do not start with the owner's keys alone; \
         give --firmware-builtin to keep the certificates that the firmware came with, \
         or --yes-this-might-brick-my-machine if the machine has no such cards (a virtual machine has none)"
    );
    let firmware = firmware(machine)?;
    firmware.enroll(keys, builtin, i64::try_from(now()?.as_secs())?)?;
    say("the keys are enrolled; from the next boot on the firmware starts only what they signed");
    let unsigned = programs::all(machine, keys, &firmware)?;
    for program in unsigned.iter().filter(|program| program.problem.is_some()) {
        say(&program.line());
    }
    if unsigned.iter().any(|program| program.problem.is_some()) {
        say(
            "what is named here does not start then: enable boot.lanzaboote and run `firn switch` (or `firn bootmenu`) before that",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn sign(keys: &KeyBundle, matches: &ArgMatches) -> Result<ExitCode> {
    let Some(file) = matches.get_one::<PathBuf>("file") else { bail!("no file given") };
    let output = matches.get_one::<PathBuf>("output").unwrap_or(file);
    let program = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let signed = authenticode::sign(&program, &keys.read(Role::Database)?)
        .with_context(|| format!("cannot sign {}", file.display()))?;
    replace(output, &signed).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file whole, or leaves it as it was.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(bytes)?;
    if let Ok(found) = path.metadata() {
        new.as_file().set_permissions(found.permissions())?;
    }
    new.as_file().sync_all()?;
    new.persist(path)?.sync_all()?;
    Ok(std::fs::File::open(directory)?.sync_all()?)
}

/// The machine's firmware. Linux has its variables once efivarfs is mounted, which needs root.
pub(crate) fn firmware(machine: &Machine) -> Result<Firmware> {
    let place = machine.place(EFIVARFS);
    let empty = std::fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_none());
    if empty && machine.root() == Path::new("/") {
        use nix::mount::{MsFlags, mount};
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let none: Option<&str> = None;
        mount(Some("efivarfs"), &place, Some("efivarfs"), flags, none).with_context(|| {
            format!("cannot mount efivarfs at {} (it needs root, and the module efivarfs)", place.display())
        })?;
    }
    Ok(Firmware::at(&place))
}

/// What the firmware trusts, when it starts signed programs only, as far as it can be told.
pub(crate) fn trusted(machine: &Machine) -> Option<Vec<Certificate>> {
    let enforced = || {
        let firmware = firmware(machine)?;
        let on = firmware.state()?.is_some_and(|state| state.secure_boot);
        Ok::<_, anyhow::Error>(if on { Some(firmware.enrolled(Role::Database)?) } else { None })
    };
    enforced().unwrap_or_else(|error| {
        log::debug!("{error:#}");
        None
    })
}

fn status(machine: &Machine, keys: &KeyBundle, matches: &ArgMatches) -> Result<ExitCode> {
    let firmware = firmware(machine)?;
    let state = firmware.state().context("cannot read the firmware's variables")?;
    let own = Role::ALL.map(|role| keys.read(role).ok());
    let mut enrolled: Vec<(&str, bool, Vec<String>)> = Vec::new();
    for (role, own) in Role::ALL.iter().zip(&own) {
        let found = firmware.enrolled(*role).context("cannot read the firmware's variables")?;
        let owners = own.as_ref().is_some_and(|own| found.contains(own.certificate()));
        enrolled.push((role.name(), owners, found.iter().map(Certificate::name).collect()));
    }
    let exposed: Vec<PathBuf> = Role::ALL
        .iter()
        .map(|role| keys.files(*role).0)
        .filter(|file| open_to_others(file).unwrap_or_default())
        .collect();
    let programs = programs::all(machine, keys, &firmware)?;
    if matches.get_flag("json") {
        let enrolled: serde_json::Map<String, serde_json::Value> = enrolled
            .iter()
            .map(|(name, owners, found)| {
                ((*name).to_owned(), serde_json::json!({ "owners": owners, "certificates": found }))
            })
            .collect();
        json::print(&serde_json::json!({
            "uefi": state.is_some(),
            "secureBoot": state.map(|state| state.secure_boot),
            "setupMode": state.map(|state| state.setup_mode),
            "keys": keys.exists(),
            "readableByOthers": exposed,
            "enrolled": enrolled,
            "programs": programs.iter().map(programs::Program::as_json).collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "firmware   {}", firmware_line(state))?;
    let made = if keys.exists() { "made" } else { "none; `firn secure-boot create-keys` makes them" };
    writeln!(output, "keys       {made}")?;
    for (name, owners, found) in &enrolled {
        let text = match (owners, found.as_slice()) {
            (_, []) => "nothing enrolled".to_owned(),
            (true, [_]) => "the owner's key".to_owned(),
            (true, all) => format!("the owner's key among {}", all.join("; ")),
            (false, all) => format!("not the owner's: {}", all.join("; ")),
        };
        writeln!(output, "{name:<10} {text}")?;
    }
    for file in exposed {
        writeln!(output, "warning    others than root can read {}", file.display())?;
    }
    let bad: Vec<&programs::Program> = programs.iter().filter(|program| program.problem.is_some()).collect();
    writeln!(
        output,
        "programs   {} on the boot partition, {} of them signed",
        programs.len(),
        programs.len() - bad.len()
    )?;
    for program in bad {
        writeln!(output, "           {}", program.line())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn firmware_line(state: Option<State>) -> &'static str {
    match state {
        None => "no UEFI firmware with Secure Boot",
        Some(State { secure_boot: true, .. }) => "Secure Boot is on",
        Some(State { setup_mode: true, .. }) => {
            "Secure Boot is off; setup mode: `firn secure-boot enroll-keys` can enroll keys"
        }
        Some(_) => "Secure Boot is off; keys are enrolled, the firmware's setup turns it on",
    }
}
