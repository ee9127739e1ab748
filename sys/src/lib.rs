//! Linux system calls as safe types. The only crate with `unsafe`; it knows neither generations nor services.
