//! References as Nix 2.34 reads and writes them.

use super::*;
use crate::flake::attributes::to_json;

const REV: &str = "b0c285b0c285b0c285b0c285b0c285b0c285b0c2";
const HASH: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

/// What a text means as JSON, or the error.
fn read_alone(text: &str) -> String {
    match FlakeRef::parse(text, true, false) {
        Ok(reference) => {
            to_json(&reference.to_attributes()).to_string().replace(REV, "REV").replace(HASH, "HASH")
        }
        Err(error) => error.to_string().replace(REV, "REV"),
    }
}

#[test]
fn texts() {
    for (text, meaning) in [
        (
            "github:NixOS/nixpkgs/23.05?dir=lib",
            r#"{"dir":"lib","owner":"NixOS","ref":"23.05","repo":"nixpkgs","type":"github"}"#,
        ),
        ("nixpkgs", r#"{"id":"nixpkgs","type":"indirect"}"#),
        ("nixpkgs/nixos-25.05", r#"{"id":"nixpkgs","ref":"nixos-25.05","type":"indirect"}"#),
        ("flake:nixpkgs/REV", r#"{"id":"nixpkgs","rev":"REV","type":"indirect"}"#),
        ("nixpkgs/a/REV", r#"{"id":"nixpkgs","ref":"a","rev":"REV","type":"indirect"}"#),
        ("flake:nixpkgs/a/b", "flake reference 'flake:nixpkgs/a/b' is not an absolute path"),
        ("/a/b", r#"{"path":"/a/b","type":"path"}"#),
        ("/a?dir=b", r#"{"dir":"b","path":"/a","type":"path"}"#),
        ("/a/b c", r#"{"path":"/a/b c","type":"path"}"#),
        ("./x", "flake reference './x' is not an absolute path"),
        ("path:./x", r#"{"path":"./x","type":"path"}"#),
        ("path:x", r#"{"path":"x","type":"path"}"#),
        ("path:/a?rev=1&revCount=2", r#"{"path":"/a","rev":"1","revCount":2,"type":"path"}"#),
        ("path:/a?revCount=x", "path URL 'path:/a?revCount=x' has invalid parameter 'revCount'"),
        ("path:/a?foo=x", "path URL 'path:/a?foo=x' has unsupported parameter 'foo'"),
        ("path://x/y", "path URL 'path://x/y' should not have an authority ('x')"),
        ("path:a b", "flake reference 'path:a b' is not an absolute path"),
        (
            "git+https://e.org/x.git?ref=main&shallow=1",
            r#"{"ref":"main","shallow":true,"type":"git","url":"https://e.org/x.git"}"#,
        ),
        ("git+file:///a/b?dir=x&foo=bar", r#"{"dir":"x","type":"git","url":"file:///a/b?foo=bar"}"#),
        ("git+ssh://git@h/x", r#"{"type":"git","url":"ssh://git@h/x"}"#),
        ("git:x/y", "flake reference 'git:x/y' is not an absolute path"),
        ("hg+https://x/y", r#"{"type":"hg","url":"https://x/y"}"#),
        ("https://e.org/x.tar.gz", r#"{"type":"tarball","url":"https://e.org/x.tar.gz"}"#),
        (
            "https://e.org/x.tar.gz?foo=bar&rev=1",
            r#"{"rev":"1","type":"tarball","url":"https://e.org/x.tar.gz?foo=bar"}"#,
        ),
        ("https://e.org/x", r#"{"type":"tarball","url":"https://e.org/x"}"#),
        ("tarball+https://h/x?narHash=HASH", r#"{"narHash":"HASH","type":"tarball","url":"https://h/x"}"#),
        ("file+https://e.org/x?a=b", r#"{"type":"file","url":"https://e.org/x?a=b"}"#),
        ("github:a", "flake reference 'github:a' is not an absolute path"),
        ("github:a/b/c/d", r#"{"owner":"a","ref":"c/d","repo":"b","type":"github"}"#),
        ("github:a//b", r#"{"owner":"a","repo":"b","type":"github"}"#),
        ("github:a/b?host=x.y&foo=bar", r#"{"host":"x.y","owner":"a","repo":"b","type":"github"}"#),
        ("github:a/b?ref=x&rev=REV", "flake reference 'github:a/b?ref=x&rev=REV' is not an absolute path"),
        ("github:a/b#x", "unexpected fragment 'x' in flake reference 'github:a/b#x'"),
        ("gitlab:a%2Fb/c", r#"{"owner":"a/b","repo":"c","type":"gitlab"}"#),
        ("sourcehut:~me/x", r#"{"owner":"~me","repo":"x","type":"sourcehut"}"#),
        ("1x", "flake reference '1x' is not an absolute path"),
        ("", "flake reference '' is not an absolute path"),
        ("~/x", "flake reference '~/x' is not an absolute path"),
        ("a:b", "input 'a:b' is unsupported"),
        ("x/y/z/w", "GitHub URL 'flake:x/y/z/w' is invalid"),
    ] {
        let written = text.replace("REV", REV).replace("HASH", HASH);
        assert_eq!(read_alone(&written), meaning, "{text}");
    }
}

#[test]
fn attributes_as_texts() {
    for (attributes, text) in [
        (
            r#"{"type":"gitlab","owner":"a b!$&'()*+,;=:@~","repo":"c","ref":"x/y"}"#,
            "gitlab:a%20b%21%24%26%27%28%29%2A%2B%2C%3B%3D:@~/c/x%2Fy",
        ),
        (r#"{"type":"path","path":"/a b/ä%"}"#, "path:/a%20b/%C3%A4%25"),
        (
            r#"{"type":"path","path":"./a","narHash":"HASH","lastModified":5}"#,
            "path:./a?lastModified=5&narHash=sha256-47DEQpj8HBSa%2B/TImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D",
        ),
        (r#"{"type":"path","path":"/x","narHash":""}"#, "path:/x?narHash="),
        (r#"{"type":"git","url":"https://h/x?a=b","ref":"m&"}"#, "git+https://h/x?a=b&ref=m%26"),
        (
            r#"{"type":"git","url":"git@h:x/y","submodules":true,"allRefs":true,"shallow":false}"#,
            "git+ssh://git@h/x/y?submodules=1",
        ),
        (r#"{"type":"git","url":"/a/b","rev":"REV"}"#, "git+file:///a/b?rev=REV"),
        (r#"{"type":"git","url":"a/b"}"#, "git+file:a/b"),
        (r#"{"type":"git","url":"https://h/x","ref":"a..b"}"#, "invalid Git branch/tag name 'a..b'"),
        (
            r#"{"type":"git","url":"https://h/x","rev":"xyz"}"#,
            "hash 'xyz' has wrong length for hash algorithm 'sha1'",
        ),
        (
            r#"{"type":"tarball","url":"https://h/x.tar.gz?a=b","narHash":"HASH"}"#,
            "https://h/x.tar.gz?a=b&narHash=sha256-47DEQpj8HBSa%2B/TImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D",
        ),
        (
            r#"{"type":"tarball","url":"https://h/x.tar.gz","rev":"REV","lastModified":4}"#,
            "https://h/x.tar.gz",
        ),
        (r#"{"type":"file","url":"https://h/x","dir":"q"}"#, "https://h/x?dir=q"),
        (r#"{"type":"indirect","id":"x","ref":"a","rev":"REV"}"#, "flake:x/a/REV"),
        (r#"{"type":"indirect","id":"x","rev":"REV","dir":"a/b c"}"#, "flake:x/REV?dir=a/b%20c"),
        (r#"{"type":"indirect","id":"1x"}"#, "'1x' is not a valid flake ID"),
        (r#"{"type":"github","owner":"a","repo":"b","ref":"m","host":"h.x"}"#, "github:a/b/m?host=h.x"),
        (r#"{"type":"github","owner":"a"}"#, "input attribute 'repo' is missing"),
        (
            r#"{"type":"github","owner":"a","repo":"b","ref":"m","rev":"REV"}"#,
            r#"input {"owner":"a","ref":"m","repo":"b","rev":"REV","type":"github"} contains both a commit hash ('REV') and a branch/tag name ('m')"#,
        ),
        (
            r#"{"type":"github","owner":"a","repo":"b","foo":"m"}"#,
            "input attribute 'foo' not supported by scheme 'github'",
        ),
        (r#"{"owner":"a"}"#, "'type' attribute to specify input scheme is required but not provided"),
        (r#"{"type":"blah","x":"a"}"#, r#"cannot show unsupported input '{"type":"blah","x":"a"}'"#),
        (r#"{"type":"path","path":1}"#, r#"input attribute 'path' is not a string {"path":1,"type":"path"}"#),
        (r#"{"type":"hg","url":"https://h/x","ref":"m"}"#, "hg+https://h/x?ref=m"),
    ] {
        let json = attributes.replace("REV", REV).replace("HASH", HASH);
        let read = attributes::from_json(&serde_json::from_str(&json).unwrap());
        let written = read.and_then(FlakeRef::from_attributes).and_then(|reference| reference.to_url());
        let written = written.map_or_else(|error| error.to_string(), |url| url.to_string());
        assert_eq!(written.replace(REV, "REV"), text, "{attributes}");
    }
}

#[test]
fn fragments_and_paths() {
    let how = Reading { base: Some("/here"), is_flake: true };
    let read = |text: &str| read(text, how, &mut |_| {}).unwrap();
    let reference = |text: &str| match read(text) {
        Written::Reference(reference, fragment) => format!("{reference} {fragment}"),
        Written::Path { path, query, fragment } => format!("{path} {} {fragment}", query.len()),
    };
    for (text, meaning) in [
        ("nixpkgs#a.b", "flake:nixpkgs a.b"),
        ("github:a/b#x%20y^out", "github:a/b x y^out"),
        (".#a", ". 0 a"),
        ("./x?dir=y#a%20b", "./x 1 a b"),
        ("path:.#z", "path:/here z"),
        ("git+file:../x?dir=d", "git+file:/x?dir=d "),
    ] {
        assert_eq!(reference(text), meaning, "{text}");
    }
}

#[test]
fn relative_paths_stay() {
    let reference = FlakeRef::parse("./a/../b", true, true).unwrap();
    assert_eq!(reference.input.relative_path(), Some("./a/../b"));
    assert_eq!(absolute("a/../../b/.", "/x/y"), "/x/b");
}
