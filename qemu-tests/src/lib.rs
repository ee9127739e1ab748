//! A driver for tests in QEMU virtual machines: boot, wait by event, drive menus, cut the power.

pub mod protocol;
