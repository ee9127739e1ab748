//! Where a file of a Debian package lies in its store path.
//!
//! Debian's tree has `/usr/bin`, `/bin`, `/usr/sbin`, `/sbin`, and libraries below a directory named after the
//! machine (`/usr/lib/x86_64-linux-gnu`). A store path has one of each, as a NixOS user expects them:
//!
//! | in the package | in the store path |
//! |---|---|
//! | `/bin`, `/sbin`, `/usr/bin`, `/usr/sbin`, `/usr/games` | `bin` |
//! | `/lib`, `/lib64`, `/usr/lib`, `/usr/lib64`, each with or without `MULTIARCH/` | `lib` |
//! | `/usr/share`, `/usr/libexec`, `/usr/include`, … | `share`, `libexec`, `include`, … |
//! | `/etc`, `/boot`, `/var`, `/opt`, … | `etc`, `boot`, `var`, `opt`, … |
//!
//! Two files that meet in one place are an error unless they are the same.

use std::path::{Component, Path, PathBuf};

/// The names of the multiarch directories whose contents are lifted into `lib`: that of the system only.
const MULTIARCH: &[&str] = &["x86_64-linux-gnu"];

/// The place in a store path for an absolute path of the package's tree. `None` for the root itself.
///
/// The path has to be normal: no `.` and no `..` ([`normal`] makes it so).
pub fn place(origin: &Path) -> Option<PathBuf> {
    let mut names = origin.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut first = names.next()?;
    let mut rest = names.clone();
    if first == "usr" {
        match rest.next() {
            // `/usr` itself is the root of the store path; nothing is placed there but directories.
            None => return None,
            Some(second) => first = second,
        }
    }
    let mut to = PathBuf::new();
    match first.to_str() {
        Some("bin" | "sbin" | "games") => to.push("bin"),
        Some("lib" | "lib64") => {
            to.push("lib");
            let mut below = rest.clone();
            if below.next().and_then(|name| name.to_str()).is_some_and(|name| MULTIARCH.contains(&name)) {
                rest = below;
            }
        }
        _ => to.push(first),
    }
    to.extend(rest);
    Some(to)
}

/// An absolute path without `.`, `..` and doubled slashes; `..` at the root stays there, as the kernel does it.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

/// The way from the directory of `from` to `to`, both relative to one root: a relative link's text.
pub fn relative(from: &Path, to: &Path) -> PathBuf {
    let base = from.parent().unwrap_or(Path::new(""));
    let shared = base.components().zip(to.components()).take_while(|(left, right)| left == right).count();
    let mut way: PathBuf = base.components().skip(shared).map(|_| Component::ParentDir).collect();
    way.extend(to.components().skip(shared));
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (origin, expected) in [
            ("/usr/bin/env", "bin/env"),
            ("/bin/sh", "bin/sh"),
            ("/usr/sbin/nginx", "bin/nginx"),
            ("/sbin/ip", "bin/ip"),
            ("/usr/games/sl", "bin/sl"),
            ("/usr/bin", "bin"),
            ("/lib/x86_64-linux-gnu/libc.so.6", "lib/libc.so.6"),
            ("/usr/lib/x86_64-linux-gnu/security/pam_unix.so", "lib/security/pam_unix.so"),
            ("/usr/lib/gcc/x86_64-linux-gnu/12/crt1.o", "lib/gcc/x86_64-linux-gnu/12/crt1.o"),
            ("/usr/lib/i386-linux-gnu/libz.so.1", "lib/i386-linux-gnu/libz.so.1"),
            ("/lib64/ld-linux-x86-64.so.2", "lib/ld-linux-x86-64.so.2"),
            ("/lib/modules/6.1.0/kernel/x.ko", "lib/modules/6.1.0/kernel/x.ko"),
            ("/usr/share/nginx/index.html", "share/nginx/index.html"),
            ("/usr/libexec/x", "libexec/x"),
            ("/etc/nginx/nginx.conf", "etc/nginx/nginx.conf"),
            ("/boot/vmlinuz-6.1.0", "boot/vmlinuz-6.1.0"),
        ] {
            assert_eq!(place(Path::new(origin)), Some(PathBuf::from(expected)), "{origin}");
        }
        assert_eq!(place(Path::new("/")), None);
        assert_eq!(place(Path::new("/usr")), None);
    }

    #[test]
    fn ways() {
        assert_eq!(relative(Path::new("bin/a"), Path::new("bin/b")), PathBuf::from("b"));
        assert_eq!(relative(Path::new("lib/x/a"), Path::new("share/b")), PathBuf::from("../../share/b"));
        assert_eq!(relative(Path::new("a"), Path::new("lib/b")), PathBuf::from("lib/b"));
        assert_eq!(relative(Path::new("lib/a"), Path::new("lib")), PathBuf::from("."));
        assert_eq!(normal(Path::new("/usr/lib/../../..//etc/./x")), PathBuf::from("/etc/x"));
    }
}
