//! Mounts and swaps of units: mount(2) and swapon(2) by the supervisor itself.

use super::super::engine::{Event, Exit, Role};
use super::super::{Supervisor, console, launch};
use crate::console::Level;
use crate::{block_device, mounting};
use formats::service_graph::UnitKind;
use formats::service_graph::key::Key;
use formats::stage1::Source;
use std::path::Path;

/// Mounts what a unit says, finding devices as stage 1 does. What is mounted there already is done.
fn mount_unit(what: &str, place: &str, fs_type: &str, options: &str) -> std::io::Result<()> {
    let is_there = mounting::mounted().iter().any(|(mounted, _)| mounted == place);
    if is_there && !options.split(',').any(|option| option == "remount") {
        return Ok(());
    }
    let source = Source::parse(what);
    let device = if source.needs_device() {
        let found = wait_for_device(&source);
        found
            .ok_or_else(|| std::io::Error::other(format!("{what} did not appear within 10 seconds")))?
            .to_string_lossy()
            .into_owned()
    } else {
        what.to_owned()
    };
    let fs_type = match fs_type {
        "auto" | "" => block_device::file_system(Path::new(&device)).map_or("none", |found| found.fs_type),
        given => given,
    };
    mounting::mount_at(&device, Path::new(place), fs_type, options).map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot mount {device} on {place} as {fs_type}: {error}"))
    })
}

/// Swaps on: a device that is waited for, or a file. `pri=` and `discard[=…]` may stand among the options (fstab(5), swapon(8)).
fn swap_on(what: &str, priority: Option<i32>, options: &str) -> std::io::Result<()> {
    let source = Source::parse(what);
    let place = if source.needs_device() {
        wait_for_device(&source)
            .ok_or_else(|| std::io::Error::other(format!("{what} did not appear within 10 seconds")))?
    } else {
        what.into()
    };
    let mut swap = sys::swap::Options {
        priority: priority.filter(|number| *number >= 0),
        ..sys::swap::Options::default()
    };
    for option in options.split(',') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("pri", number) => swap.priority = number.parse().ok(),
            ("discard", "") => swap.discard = true,
            ("discard", "once") => swap.discard_once = true,
            ("discard", "pages") => swap.discard_pages = true,
            _ => {}
        }
    }
    match sys::swap::on(&place, &swap) {
        // In use already: what was asked for.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        result => result,
    }
}

/// A device, now or as soon as the kernel announces it.
fn wait_for_device(source: &Source) -> Option<std::path::PathBuf> {
    let uevents = crate::uevent::Uevents::open().ok()?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if let Some(path) = block_device::find(source) {
            return Some(path);
        }
        if !matches!(uevents.wait_for_block_device(deadline), Ok(true)) {
            return None;
        }
    }
}

impl Supervisor {
    /// Mounts (or swaps on) in a child, as a disk may take its time.
    pub(super) fn mount(&mut self, index: u32, on: bool) {
        let Some(unit) = self.graph.unit(index) else { return };
        let owner = index | (Role::Control as u32) << 24;
        let what = unit.text(Key::MountWhat).unwrap_or_default();
        let place = unit.text(Key::MountWhere).unwrap_or_default();
        let fs_type = unit.text(Key::MountType).unwrap_or("auto");
        let options = unit.text(Key::MountOptions).unwrap_or("defaults");
        let priority = unit.number(Key::SwapPriority).map(|number| number as i32 - 1);
        let is_swap = unit.kind() == UnitKind::Swap;
        let name = unit.name();
        let started = launch::start_own(unit, owner, &self.memory, || {
            let result = match (is_swap, on) {
                (true, true) => swap_on(what, priority, options),
                (true, false) => sys::swap::off(Path::new(what)),
                (false, true) => mount_unit(what, place, fs_type, options),
                (false, false) => mounting::unmount(Path::new(place), false),
            };
            match result {
                Ok(()) => 0,
                Err(error) => {
                    console::log(Level::Error, &format!("{name}: {error}"));
                    1
                }
            }
        });
        match started {
            Ok(pid) => {
                self.feed(&Event::Spawned { unit: index, role: Role::Control, pid });
                self.note(index);
            }
            Err(error) => {
                console::log(Level::Error, &format!("{name}: {error}"));
                let exit = Exit::Code(1);
                self.events.push_back(Event::Exited { unit: index, role: Role::Control, exit });
            }
        }
    }
}
