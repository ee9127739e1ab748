//! Programs and libraries, linked here by the system's compiler, packed as a .deb, unpacked into a store path and run
//! there: what the relocator promises, for each kind of file that a linker makes.

#![expect(clippy::expect_used, reason = "a test that cannot prepare its files has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tools::derivation::Derivation;
use tools::relocate::elf_facts::ElfFacts;
use tools::relocate::elf_rewrite::{Wanted, rewrite};

/// A library with initialised data, `.bss`, thread-local data and a name that `dlopen` finds.
const LIBRARY: &str = "int table[1000]; _Thread_local int own = 7; int answer(void) { table[999] += 35; return table[999] + own; }\n";

/// A program that needs it, has a `.bss` larger than its file, and reads its own notes and headers.
const PROGRAM: &str = "#include <stdio.h>\n#include <stdlib.h>\nint answer(void); static char big[3000000]; int *heap;\n\
    int main(void) { for (unsigned i = 0; i < sizeof big; i++) if (big[i]) return 3; big[2999999] = 1;\n\
      heap = malloc(500000); if (!heap) return 4; heap[1000] = 5; printf(\"%d\\n\", answer()); return 0; }\n";

/// A directory with what was compiled and the store paths made of it.
struct Workshop {
    directory: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Compiles a text; returns the linked file.
    fn compile(&self, name: &str, text: &str, flags: &[&str]) -> Vec<u8> {
        let source = self.path("source.c");
        fs::write(&source, text).expect("written");
        let output = Command::new("cc")
            .arg("-o")
            .arg(self.path(name))
            .arg(&source)
            .args(flags)
            .output()
            .expect("cc runs");
        assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        fs::read(self.path(name)).expect("linked")
    }

    /// Packs files as a .deb.
    fn package(&self, name: &str, files: &[(&str, u32, &[u8])]) -> PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, mode, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(*mode);
            header.set_path(path).expect("a path");
            header.set_cksum();
            tar.append(&header, *data).expect("appended");
        }
        let data = tar.into_inner().expect("a tar");
        let mut archive = b"!<arch>\n".to_vec();
        for (member, data) in [("debian-binary", &b"2.0\n"[..]), ("data.tar", &data)] {
            archive.extend(
                format!("{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len())
                    .into_bytes(),
            );
            archive.extend_from_slice(data);
        }
        let path = self.path(name);
        fs::write(&path, archive).expect("written");
        path
    }

    /// Runs `unpack-deb`; returns the store path.
    fn unpack(&self, out: &str, deb: &Path, dependencies: &[&Path]) -> Result<PathBuf, String> {
        let out = self.path(out);
        let attributes = serde_json::json!({
            "name": "t", "outputs": { "out": out }, "debs": [deb], "dependencies": dependencies,
        });
        let derivation = Derivation::from_json(&attributes.to_string()).expect("valid");
        tools::unpack_deb::run(&derivation).map(|()| out).map_err(|error| format!("{error:#}"))
    }

    /// A store path that stands in for libc6's: this machine's own loader and C library.
    fn libc(&self) -> PathBuf {
        let libc = self.path("libc");
        fs::create_dir_all(libc.join("lib")).expect("made");
        for name in ["ld-linux-x86-64.so.2", "libc.so.6"] {
            let found = ["/lib64", "/lib/x86_64-linux-gnu", "/usr/lib"]
                .iter()
                .map(|directory| Path::new(directory).join(name));
            let found = found.into_iter().find(|path| path.exists()).expect("this machine has glibc");
            let place = libc.join("lib").join(name);
            if !place.exists() {
                fs::copy(found, place).expect("copied");
            }
        }
        libc
    }

    /// The library's package, unpacked.
    fn library(&self) -> (PathBuf, PathBuf) {
        let bytes =
            self.compile("libanswer.so.1", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"]);
        let deb = self.package("lib.deb", &[("usr/lib/x86_64-linux-gnu/libanswer.so.1", 0o644, &bytes)]);
        let libc = self.libc();
        (self.unpack("library", &deb, &[&libc]).expect("unpacked"), libc)
    }
}

fn facts(path: &Path) -> ElfFacts {
    ElfFacts::read(&fs::read(path).expect("read")).expect("parsed").expect("dynamic")
}

