//! Secure Boot: the firmware starts only programs that carry a signature by a key that the machine's owner enrolled (UEFI
//! specification 2.10, chapter 32). Here is what signs and checks programs (Authenticode over PE files), keeps the owner's keys
//! (laid out as sbctl does), and puts a kernel, its initrd and its command line into one program, so that one signature covers
//! all three. What of this lands on the boot partition, and when, is `plan`'s and `apply`'s business.

pub mod authenticode;
pub mod firmware;
pub mod key_bundle;
pub mod keys;
pub mod pe;
pub mod sections;
pub mod signature_database;
pub mod signed_data;
pub mod unified_kernel;
