//! `firn vm`: builds a configuration and runs it in this terminal, in QEMU.
//!
//! By default QEMU loads kernel and initrd itself; the store is a read-only image made once for each closure, below an overlay
//! whose upper layer is on a disk that stays. Which file systems stage 1 mounts comes from a second archive behind the
//! generation's own initrd, so that what runs is bit for bit the generation that would be installed. With `--uefi` or `--bios`
//! the machine starts from a whole disk image as `firn image` writes it.

mod disks;
mod emulator;
mod forward;
mod terminal;

use crate::system::System;
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use disks::{MACHINE_LABEL, STORE_LABEL};
use emulator::{Boot, Drive, Machine};
use forward::Forward;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command's arguments.
pub(crate) fn command() -> Command {
    Command::new("vm")
        .about("Build a configuration and run it in this terminal, in a virtual machine")
        .args(crate::system::arguments())
        .arg(flag("uefi", "Start from a disk image through UEFI and the boot menu").conflicts_with("bios"))
        .arg(flag("bios", "Start from a disk image through a BIOS and GRUB"))
        .arg(Arg::new("disk").long("disk").value_name("FILE").value_parser(value_parser!(PathBuf)).help(
            "The disk that the machine keeps its files on, made if it does not exist [default: HOSTNAME.img]",
        ))
        .arg(
            Arg::new("disk-size")
                .long("disk-size")
                .value_name("MIB")
                .value_parser(value_parser!(u64).range(64..=4 << 20))
                .help("Size of a new disk; it takes only what is written to it [default: 8192 or virtualisation.diskSize]"),
        )
        .arg(
            Arg::new("memory")
                .long("memory")
                .value_name("MIB")
                .value_parser(value_parser!(u32).range(128..))
                .help("Memory of the machine [default: virtualisation.memorySize]"),
        )
        .arg(
            Arg::new("cpus")
                .long("cpus")
                .value_name("COUNT")
                .value_parser(value_parser!(u32).range(1..=64))
                .help("Processors of the machine [default: virtualisation.cores]"),
        )
        .arg(
            Arg::new("forward")
                .long("forward")
                .value_name("HOST:GUEST")
                .action(ArgAction::Append)
                .value_parser(Forward::parse)
                .help("Make a port of the machine reachable: 8080:80, 0.0.0.0:2222:22, udp:5353:53"),
        )
        .arg(
            Arg::new("kernel-parameter")
                .long("append")
                .value_name("WORDS")
                .action(ArgAction::Append)
                .help("More words for the kernel's command line (not with --uefi and --bios)"),
        )
        .arg(flag("graphics", "Open a window with the machine's screen; the console stays here"))
        .arg(flag("print", "Print the emulator's command line and do not run it"))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// What the configuration says about its machine: `config.system.build.vm` or `vmWithBootLoader`, of which this is a part.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Described {
    memory_size: u32,
    cores: u32,
    disk_size: u64,
    graphics: bool,
    restrict_network: bool,
    forward_ports: Vec<DescribedForward>,
    qemu_options: Vec<String>,
    additional_paths: Vec<String>,
}

impl Default for Described {
    fn default() -> Self {
        Self {
            memory_size: 1024,
            cores: 1,
            disk_size: 8192,
            graphics: false,
            restrict_network: false,
            forward_ports: Vec::new(),
            qemu_options: Vec::new(),
            additional_paths: Vec::new(),
        }
    }
}

/// An entry of `virtualisation.forwardPorts`.
#[derive(Debug, serde::Deserialize)]
struct DescribedForward {
    from: String,
    proto: String,
    host: DescribedPort,
    guest: DescribedPort,
}

/// One end of it.
#[derive(Debug, serde::Deserialize)]
struct DescribedPort {
    address: String,
    port: u16,
}

impl DescribedForward {
    /// The forwarding, when it is one from the host into the machine.
    fn forward(&self) -> Option<Forward> {
        let address = if self.host.address.is_empty() { "127.0.0.1" } else { &self.host.address };
        let text = format!("{}:{address}:{}:{}", self.proto, self.host.port, self.guest.port);
        if self.from != "host" {
            log::warn!("virtualisation.forwardPorts: ports from the machine to the host are not forwarded");
            return None;
        }
        Forward::parse(&text).ok()
    }
}