fn output(path: &Path) -> String {
    let output = Command::new(path).env_clear().output().expect("it starts");
    assert!(
        output.status.success(),
        "{}: {:?} {}",
        path.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Every way in which a program comes out of the linker.
#[test]
fn programs_of_all_kinds_run_from_their_store_path() {
    let workshop = Workshop::new();
    let (library, libc) = workshop.library();
    let answer = workshop.path("libanswer.so.1").display().to_string();
    for (kind, flags) in [
        ("pie", &["-pie", "-fPIE"][..]),
        ("fixed", &["-no-pie"]),
        ("now", &["-pie", "-fPIE", "-Wl,-z,now,-z,relro"]),
        ("one-segment", &["-pie", "-fPIE", "-Wl,-z,noseparate-code"]),
        ("no-spare-dynamic", &["-pie", "-fPIE", "-Wl,--spare-dynamic-tags=0"]),
        (
            "no-notes",
            &["-pie", "-fPIE", "-Wl,--build-id=none", "-Wa,-mx86-used-note=no", "-fcf-protection=none"],
        ),
        ("huge-alignment", &["-pie", "-fPIE", "-Wl,-z,max-page-size=0x200000"]),
        ("stripped", &["-no-pie", "-s"]),
        ("old-search-path", &["-pie", "-fPIE", "-Wl,--disable-new-dtags,-rpath,/usr/lib/x86_64-linux-gnu"]),
    ] {
        let mut flags: Vec<&str> = flags.to_vec();
        flags.push(&answer);
        let bytes = workshop.compile("program", PROGRAM, &flags);
        let deb = workshop.package("program.deb", &[("usr/bin/program", 0o755, &bytes)]);
        let out = workshop.unpack(&format!("program-{kind}"), &deb, &[&library, &libc]).expect(kind);
        let program = out.join("bin/program");
        assert_eq!(output(&program), "42\n", "{kind}");
        let facts = facts(&program);
        assert_eq!(
            facts.interpreter,
            Some(libc.join("lib/ld-linux-x86-64.so.2").display().to_string()),
            "{kind}"
        );
        // Exactly the directories that hold what it needs, in the order of its needs.
        let expected: Vec<String> =
            [library.join("lib"), libc.join("lib")].iter().map(|path| path.display().to_string()).collect();
        assert_eq!(facts.search_path, expected, "{kind}");
    }
}

#[test]
fn a_second_relocation_of_a_relocated_file_runs_too() {
    let workshop = Workshop::new();
    let (library, libc) = workshop.library();
    let answer = workshop.path("libanswer.so.1").display().to_string();
    let mut bytes = workshop.compile("program", PROGRAM, &["-pie", "-fPIE", &answer]);
    let wanted = Wanted {
        interpreter: Some(libc.join("lib/ld-linux-x86-64.so.2").display().to_string()),
        run_path: vec![library.join("lib").display().to_string(), libc.join("lib").display().to_string()],
    };
    let path = workshop.path("again");
    for round in 1..=4 {
        bytes = rewrite(&bytes, &wanted).expect("rewritten");
        fs::write(&path, &bytes).expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
        assert_eq!(output(&path), "42\n", "round {round}");
    }
}

#[test]
fn a_library_opened_while_running_is_found() {
    let workshop = Workshop::new();
    let (library, libc) = workshop.library();
    let text = "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) { void *l = dlopen(\"libanswer.so.1\", RTLD_NOW);\n\
        if (!l) { puts(dlerror()); return 1; } int (*f)(void) = (int (*)(void))dlsym(l, \"answer\"); printf(\"%d\\n\", f()); return 0; }\n";
    let bytes = workshop.compile("opener", text, &["-ldl"]);
    let deb = workshop.package("opener.deb", &[("usr/bin/opener", 0o755, &bytes)]);
    let out = workshop.unpack("opener-out", &deb, &[&library, &libc]).expect("unpacked");
    assert_eq!(output(&out.join("bin/opener")), "42\n");
}

#[test]
fn a_missing_library_is_named_with_the_file_that_needs_it() {
    let workshop = Workshop::new();
    let libc = workshop.libc();
    workshop.compile("libanswer.so.1", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"]);
    let answer = workshop.path("libanswer.so.1").display().to_string();
    let bytes = workshop.compile("program", PROGRAM, &[&answer]);
    let deb = workshop.package("program.deb", &[("usr/bin/program", 0o755, &bytes)]);
    let error = workshop.unpack("missing", &deb, &[&libc]).expect_err("the library is missing");
    assert!(error.contains("bin/program") && error.contains("libanswer.so.1"), "{error}");
    let error = workshop.unpack("no-libc", &deb, &[]).expect_err("the loader is missing");
    assert!(error.contains("libc6"), "{error}");
}

#[test]
fn two_versions_of_a_library_live_side_by_side() {
    let workshop = Workshop::new();
    let libc = workshop.libc();
    let mut outputs = BTreeMap::new();
    for version in ["1", "2"] {
        let text = format!("int answer(void) {{ return {version}; }}\n");
        let bytes =
            workshop.compile("libanswer.so.1", &text, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"]);
        let deb = workshop.package("lib.deb", &[("usr/lib/libanswer.so.1", 0o644, &bytes)]);
        let library = workshop.unpack(&format!("library-{version}"), &deb, &[&libc]).expect("unpacked");
        let answer = workshop.path("libanswer.so.1").display().to_string();
        let bytes = workshop.compile("program", PROGRAM, &[&answer]);
        let deb = workshop.package("program.deb", &[("bin/program", 0o755, &bytes)]);
        let out = workshop.unpack(&format!("program-{version}"), &deb, &[&library, &libc]).expect("unpacked");
        outputs.insert(version, out);
    }
    for (version, out) in outputs {
        assert_eq!(output(&out.join("bin/program")), format!("{version}\n"));
    }
}

#[test]
fn static_programs_and_objects_pass_untouched() {
    let workshop = Workshop::new();
    let program = workshop.compile("static", "int main(void) { return 0; }\n", &["-static"]);
    let object = workshop.compile("object.o", LIBRARY, &["-c"]);
    let deb =
        workshop.package("static.deb", &[("sbin/static", 0o755, &program), ("lib/object.o", 0o644, &object)]);
    let out = workshop.unpack("static-out", &deb, &[]).expect("unpacked");
    assert_eq!(fs::read(out.join("bin/static")).expect("there"), program);
    assert_eq!(fs::read(out.join("sbin/static")).expect("through the link"), program);
    assert_eq!(fs::read(out.join("lib/object.o")).expect("there"), object);
}

#[test]
fn damaged_files_are_errors_and_not_panics() {
    let workshop = Workshop::new();
    let whole = workshop.compile("program", "int main(void) { return 0; }\n", &[]);
    let wanted = Wanted { interpreter: Some("/x".into()), run_path: vec!["/y".into()] };
    for length in (0..whole.len()).step_by(61) {
        // Whether cut files are refused depends on where they are cut; that nothing panics is the test.
        let cut = &whole[..length];
        drop(ElfFacts::read(cut));
        drop(rewrite(cut, &wanted));
    }
    for position in 0..512 {
        let mut changed = whole.clone();
        changed[position] ^= 0xff;
        drop(ElfFacts::read(&changed));
        drop(rewrite(&changed, &wanted));
    }
}

#[test]
fn unpacking_twice_gives_the_same_bytes() {
    let workshop = Workshop::new();
    let (library, libc) = workshop.library();
    let answer = workshop.path("libanswer.so.1").display().to_string();
    let program = workshop.compile("program", PROGRAM, &[&answer]);
    let files = [
        ("usr/bin/program", 0o755, &program[..]),
        ("usr/bin/script", 0o755, b"#!/bin/sh\nexec /usr/bin/program\n"),
    ];
    let deb = workshop.package("program.deb", &files);
    let listing = |root: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let mut names: Vec<PathBuf> = fs::read_dir(root.join("bin"))
            .expect("listed")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        names.sort();
        names
            .iter()
            .map(|path| {
                (path.strip_prefix(root).expect("below").to_path_buf(), fs::read(path).expect("read"))
            })
            .collect()
    };
    let first = workshop.unpack("same", &deb, &[&library, &libc]).expect("unpacked");
    let before = listing(&first);
    fs::remove_dir_all(&first).expect("removed");
    let second = workshop.unpack("same", &deb, &[&library, &libc]).expect("unpacked");
    assert_eq!(before, listing(&second));
    let script = fs::read_to_string(second.join("bin/script")).expect("read");
    assert!(script.contains(&format!("exec {}/bin/program", second.display())), "{script}");
}
