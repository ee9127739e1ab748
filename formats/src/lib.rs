//! Pure data formats, one module each: no I/O, no unsafe. Each module's head cites its specification.

#[cfg(feature = "json")]
pub mod activation;
#[cfg(feature = "store")]
pub mod base32;
#[cfg(feature = "json")]
pub mod bootloader;
#[cfg(feature = "json")]
pub mod bootspec;
#[cfg(feature = "store")]
pub mod content_address;
pub mod control;
#[cfg(feature = "store")]
pub mod derivation;
#[cfg(feature = "store")]
pub mod hash;
#[cfg(feature = "json")]
pub mod json_document;
pub mod log_record;
#[cfg(feature = "store")]
pub mod nar;
#[cfg(feature = "store")]
pub mod path_info;
pub mod service_graph;
pub mod stage1;
#[cfg(feature = "store")]
pub mod store_path;
