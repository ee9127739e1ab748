//! Pure data formats, one module each: no I/O, no unsafe. Each module's head cites its specification.

#[cfg(feature = "json")]
pub mod activation;
#[cfg(feature = "store")]
pub mod base32;
#[cfg(feature = "json")]
pub mod bootloader;
#[cfg(feature = "json")]
pub mod bootspec;
pub mod calendar;
#[cfg(feature = "store")]
pub mod content_address;
pub mod control;
#[cfg(feature = "store")]
pub mod derivation;
#[cfg(all(feature = "json", feature = "store"))]
pub mod flake;
#[cfg(feature = "store")]
pub mod hash;
#[cfg(feature = "json")]
pub mod json_document;
pub mod log_record;
#[cfg(feature = "store")]
pub mod nar;
#[cfg(feature = "store")]
pub mod narinfo;
#[cfg(feature = "store")]
pub mod path_info;
pub mod scan;
pub mod service_graph;
#[cfg(feature = "store")]
pub mod signature;
pub mod stage1;
#[cfg(feature = "store")]
pub mod store_path;
pub mod superblock;
pub mod time_zone;
