//! The text that a program carries in its binary: names of libraries that it opens while running (`dlopen`), and paths
//! that it was told when it was built. The first become part of its run path; the second cannot be changed in place,
//! and are reported, so that modules configure them.

/// Runs of printable characters that end with NUL and are at least this long.
const SHORTEST: usize = 5;

/// The C strings of a file, outside a range that the caller knows (the table of symbol names).
pub fn c_strings(bytes: &[u8], outside: std::ops::Range<usize>) -> impl Iterator<Item = &str> {
    let head = bytes.get(..outside.start).unwrap_or(bytes);
    let tail = bytes.get(outside.end..).unwrap_or_default();
    head.split(|byte| *byte == 0).chain(tail.split(|byte| *byte == 0)).filter_map(printable_end)
}

/// The printable text at the end of a piece, which the NUL follows.
fn printable_end(piece: &[u8]) -> Option<&str> {
    let length = piece.iter().rev().take_while(|byte| (0x20..0x7f).contains(*byte)).count();
    let text = piece.get(piece.len() - length..)?;
    (length >= SHORTEST).then(|| std::str::from_utf8(text).ok()).flatten()
}

/// Whether a string is a shared library's file name and nothing else.
pub fn is_soname(text: &str) -> bool {
    let Some((stem, versions)) = text.split_once(".so") else { return false };
    let stem_fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let version_fits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    !stem.is_empty()
        && stem.bytes().all(stem_fits)
        && (versions.is_empty()
            || versions.strip_prefix('.').is_some_and(|rest| rest.split('.').all(version_fits)))
}

/// Whether a string is an absolute path of a file in a directory that exists only in Debian's tree.
pub fn is_debian_path(text: &str) -> bool {
    let below =
        ["/usr/", "/lib/", "/bin/", "/sbin/", "/lib64/"].iter().find_map(|top| text.strip_prefix(top));
    below.is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-/@".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_with_nul() {
        let bytes = b"\x01\x02libz.so.1\0abc\0\x7f/usr/share/x\0skipped\0end";
        let found: Vec<&str> = c_strings(bytes, 29..37).collect();
        assert_eq!(found, ["libz.so.1", "/usr/share/x"]);
    }

    #[test]
    fn sonames() {
        for (text, expected) in [
            ("libz.so", true),
            ("libstdc++.so.6", true),
            ("libperl.so.5.36", true),
            ("liblz4-1.so.1.2", true),
            ("lib%s.so.2", false),
            ("/lib/libz.so.1", false),
            ("libz.sort", false),
            (".so.1", false),
            ("libz.so.", false),
            ("cannot open libz.so.1", false),
        ] {
            assert_eq!(is_soname(text), expected, "{text}");
        }
    }

    #[test]
    fn debian_paths() {
        for (text, expected) in [
            ("/usr/lib/openssh/sftp-server", true),
            ("/bin/sh", true),
            ("/usr/", false),
            ("/usr/share/%s/x", false),
            ("/etc/passwd", false),
            ("usr/lib", false),
        ] {
            assert_eq!(is_debian_path(text), expected, "{text}");
        }
    }
}
