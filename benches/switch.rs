//! How long `firn switch` takes: to the system that runs already, to one in which a single service differs, and back.
//!
//! The machine counts instructions (`-icount`, one a nanosecond), so a figure does not depend on how busy the host is:
//! 1 ms is a million instructions of kernel and programs together. `FIRN_DIST` is the distribution, `FIRN_STORE` the
//! store, `IMAGE` a disk image of `qemu-tests/tests/firn/configurations/switching.nix` (default: made anew).

#![expect(clippy::print_stdout, reason = "a report on the terminal")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use qemu_tests::{Accelerator, Disk, Machine};

fn main() -> Result<(), Box<dyn Error>> {
    let image = match std::env::var_os("IMAGE") {
        Some(image) => PathBuf::from(image),
        None => make_image()?,
    };
    let machine = Machine::builder("bench-switch")
        .uefi()
        .memory_mib(768)
        .agent()
        .accelerator(Accelerator::Tcg)
        .argument("-icount")
        .argument("shift=0,sleep=off")
        .disk(Disk::overlay(&image))
        .limit(Duration::from_secs(1200))
        .start()?;
    machine.wait_for_unit("multi-user.target")?;
    let a = machine.succeed("readlink -f /run/booted-system")?.trim().to_owned();
    let b = machine.succeed("readlink -f /run/booted-system/specialisation/b")?.trim().to_owned();
    println!("| switch | ms of the processor, a million instructions each |");
    println!("|---|---|");
    for (what, toplevel) in [
        ("to another system", &b),
        ("to what runs", &b),
        ("to what runs", &b),
        ("back", &a),
        ("to what runs", &a),
    ] {
        println!("| {what} | {} |", switch(&machine, toplevel)?);
    }
    machine.power_cut();
    Ok(())
}

/// What the machine's processor was busy with meanwhile, in milliseconds. Time itself says nothing here: this machine's
/// clock runs on while it waits for its disk.
fn switch(machine: &Machine, toplevel: &str) -> Result<u64, Box<dyn Error>> {
    let line =
        format!("head -1 /proc/stat; firn switch --toplevel {toplevel} >&2 || exit 1; head -1 /proc/stat");
    let text = machine.succeed(&line)?;
    // user, nice, system, idle, iowait, irq, softirq, in hundredths of a second.
    let busy = |line: &str| -> u64 {
        let numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        numbers.enumerate().filter(|(place, _)| ![3, 4].contains(place)).map(|(_, ticks)| ticks * 10).sum()
    };
    let sums: Vec<u64> = text.lines().filter(|line| line.starts_with("cpu")).map(busy).collect();
    let &[before, after] = sums.as_slice() else { return Err(format!("no times in {text:?}").into()) };
    Ok(after - before)
}

fn make_image() -> Result<PathBuf, Box<dyn Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dist = std::env::var_os("FIRN_DIST").map_or_else(|| workspace.join("target/dist"), PathBuf::from);
    let image = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-switch.img");
    let configuration = workspace.join("qemu-tests/tests/firn/configurations/switching.nix");
    let made = Command::new(dist.join("bin/firn"))
        .args(["image", "--output"])
        .arg(&image)
        .arg(configuration)
        .env("FIRN_DIST", &dist)
        .status()?;
    if !made.success() {
        return Err("firn image failed".into());
    }
    Ok(image)
}
