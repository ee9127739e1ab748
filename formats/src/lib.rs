//! Pure data formats, one module each: no I/O, no unsafe. Each module's head cites its specification.

#[cfg(feature = "json")]
pub mod activation;
#[cfg(feature = "json")]
pub mod bootloader;
#[cfg(feature = "json")]
pub mod bootspec;
#[cfg(feature = "json")]
pub mod json_document;
