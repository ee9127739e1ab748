//! Lock files there and back, and what is wrong with some.

use super::*;

const FILE: &str = r#"{
  "nodes": {
    "b": {
      "flake": false,
      "locked": {
        "path": "./b",
        "type": "path"
      },
      "original": {
        "path": "./b",
        "type": "path"
      },
      "parent": []
    },
    "nixpkgs": {
      "locked": {
        "lastModified": 1700000000,
        "narHash": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "owner": "NixOS",
        "repo": "nixpkgs",
        "rev": "b0c285b0c285b0c285b0c285b0c285b0c285b0c2",
        "type": "github"
      },
      "original": {
        "id": "nixpkgs",
        "type": "indirect"
      }
    },
    "root": {
      "inputs": {
        "b": "b",
        "nixpkgs": "nixpkgs",
        "x": [
          "nixpkgs"
        ]
      }
    }
  },
  "root": "root",
  "version": 7
}"#;

fn parse(text: &str) -> Result<LockFile, FlakeError> {
    LockFile::parse(text, "flake.lock", false)
}

#[test]
fn what_is_written_is_what_was_read() {
    let lock = parse(FILE).unwrap();
    assert_eq!(lock.to_text(), FILE);
    lock.check().unwrap();
    let path = |text: &str| parse_input_path(text).unwrap();
    assert_eq!(lock.find(&path("x")).unwrap(), lock.find(&path("nixpkgs")).unwrap());
    assert_eq!(lock.find(&path("y")).unwrap(), None);
    assert_eq!(LockFile::default().to_text().lines().count(), 7);
}

#[test]
fn nodes_of_one_name_are_numbered() {
    let mut lock = parse(FILE).unwrap();
    let again = lock.nodes[2].clone();
    lock.nodes.push(again);
    let last = lock.nodes.len() - 1;
    lock.nodes[1].inputs.insert("nixpkgs".to_owned(), Edge::Node(last));
    let text = lock.to_text();
    assert!(text.contains("\"nixpkgs_2\""), "{text}");
    assert_eq!(parse(&text).unwrap(), lock);
}

#[test]
fn bad_files() {
    for (from, to, message) in [
        ("7\n}", "8\n}", "lock file 'flake.lock' has unsupported version 8"),
        ("\"nixpkgs\": \"nixpkgs\"", "\"nixpkgs\": \"z\"", "lock file references missing node 'z'"),
        ("\"nixpkgs\": \"nixpkgs\"", "\"nixpkgs\": \"root\"", "lock file contains cycle to root node"),
        ("\"nixpkgs\": \"nixpkgs\"", "\"nixpkgs\": 3", "input 'nixpkgs' should be a name or a list, not 3"),
        (
            "\"original\": {\n        \"id\"",
            "\"o\": {\n        \"id\"",
            "attribute 'original' missing in lock file",
        ),
        (
            "        \"rev\": \"b0c285b0c285b0c285b0c285b0c285b0c285b0c2\",\n",
            "",
            "Use '--allow-dirty-locks' to accept this lock file.",
        ),
        ("\"flake\": false", "\"flake\": 1", "'flake' should be a Boolean, not 1"),
        ("{\n  \"nodes\"", "\"nodes\"", "lock file 'flake.lock' is not JSON"),
    ] {
        let text = FILE.replacen(from, to, 1);
        assert_ne!(text, FILE, "{from}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let text = FILE.replace("[\n          \"nixpkgs\"\n        ]", "[\n          \"no\"\n        ]");
    let error = parse(&text).unwrap().check().unwrap_err().to_string();
    assert_eq!(error, "input 'x' follows a non-existent input 'no'");
    let text = text.replace("\"no\"", "\"x\"");
    let error = parse(&text).unwrap().check().unwrap_err().to_string();
    assert_eq!(error, "follow cycle detected: [x -> x]");
}

#[test]
fn differences() {
    let old = parse(FILE).unwrap();
    let new = FILE
        .replace("b0c285b0c285b0c285b0c285b0c285b0c285b0c2", "00c285b0c285b0c285b0c285b0c285b0c285b0c2")
        .replace("1700000000", "1710000000")
        .replace("        \"b\": \"b\",\n", "        \"c\": [\n          \"x\"\n        ],\n");
    let nar_hash = "?narHash=sha256-47DEQpj8HBSa%2B/TImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D";
    assert_eq!(
        diff(&old, &parse(&new).unwrap()).replace(nar_hash, ""),
        "• Removed input 'b'\n\
         • Added input 'c':\n    follows 'x'\n\
         • Updated input 'nixpkgs':\n    \
         'github:NixOS/nixpkgs/b0c285b0c285b0c285b0c285b0c285b0c285b0c2' (2023-11-14)\n  \
         → 'github:NixOS/nixpkgs/00c285b0c285b0c285b0c285b0c285b0c285b0c2' (2024-03-09)\n"
    );
    assert_eq!(diff(&old, &old), "");
}

#[test]
fn paths_of_inputs() {
    assert_eq!(parse_input_path("a//b-c").unwrap(), ["a", "b-c"]);
    assert_eq!(parse_input_path("a/1").unwrap_err().to_string(), "invalid flake input path element '1'");
}
