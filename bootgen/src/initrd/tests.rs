//! Initrds in a temporary directory, listed by cpio(1) where it is installed.

use super::*;

fn spec(directory: &Path) -> InitrdSpec {
    let init = directory.join("firn-init");
    std::fs::write(&init, b"\x7fELF a program").unwrap();
    InitrdSpec {
        init,
        modules_tree: None,
        modules: Vec::new(),
        available_modules: Vec::new(),
        mounts: vec![Mount {
            source: "LABEL=my root".to_owned(),
            target: "/".to_owned(),
            fs_type: "ext4".to_owned(),
            options: Vec::new(),
        }],
        timeout: 10,
        rescue_shell: None,
        extra_files: Vec::new(),
        compression: Compression::None,
    }
}

#[test]
fn stage1_text() {
    let directory = tempfile::tempdir().unwrap();
    let initrd = Initrd::collect(&spec(directory.path())).unwrap();
    assert_eq!(initrd.stage1, "firn-stage1 1\nmount LABEL=my\\040root / ext4 defaults\ntimeout 10\nend\n");
    let paths: Vec<String> = initrd.contents().into_iter().map(|listed| listed.path).collect();
    assert_eq!(
        paths,
        ["/dev", "/dev/console", "/dev/null", "/proc", "/run", "/sys", "/sysroot", "/init", "/stage1.conf"]
    );
}

#[test]
fn same_bytes_twice() {
    let directory = tempfile::tempdir().unwrap();
    let spec = spec(directory.path());
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bytes = |time| Initrd::collect(&spec).unwrap().to_bytes(compression, time).unwrap();
        assert_eq!(bytes(0), bytes(0), "{compression:?}");
        assert_ne!(bytes(0), bytes(1), "{compression:?}");
    }
}

#[test]
fn root_must_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = spec(directory.path());
    spec.mounts[0].target = "/nix".to_owned();
    assert!(matches!(Initrd::collect(&spec), Err(InitrdError::NoRoot)));
}

#[test]
fn modules_need_a_tree() {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = spec(directory.path());
    spec.modules.push("ext4".to_owned());
    let error = Initrd::collect(&spec).unwrap_err();
    assert_eq!(error.to_string(), "the initrd wants kernel modules (ext4) and no modulesTree is given");
}

#[test]
fn missing_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = spec(directory.path());
    spec.init = PathBuf::from("/does/not/exist/init");
    assert!(Initrd::collect(&spec).unwrap_err().to_string().starts_with("/does/not/exist/init: "));
}

#[test]
fn attributes_as_the_derivation_gives_them() {
    let text = r#"{ "init": "/i", "modulesTree": "/m", "modules": ["virtio_blk"], "timeout": 10, "rescueShell": null,
        "mounts": [{"source": "/dev/vda", "target": "/", "fsType": "ext4", "options": ["ro"]}],
        "extraFiles": [{"target": "etc/x", "source": "/x"}], "compression": "zstd" }"#;
    let spec: InitrdSpec = serde_json::from_str(text).unwrap();
    assert_eq!(spec.mounts[0].fs_type, "ext4");
    let error =
        serde_json::from_str::<InitrdSpec>(r#"{ "init": "/i", "mounts": [], "module": [] }"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `module`"), "{error}");
}

#[test]
fn what_is_written_is_what_stage_1_reads() {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = spec(directory.path());
    spec.rescue_shell = Some(spec.init.clone());
    let text = Initrd::collect(&spec).unwrap().stage1;
    let read = formats::stage1::Stage1::parse(&text).unwrap();
    assert_eq!(read.mounts[0].source, formats::stage1::Source::Label("my root".to_owned()));
    assert_eq!(read.rescue.as_deref(), Some("bin/busybox"));
    let overlay = Overlay { mounts: spec.mounts, timeout: 30, ..Overlay::default() };
    assert!(overlay.to_bytes().unwrap().starts_with(b"070701"));
}
