//! Paths as the language sees them: absolute, canonical byte strings. Nothing here looks at a file system.

/// Removes `.`, `..`, doubled and trailing slashes. The path must be absolute; `..` of the root is the root.
pub(crate) fn canonical(path: &[u8]) -> Vec<u8> {
    if is_canonical(path) {
        return path.to_vec();
    }
    canonical_below(b"/", path)
}

/// Whether this is seen at once: no slash has another, a dot or nothing behind it.
fn is_canonical(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
        && path.last() != Some(&b'/')
        && path.windows(2).all(|pair| pair[0] != b'/' || (pair[1] != b'/' && pair[1] != b'.'))
}

/// The same for a path that starts at a directory, which is canonical.
pub(crate) fn canonical_below(directory: &[u8], path: &[u8]) -> Vec<u8> {
    let mut result: Vec<u8> = Vec::with_capacity(directory.len() + 1 + path.len());
    if directory != b"/" {
        result.extend_from_slice(directory);
    }
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                let end = result.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                result.truncate(end);
            }
            _ => {
                result.push(b'/');
                result.extend_from_slice(segment);
            }
        }
    }
    if result.is_empty() {
        result.push(b'/');
    }
    result
}

/// What stands after the last slash; one trailing slash is ignored.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    let path = match path {
        [front @ .., b'/'] if !front.is_empty() => front,
        _ => path,
    };
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => &path[slash + 1..],
        None => path,
    }
}

/// What stands before the last slash: `.` without a slash, `/` for what lies in the root.
pub(crate) fn dir_name(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        None => b".",
        Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}

/// Whether `path` is `directory` or lies below it.
pub(crate) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory == b"/"
        || path == directory
        || (path.starts_with(directory) && path.get(directory.len()) == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_paths() {
        for (given, expected) in
            [("/a/./b/../c//d/", "/a/c/d"), ("/..", "/"), ("/", "/"), ("/a/..", "/"), ("/../a", "/a")]
        {
            assert_eq!(String::from_utf8(canonical(given.as_bytes())).unwrap(), expected, "{given}");
        }
        for (directory, path, expected) in [
            ("/a/b", "../c", "/a/c"),
            ("/a", "../../..", "/"),
            ("/", "./a//b/", "/a/b"),
            ("/a", ".b", "/a/.b"),
        ] {
            let below = canonical_below(directory.as_bytes(), path.as_bytes());
            assert_eq!(String::from_utf8(below).unwrap(), expected, "{directory} {path}");
            assert_eq!(canonical(format!("{directory}/{path}").as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn names_and_directories() {
        for (path, base, dir) in
            [("/a/b", "b", "/a"), ("a", "a", "."), ("/a", "a", "/"), ("/a/b//", "", "/a/b/"), ("/", "", "/")]
        {
            assert_eq!(base_name(path.as_bytes()), base.as_bytes(), "{path}");
            assert_eq!(dir_name(path.as_bytes()), dir.as_bytes(), "{path}");
        }
        assert!(is_below(b"/a/b", b"/a") && !is_below(b"/ab", b"/a") && is_below(b"/x", b"/"));
    }
}
