//! One test for each published hole of Nix's sandbox, store and daemon that could be one here: docs/cve.md has the list
//! and says what guards against each.

use crate::fixture::Fixture;
use formats::content_address::{ContentAddress, Method};
use formats::derivation::Output;
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use store::Error;
use store::build::{BuildOptions, FailureKind, Sandbox, SandboxPath, static_shell};

/// The test that, as the builder of a derivation, sends its open output out.
const SENDER: &str = "cve::sends_its_output_out";

#[test]
fn sends_its_output_out() {
    // Run as a builder only: without the variable there is nobody to send to.
    let Some(name) = std::env::var_os("FIRN_TEST_SOCKET") else { return };
    let mut file = File::create(std::env::var_os("out").unwrap()).unwrap();
    file.write_all(b"good").unwrap();
    let address = SocketAddr::from_abstract_name(name.as_encoded_bytes()).unwrap();
    let Ok(stream) = UnixStream::connect_addr(&address) else {
        println!("nobody to be reached");
        return;
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&stream, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
}

/// Runs this program as a builder that sends its output to us; what we got, and the output's path.
fn steal(fixture: &Fixture, fixed: bool) -> (Option<File>, PathBuf) {
    let name = format!("firn-test-{}-{fixed}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let derivation = fixture.derivation("thief", "", |derivation| {
        derivation.builder = b"/test/program".to_vec();
        derivation.args = [SENDER, "--exact", "--nocapture"].map(|word| word.as_bytes().to_vec()).into();
        derivation.env.insert(b"FIRN_TEST_SOCKET".to_vec(), name.clone().into_bytes());
        if fixed {
            let address = ContentAddress { method: Method::Flat, hash: Hash::sha256("good") };
            derivation.outputs.insert("out".to_owned(), Output::Fixed(address));
        }
    });
    let path = |target: &str, source: PathBuf| SandboxPath { target: target.into(), source, optional: true };
    let sandbox = Sandbox::Required(vec![
        path("/bin/sh", static_shell().unwrap()),
        path("/test/program", std::env::current_exe().unwrap()),
        path("/lib", "/lib".into()),
        path("/lib64", "/lib64".into()),
    ]);
    let options = BuildOptions { sandbox, ..BuildOptions::default() };
    let outputs = fixture.store.build_derivation(&derivation, &options).unwrap();
    let real = fixture.store.real_path(&outputs["out"]);
    let Ok((stream, _)) = listener.accept() else {
        println!("{:?}", fixture.store.build_log(&derivation).unwrap().map(String::from_utf8));
        return (None, real);
    };
    stream.set_nonblocking(false).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty()).unwrap();
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (received.map(File::from), real)
}

/// CVE-2024-27297, CVE-2025-46416: a fixed output's builder has our network namespace and with it abstract sockets. Where
/// the kernel has Landlock's scopes (6.12) it reaches none; and whatever it sent out is not the output.
#[test]
fn an_open_file_sent_out_of_a_build_is_not_the_output() {
    let fixture = Fixture::new();
    let (stolen, real) = steal(&fixture, true);
    println!("the builder reached us: {}", stolen.is_some());
    if let Some(mut stolen) = stolen {
        stolen.write_all(b" and evil").unwrap();
        stolen.sync_all().unwrap();
    }
    assert_eq!(fs::read(&real).unwrap(), b"good");
    fixture.assert_clean();
}

/// The second guard of the same: the file that becomes valid is none that the builder ever had open.
#[test]
fn a_fixed_output_is_a_new_file() {
    let fixture = Fixture::new();
    let derivation = fixture.fixed("inode", "printf hello > $out; ls -i $out", "hello");
    let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
    let log = String::from_utf8(fixture.store.build_log(&derivation).unwrap().unwrap()).unwrap();
    let before: u64 = log.split_ascii_whitespace().next().unwrap().parse().unwrap();
    let after = fs::metadata(fixture.store.real_path(&outputs["out"])).unwrap().ino();
    assert_ne!(before, after);
}

