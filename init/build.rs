//! Links the shipped binary without what it cannot use: unwind tables (a panic aborts) and one relocation record for each
//! pointer (the compact form says the same). Together an eighth of the file.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=no-unwind-tables.ld");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let is_static =
        std::env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| features.contains("crt-static"));
    if let (true, true, Ok(directory)) = (is_release, is_static, std::env::var("CARGO_MANIFEST_DIR")) {
        for argument in [
            "-Wl,--no-eh-frame-hdr".to_owned(),
            "-Wl,-z,pack-relative-relocs".to_owned(),
            format!("-Wl,-T,{directory}/no-unwind-tables.ld"),
        ] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
