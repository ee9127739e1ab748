//! Stores that are elsewhere: a binary cache as the store, and the server of `nix-store --serve`.

use formats::store_path::StorePath;
use std::collections::BTreeSet;
use store::build::{BuildOptions, Wanted};
use store::cache::{Address, Cache};
use store::{Layout, Options, Store};

fn cache_store(directory: &std::path::Path) -> Store {
    let layout = Layout::below(directory);
    let address = Address::parse(&format!("file://{}/cache", directory.display())).unwrap();
    let cache = Cache::open(&address, &layout.store_dir).unwrap();
    Store::of_cache(cache, layout, Options::default()).unwrap()
}

#[test]
fn a_cache_is_written_and_read_as_a_store() {
    let (directory, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = cache_store(directory.path());
    let one = cache.add_text("one", b"first", &BTreeSet::new()).unwrap();
    let two = cache.add_text("two", b"second", &[one.clone()].into()).unwrap();
    assert!(!cache.has_files() && cache.is_valid(&two).unwrap());
    assert_eq!(cache.all_valid().unwrap(), [one.clone(), two.clone()].into());
    assert_eq!(cache.by_hash_part(two.hash_part()).unwrap(), Some(two.clone()));
    let local = Store::open(local.path()).unwrap();
    let closure = cache.closure([two.clone()]).unwrap();
    // Texts are named after what is in them: nobody needs to vouch for them.
    assert_eq!(cache.copy_to(&local, &closure, false, &|_| {}).unwrap(), [one, two.clone()]);
    assert_eq!(std::fs::read(local.real_path(&two)).unwrap(), b"second");
    // And back again, to another cache.
    let other = tempfile::tempdir().unwrap();
    local.copy_to(&cache_store(other.path()), &closure, false, &|_| {}).unwrap();
    assert_eq!(cache_store(other.path()).path_info(&two).unwrap().references.len(), 1);
    assert!(cache.collect_garbage(&store::CollectOptions::default()).is_err());
}

#[test]
fn a_cache_builds_nothing() {
    let (directory, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cache, local) = (cache_store(directory.path()), Store::open(local.path()).unwrap());
    let mut derivation = super::daemon::derivation("thing", "echo > $out", &[]);
    let dir = local.dir().clone();
    derivation.fill_output_paths::<store::Error>(&dir, &mut |input| local.derivation_hash(input)).unwrap();
    let path = local.add_derivation(&derivation).unwrap();
    local.copy_to(&cache, &local.closure([path.clone()]).unwrap(), true, &|_| {}).unwrap();
    assert_eq!(cache.read_derivation(&path).unwrap(), derivation);
    let error = cache.build(&[(path, Wanted::All)], &BuildOptions::default()).unwrap_err().to_string();
    assert!(error.contains("cannot build"), "{error}");
}

/// Numbers and texts as the protocol writes them.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self = self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }
}

fn greeted() -> Words {
    Words::default().number(0x390c_9deb).number(0x207)
}

#[test]
fn serve_answers_and_guards() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let path = store.add_text("x", b"text", &BTreeSet::new()).unwrap();
    let absent = StorePath::from_base_name("00000000000000000000000000000000-absent").unwrap();
    let (shown, missing) = (store.dir().print(&path), store.dir().print(&absent));
    let serve = |write: bool, words: Words| {
        let mut answer = Vec::new();
        let served = store.serve(write, &BuildOptions::default(), words.0.as_slice(), &mut answer);
        served.map(|()| answer)
    };
    // Which of two are valid, then the archive of one.
    let asked = greeted().number(1).number(0).number(0).number(2).text(&shown).text(&missing);
    let answer = serve(false, asked.number(3).text(&shown)).unwrap();
    let expected = Words::default().number(0x5452_eecb).number(0x207).number(1).text(&shown).0;
    let (head, archive) = answer.split_at(expected.len());
    assert_eq!(head, expected);
    let mut dumped = Vec::new();
    store.archive(&path, &mut dumped).unwrap();
    assert_eq!(archive, dumped);
    // What is not there is no answer but the end.
    assert!(serve(false, greeted().number(3).text(&missing)).is_err());
    // Without --write nothing changes.
    let error = serve(false, greeted().number(6).number(0)).unwrap_err().to_string();
    assert!(error.contains("--write"), "{error}");
    for strange in [Words::default().number(1), greeted().number(99), Words::default().number(0x390c_9deb)] {
        assert!(serve(true, strange).is_err());
    }
}