/// The same for any other build: it has no way out.
#[test]
fn a_build_without_network_reaches_no_abstract_socket() {
    let fixture = Fixture::new();
    let (stolen, real) = steal(&fixture, false);
    assert!(stolen.is_none());
    assert_eq!(fs::read(real).unwrap(), b"good");
}

/// CVE-2024-38531, CVE-2025-52991, CVE-2025-52993: what a builder makes while it runs is out of everybody's reach, and
/// ownership is changed where nobody but us can exchange names.
#[test]
fn build_directories_are_closed_while_builds_run() {
    let fixture = Fixture::new();
    let script = "chmod 777 . /tmp; echo > open; chmod 666 open; while [ ! -e /build/end ]; do sleep 0.1; done; echo > $out";
    let derivation = fixture.script("open", script);
    let scratch = fixture.store.layout().real_store.join(format!("{derivation}.chroot"));
    std::thread::scope(|scope| {
        let build = scope.spawn(|| fixture.build(&derivation));
        let opened = || {
            fs::read_dir(&scratch).into_iter().flatten().flatten().find_map(|entry| {
                let place = entry.path().join("open");
                place.exists().then(|| entry.path())
            })
        };
        let mut place = None;
        for _ in 0..200 {
            place = opened();
            if place.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let place = place.expect("the builder has begun");
        let found = fs::metadata(&scratch).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o700, "others could enter");
        assert_eq!(found.uid(), rustix::process::geteuid().as_raw(), "the builder could exchange names");
        assert!(!scratch.starts_with(std::env::temp_dir().join("nix-build-")));
        fs::write(place.join("end"), "").unwrap();
        build.join().unwrap();
    });
    fixture.assert_clean();
}

/// CVE-2025-52992: what a failed build leaves keeps no permissions that its builder gave.
#[test]
fn a_failed_build_leaves_nothing_open() {
    let fixture = Fixture::new();
    let script = "echo x > $out; chmod 777 $out; mkdir d; chmod 777 d .; exit 1";
    let derivation = fixture.script("fails", script);
    fixture.failure(&derivation, &BuildOptions::default());
    fixture.assert_clean();
    let options = BuildOptions { keep_failed: true, ..BuildOptions::default() };
    let failure = fixture.failure(&derivation, &options);
    let kept = failure.kept.unwrap();
    let mode = fs::metadata(&kept).unwrap().permissions().mode() & 0o777;
    store::tree::remove(&kept).unwrap();
    assert_eq!(mode, 0o700, "{} was open", kept.display());
    fixture.assert_clean();
}

/// CVE-2026-39860: a fixed output that is a link to something of ours.
#[test]
fn a_fixed_output_that_is_a_link_is_not_followed() {
    let fixture = Fixture::new();
    let victim = fixture.directory.path().join("victim");
    fs::write(&victim, "hello").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!("ln -s {} $out", victim.display());
    let derivation = fixture.fixed("link", &script, "hello");
    let failure = fixture.failure(&derivation, &BuildOptions::default());
    assert!(matches!(failure.kind, FailureKind::Output(_)), "{failure:?}");
    let found = fs::metadata(&victim).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_ne!(found.mtime(), 1);
    fixture.assert_clean();
}