/// Builds, prepares, runs; the exit code is the emulator's.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let attribute =
        if whole_disk(matches) { "config.system.build.vmWithBootLoader" } else { "config.system.build.vm" };
    let (system, described) = System::machine_from_arguments(matches, attribute)?;
    let described: Described = match described {
        Some(json) => {
            serde_json::from_value(json).with_context(|| format!("{attribute} of the configuration"))?
        }
        None => Described::default(),
    };
    let cache = cache_directory()?;
    let name = host_name(&system);
    let mut forwards: Vec<Forward> =
        described.forward_ports.iter().filter_map(DescribedForward::forward).collect();
    forwards.extend(matches.get_many::<Forward>("forward").into_iter().flatten().cloned());
    if !matches.get_flag("print") {
        forwards.iter().try_for_each(Forward::check_free)?;
    }
    let machine_disk = match matches.get_one::<PathBuf>("disk") {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{name}{}.img", if whole_disk(matches) { "-disk" } else { "" })),
    };
    let size = matches.get_one::<u64>("disk-size").copied().unwrap_or(described.disk_size.max(8192)) << 20;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (boot, drives) = if whole_disk(matches) {
        from_disk(&system, matches, &machine_disk, size, scratch.path())?
    } else {
        directly(&system, &described, matches, &machine_disk, size, &cache, scratch.path())?
    };
    let machine = Machine {
        name,
        memory_mib: matches.get_one::<u32>("memory").copied().unwrap_or(described.memory_size),
        cpus: matches.get_one::<u32>("cpus").copied().unwrap_or(described.cores),
        accelerator: qemu_tests::accelerator::detect(),
        boot,
        drives,
        forwards,
        restricted: described.restrict_network,
        graphics: matches.get_flag("graphics") || described.graphics,
        options: described.qemu_options.clone(),
    };
    let command = machine.command()?;
    if matches.get_flag("print") {
        writeln!(std::io::stdout(), "{command:?}")?;
        return Ok(ExitCode::SUCCESS);
    }
    greet(&machine, &machine_disk)?;
    let status = terminal::run(command)?;
    drop(scratch);
    ensure!(status.success(), "the emulator ended with an error ({status})");
    Ok(ExitCode::SUCCESS)
}

fn whole_disk(matches: &ArgMatches) -> bool {
    matches.get_flag("uefi") || matches.get_flag("bios")
}

/// Kernel and initrd handed over by the emulator, the store as an image of its own.
fn directly(
    system: &System,
    described: &Described,
    matches: &ArgMatches,
    machine_disk: &Path,
    size: u64,
    cache: &Path,
    scratch: &Path,
) -> Result<(Boot, Vec<Drive>)> {
    let store_image = disks::store_image(system, &described.additional_paths, cache)?;
    if !machine_disk.exists() {
        disks::create_machine_disk(system, machine_disk, size, scratch)?;
    }
    let kernel = qemu_tests::kernel::for_direct_boot(&system.file("kernel")?, cache)?;
    let initrd = scratch.join("initrd");
    disks::write_initrd(system, &initrd)?;
    let mut words = vec![format!("init={}/init", system.toplevel())];
    words.push(system.text("kernel-params")?.trim().to_owned());
    // The last console is the one that /dev/console is.
    if !words.iter().any(|words| words.ends_with("console=ttyS0")) {
        words.push("console=ttyS0".to_owned());
    }
    words.extend(matches.get_many::<String>("kernel-parameter").into_iter().flatten().cloned());
    let drives = vec![
        Drive { file: machine_disk.to_owned(), read_only: false, serial: MACHINE_LABEL },
        Drive { file: store_image, read_only: true, serial: STORE_LABEL },
    ];
    Ok((Boot::Direct { kernel, initrd, command_line: words.join(" ") }, drives))
}

/// A disk image with boot menu and all, kept like an installed machine's disk.
fn from_disk(
    system: &System,
    matches: &ArgMatches,
    disk: &Path,
    size: u64,
    scratch: &Path,
) -> Result<(Boot, Vec<Drive>)> {
    if matches.get_flag("bios") && !crate::image::boots_from_bios(system)? {
        bail!(
            "the configuration has nothing that a BIOS can start; set boot.loader.grub.enable and boot.loader.grub.device = \"/dev/vda\""
        );
    }
    if !system.text("kernel-params")?.contains("console=ttyS0") {
        log::warn!(
            "after the boot menu this terminal stays dark: the configuration's kernel does not use the serial console; \
             add boot.kernelParams = [ \"console=ttyS0\" ]"
        );
    }
    if !disk.exists() {
        crate::image::write(system, disk, Some(size))?;
    }
    let boot = if matches.get_flag("uefi") {
        Boot::Uefi { variables: emulator::new_variables(scratch)? }
    } else {
        Boot::Bios
    };
    Ok((boot, vec![Drive { file: disk.to_owned(), read_only: false, serial: "disk" }]))
}

/// The machine's name, which names its disk.
fn host_name(system: &System) -> String {
    let text = system.text("activation.json").unwrap_or_default();
    formats::activation::Activation::parse(text.as_bytes())
        .map(|activation| activation.host_name)
        .ok()
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .unwrap_or_else(|| "firn".to_owned())
}

/// Where images and kernels are kept between runs.
fn cache_directory() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: say where caches go with XDG_CACHE_HOME")?;
    let directory = base.join("firn/vm");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Says what runs and how to get out of it, while it can still be read.
fn greet(machine: &Machine, disk: &Path) -> Result<()> {
    let mut talk = std::io::stderr().lock();
    let how = match machine.accelerator {
        qemu_tests::Accelerator::Kvm => "with KVM",
        qemu_tests::Accelerator::Tcg => "under software emulation (KVM is not usable here)",
    };
    writeln!(talk, "Starting {} {how}; its disk is {}.", machine.name, disk.display())?;
    for forward in &machine.forwards {
        writeln!(talk, "{forward}")?;
    }
    writeln!(talk, "To leave: shut it down (`poweroff`), or press Ctrl-A and then X to pull the plug.")?;
    Ok(())
}
