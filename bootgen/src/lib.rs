//! From generations to boot menus (systemd-boot, GRUB); initrds and disk images.

pub mod apply;
pub mod bless;
pub mod boot_entry;
mod calendar;
#[cfg(test)]
mod checker;
mod checksum;
pub mod cpio;
pub mod erofs;
pub mod esp;
pub mod ext4;
pub mod fat;
pub mod file_hashes;
pub mod file_tree;
pub mod generations;
pub mod gpt;
pub mod grub;
pub mod grub_bios;
pub mod identity;
pub mod image;
pub mod image_menu;
pub mod initrd;
pub mod iso9660;
pub mod iso_image;
pub mod loader_conf;
pub mod medium_menu;
pub mod menu_update;
pub mod module_tree;
mod nearest;
pub mod partition;
pub mod plan;
#[cfg(test)]
mod random_trees;
pub mod region;
pub mod secure_boot;
pub mod system_tree;
pub mod systemd_boot;
