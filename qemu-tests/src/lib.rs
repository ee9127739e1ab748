//! A driver for tests in QEMU virtual machines: boot, wait by event, drive menus, cut the power.
//!
//! A [`Machine`] is described by a [`Builder`], started under the accelerator that really works ([`accelerator`]), and
//! looked into through its serial console ([`Screen`]) and through `firn-agent` in the guest ([`protocol`]). Every wait
//! has a limit, and every [`Error`] carries the last lines of the console.
//!
//! ```no_run
//! # fn main() -> qemu_tests::Result<()> {
//! let machine = qemu_tests::Machine::builder("hello").disk(qemu_tests::Disk::overlay("disk.raw")).uefi().start()?;
//! machine.select_menu_entry("Generation 1")?;
//! machine.wait_for_console("login:")?;
//! # Ok(())
//! # }
//! ```

pub mod accelerator;
mod console;
pub mod debian;
pub mod disk;
mod error;
mod guest;
mod host;
pub mod initrd;
pub mod kernel;
mod machine;
mod process;
pub mod protocol;
mod qmp;
mod screen;
pub mod write_log;

pub use accelerator::Accelerator;
pub use disk::{Bus, Disk};
pub use error::{ConsoleTail, Error, Result};
pub use machine::{
    Boot, Builder, Command, GuestStream, Key, Machine, Mount, Output, RunningCommand, Snapshot,
};
pub use screen::{Cell, Screen};
