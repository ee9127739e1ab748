//! A store in a directory of its own and short ways to make derivations. Builders are shell scripts, run by a static
//! busybox (package busybox-static).

use formats::content_address::{ContentAddress, Method};
use formats::derivation::{Derivation, Output};
use formats::hash::Hash;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use store::build::{BuildOptions, Failure};
use store::{Error, Store};
use tempfile::TempDir;

/// A store that goes away with the test.
pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        assert!(
            store::build::static_shell().is_some(),
            "these tests need a static busybox: install busybox-static"
        );
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        Self { directory, store }
    }

    /// Adds a derivation after a change to it.
    pub(crate) fn derivation(
        &self,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut Derivation),
    ) -> StorePath {
        let mut derivation = Derivation {
            name: name.to_owned(),
            platform: b"x86_64-linux".to_vec(),
            builder: b"/bin/sh".to_vec(),
            args: vec![b"-c".to_vec(), script.as_bytes().to_vec()],
            ..Derivation::default()
        };
        derivation.outputs.insert("out".to_owned(), Output::Deferred);
        change(&mut derivation);
        derivation
            .fill_output_paths::<Error>(self.store.dir(), &mut |input| {
                let input = self.store.read_derivation(input)?;
                // Tests' graphs are shallow: no memory needed.
                input.hash_modulo(self.store.dir(), &mut |deep| Err(Error::NotValid(deep.to_string())))
            })
            .unwrap();
        self.store.add_derivation(&derivation).unwrap()
    }

    /// Adds a plain derivation.
    pub(crate) fn script(&self, name: &str, script: &str) -> StorePath {
        self.derivation(name, script, |_| {})
    }

    /// Adds a fixed-output derivation that promises this text.
    pub(crate) fn fixed(&self, name: &str, script: &str, promised: &str) -> StorePath {
        self.derivation(name, script, |derivation| {
            let address = ContentAddress { method: Method::Flat, hash: Hash::sha256(promised) };
            derivation.outputs.insert("out".to_owned(), Output::Fixed(address));
        })
    }

    /// Builds, and reads the output `out` as a file.
    pub(crate) fn build(&self, derivation: &StorePath) -> String {
        let outputs = self.store.build_derivation(derivation, &BuildOptions::default()).unwrap();
        std::fs::read_to_string(self.store.real_path(&outputs["out"])).unwrap()
    }

    /// Builds with these options, which must fail; the first failure.
    pub(crate) fn failure(&self, derivation: &StorePath, options: &BuildOptions) -> Failure {
        match self.store.build_derivation(derivation, options) {
            Err(Error::Build(mut error)) => error.failures.remove(0),
            other => panic!("the build should have failed: {other:?}"),
        }
    }

    /// Nothing but valid paths may be in the store directory, and all of them must be right.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.store.verify(true, &|_| {}).unwrap(), vec![]);
        let valid: BTreeSet<String> =
            self.store.all_valid().unwrap().iter().map(|path| path.base_name().to_owned()).collect();
        let present: BTreeSet<String> = std::fs::read_dir(&self.store.layout().real_store)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".links")
            .collect();
        assert_eq!(present, valid);
    }
}
