//! Bringing Firn onto a machine: what hardware and file systems there are, written as Nix ([`hardware_configuration`]), a first
//! `configuration.nix` ([`configuration`]), a disk laid out and formatted ([`layout`], [`whole_disk`]), and a command run inside an
//! installed system ([`enter`]). Knows nothing of evaluation and stores: what is built, and how it gets there, is its
//! callers' business.

pub mod block_device;
pub mod configuration;
pub mod disk;
pub mod enter;
pub mod file_systems;
pub mod hardware;
pub mod hardware_configuration;
pub mod layout;
pub mod mount_info;
pub mod nix_text;
pub mod places;
pub mod whole_disk;
