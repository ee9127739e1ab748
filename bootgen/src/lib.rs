//! From generations to boot menus (systemd-boot, GRUB); initrds and disk images.

mod checksum;
pub mod cpio;
pub mod ext4;
pub mod fat;
pub mod file_tree;
pub mod gpt;
pub mod identity;
pub mod image;
pub mod initrd;
pub mod kernel_image;
pub mod module_tree;
mod nearest;
pub mod region;
pub mod system_tree;