/// A NAR from pieces: what a strict writer would never write.
fn archive(pieces: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in std::iter::once(&"nix-archive-1").chain(pieces) {
        bytes.extend((piece.len() as u64).to_le_bytes());
        bytes.extend(piece.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// CVE-2024-45593: archives that try to leave their directory.
#[test]
fn hostile_archives_write_nothing_outside() {
    let fixture = Fixture::new();
    let outside = fixture.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap().to_owned();
    let file = |name: &'static str| -> Vec<&str> {
        vec!["entry", "(", "name", name, "node", "(", "type", "regular", "contents", "evil", ")", ")"]
    };
    let link = ["entry", "(", "name", "a", "node", "(", "type", "symlink", "target", &target, ")", ")"];
    let inside =
        [&["entry", "(", "name", "a", "node", "(", "type", "directory"], &file("x")[..], &[")", ")"]]
            .concat();
    let mut cases: Vec<(&str, Vec<&str>)> =
        ["..", ".", "", "a/b", "../x", "/etc/x", "a\0b"].map(|name| (name, file(name))).into();
    cases.push(("a link, then a directory of its name", [&link[..], &inside[..]].concat()));
    cases.push(("a link, then a file of its name", [&link[..], &file("a")[..]].concat()));
    cases.push(("a file twice", [file("a"), file("a")].concat()));
    cases.push(("unsorted", [file("b"), file("a")].concat()));
    let longest = "x".repeat(300);
    let long = ["entry", "(", "name", &longest, "node", "(", "type", "regular", "contents", "", ")", ")"];
    cases.push(("a name too long", long.to_vec()));
    for (case, entries) in cases {
        let nar = archive(&[&["(", "type", "directory"], &entries[..], &[")"]].concat());
        let path = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-hostile").unwrap();
        let info = PathInfo::new(path, Hash::sha256(&nar), nar.len() as u64);
        let error = fixture.store.add_nar(&info, &mut nar.as_slice()).unwrap_err();
        assert!(matches!(error, Error::Nar { .. }), "{case}: {error}");
        fixture.assert_clean();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{case}");
    }
    // Lengths without end, depth without end.
    let mut endless = archive(&["(", "type", "regular", "contents"]);
    endless.extend(u64::MAX.to_le_bytes());
    let mut deep: Vec<&str> = Vec::new();
    for _ in 0..100_000 {
        deep.extend(["(", "type", "directory", "entry", "(", "name", "d", "node"]);
    }
    for nar in [endless, archive(&deep)] {
        let path = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-hostile").unwrap();
        let info = PathInfo::new(path, Hash::sha256(&nar), u64::MAX);
        assert!(fixture.store.add_nar(&info, &mut nar.as_slice()).is_err());
        fixture.assert_clean();
    }
}

/// A build cannot make anything that is more than its content: no set-id bits by any of the ABIs' calls that the shell
/// can make, no devices, no other owner.
#[test]
fn outputs_have_no_privileges() {
    let fixture = Fixture::new();
    let script = "mkdir $out; echo x > $out/f; chmod 755 $out/f; chmod 4755 $out/f; chmod 2755 $out/f; chmod 6755 $out/f
                  mknod $out/dev c 1 3; ln $out/f $out/hard; mkfifo $out/pipe && rm $out/pipe; true";
    let derivation = fixture.script("set-id", script);
    let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
    let real = fixture.store.real_path(&outputs["out"]);
    let names: BTreeSet<_> =
        fs::read_dir(&real).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["f".to_owned(), "hard".to_owned()]));
    for name in names {
        let found = fs::metadata(real.join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o555);
        assert_eq!(found.uid(), rustix::process::geteuid().as_raw());
    }
}

/// A builder that makes a tree deeper than any stack or table of descriptors.
#[test]
fn a_bottomless_output_is_an_error_and_goes() {
    let fixture = Fixture::new();
    let script = "mkdir $out; cd $out; i=0; while [ $i -lt 3000 ]; do mkdir d; cd d; i=$((i+1)); done";
    let derivation = fixture.script("deep", script);
    let failure = fixture.failure(&derivation, &BuildOptions::default());
    assert!(failure.kind.to_string().contains("deeper"), "{failure:?}");
    fixture.assert_clean();
}

/// Adding what changes while it is added, or leads out of itself, adds the link and not what it points to.
#[test]
fn links_are_added_as_links() {
    let fixture = Fixture::new();
    let directory = fixture.directory.path().join("source");
    fs::create_dir(&directory).unwrap();
    symlink("/etc/shadow", directory.join("link")).unwrap();
    let path = fixture.store.add_path(&directory, "source", Method::Recursive, Algorithm::Sha256).unwrap();
    assert_eq!(fs::read_link(fixture.store.real_path(&path).join("link")).unwrap(), Path::new("/etc/shadow"));
}
