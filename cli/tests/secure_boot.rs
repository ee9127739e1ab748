//! `firn secure-boot` as a user calls it, on a system below a temporary directory that no firmware has booted.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

#[path = "../../bootgen/src/secure_boot/pe/samples.rs"]
mod samples;
#[path = "fixture/user.rs"]
mod user;

use samples::program;
use std::os::unix::fs::PermissionsExt as _;
use user::User;

const SIGNED: &str = "signed by CN=Database Key";

impl User {
    /// What the command says on standard error, and its exit code.
    fn fails(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "firn {arguments:?} succeeded");
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    }
}

#[test]
fn keys_are_made_programs_signed_and_checked() {
    let user = User::new();
    let place = |name: &str| user.0.path().join(name);
    std::fs::write(place("a.efi"), program(&[(".text", b"code")], b"")).unwrap();
    std::fs::write(place("b.efi"), "text").unwrap();
    std::fs::set_permissions(place("a.efi"), std::fs::Permissions::from_mode(0o754)).unwrap();

    let (error, _) = user.fails(&["secure-boot", "sign", "a.efi"]);
    assert!(error.contains("there is no key at ") && error.contains("create-keys"), "{error}");
    user.succeeds(&["secure-boot", "create-keys", "--bits", "2048"]);
    let keys = place("store/var/lib/sbctl/keys");
    for (role, suffix) in [("PK", "key"), ("KEK", "key"), ("db", "key"), ("db", "pem")] {
        let mode = keys.join(role).join(format!("{role}.{suffix}")).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{role}.{suffix}");
    }
    let (error, _) = user.fails(&["secure-boot", "create-keys", "--bits", "2048"]);
    assert!(error.contains("there are keys in "), "{error}");

    assert_eq!(user.run(&["secure-boot", "verify", "a.efi"]).status.code(), Some(1));
    user.succeeds(&["secure-boot", "sign", "a.efi", "-o", "c.efi"]);
    assert_eq!(user.succeeds(&["secure-boot", "verify", "c.efi"]), format!("c.efi: {SIGNED}"));
    user.succeeds(&["secure-boot", "sign", "a.efi"]);
    assert_eq!(std::fs::read(place("a.efi")).unwrap(), std::fs::read(place("c.efi")).unwrap());
    assert_eq!(place("a.efi").metadata().unwrap().permissions().mode() & 0o777, 0o754);
    let output = user.run(&["secure-boot", "verify", "--json", "a.efi", "b.efi"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found[0]["signed"], &found[0]["signer"]),
        (&true.into(), &"CN=Database Key".into()),
        "{found}"
    );
    assert_eq!(found[1]["problem"], "it is no PE program (an EFI program or a kernel that is one)");
    let (error, _) = user.fails(&["secure-boot", "sign", "b.efi"]);
    assert!(error.contains("cannot sign b.efi: it is no PE program"), "{error}");
    assert_eq!(std::fs::read(place("b.efi")).unwrap(), b"text");

    // Keys that lie elsewhere, made by others.
    user.succeeds(&["secure-boot", "create-keys", "--bits", "2048", "--keys", "/other"]);
    let output = user.run(&["secure-boot", "verify", "a.efi", "--keys", "/other"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "a.efi: it is signed, but not by a key that is trusted here (by CN=Database Key)\n");
}

#[test]
fn without_firmware_nothing_is_enrolled() {
    let user = User::new();
    user.succeeds(&["secure-boot", "create-keys", "--bits", "2048"]);
    let (error, _) = user.fails(&["secure-boot", "enroll-keys"]);
    assert!(
        error.contains("--firmware-builtin") && error.contains("--yes-this-might-brick-my-machine"),
        "{error}"
    );
    let (error, _) = user.fails(&["secure-boot", "enroll-keys", "--microsoft"]);
    assert!(error.contains("brings no certificates of Microsoft's"), "{error}");
    let (error, _) = user.fails(&["secure-boot", "enroll-keys", "--firmware-builtin"]);
    assert!(error.contains("this machine was not booted by UEFI firmware"), "{error}");

    let status = user.succeeds(&["secure-boot", "status"]);
    assert!(
        status.starts_with("firmware   no UEFI firmware with Secure Boot\nkeys       made\n"),
        "{status}"
    );
    let key = user.0.path().join("store/var/lib/sbctl/keys/db/db.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let status = user.succeeds(&["secure-boot", "status"]);
    assert!(status.contains(&format!("others than root can read {}", key.display())), "{status}");
    let json: serde_json::Value =
        serde_json::from_str(&user.succeeds(&["secure-boot", "status", "--json"])).unwrap();
    assert_eq!(
        (&json["uefi"], &json["keys"], &json["enrolled"]["db"]["owners"]),
        (&false.into(), &true.into(), &false.into()),
        "{json}"
    );
}
