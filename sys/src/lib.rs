//! Linux system calls as safe types. The only crate with `unsafe`; it knows neither generations nor services.
#![expect(unsafe_code, reason = "system calls; this is the one crate that makes them")]

pub mod block_device;
pub mod cgroup_program;
mod clone3;
pub mod device_filter;
pub mod extended_attribute;
pub mod file_map;
pub mod kexec;
pub mod loopback;
pub mod namespaced_child;
pub mod private_mounts;
pub mod process_limits;
pub mod pseudo_terminal;
pub mod random;
pub mod seccomp;
pub mod shared_words;
pub mod sibling;
pub mod swap;
pub mod system_v_ipc;
pub mod terminal;
pub mod watchdog;
