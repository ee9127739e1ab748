//! `<nixpkgs/nixos/modules/…>` in a configuration is Firn's module of that name, unless `NIX_PATH` says otherwise.

use std::process::Command;

#[test]
fn modules_of_nixos_are_firns() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for file in ["os/modules/a/b.nix", "other/nixos/modules/a/b.nix", "other/nixos/c.nix"] {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "1").unwrap();
    }
    let eval = |nix_path: &str, expression: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(["eval", "-E", expression])
            .env("FIRN_DIST", &root)
            .env("FIRN_STORE", root.join("store"))
            .env("NIX_PATH", nix_path)
            .output()
            .unwrap();
        let text = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8(text).unwrap().trim().to_owned()
    };
    let name = "<nixpkgs/nixos/modules/a/b.nix>";
    assert_eq!(eval("", name), root.join("os/modules/a/b.nix").display().to_string());
    let nixpkgs = format!("nixpkgs={}", root.join("other").display());
    let other = root.join("other/nixos/modules/a/b.nix").display().to_string();
    assert_eq!(eval(&nixpkgs, name), other, "NIX_PATH comes first");
    assert!(eval("", "<nixpkgs/nixos/c.nix>").contains("was not found in the Nix search path"));
}
