//! From generations to boot menus (systemd-boot, GRUB); initrds and disk images.

pub mod cpio;
pub mod initrd;
pub mod module_tree;
mod nearest;
