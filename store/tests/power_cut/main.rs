//! Power cuts. A store works on a disk that remembers every write; then the disk is made as a power cut could have left it, at
//! random moments and with random parts of what was not flushed, and the store must open, be right, and have
//! everything whose success was reported before the cut. On ext4 and on xfs. Needs root, FUSE and loop devices; says so
//! where it cannot run.
//!
//! `FIRN_POWER_CUTS` is the number of cuts per file system (default 24; `make store-power-cut` makes 2000), `FIRN_SEED` the
//! random start.

#[cfg(test)]
mod logged_disk;

#[cfg(test)]
mod tests {
    use crate::logged_disk::{Log, LoggedDisk, Operation, mount, possible, unmount};
    use formats::content_address::Method;
    use formats::derivation::{Derivation, Output};
    use formats::hash::Algorithm;
    use formats::store_path::StorePath;
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;
    use std::process::Command;
    use std::sync::{Mutex, PoisonError};
    use store::build::BuildOptions;
    use store::{CollectOptions, Error, Store};

    /// What the store reported, and how many operations the disk had seen by then.
    enum Report {
        /// The path is valid.
        Valid(usize, StorePath),
        /// A root keeps it from now on.
        Rooted(usize, StorePath),
        /// A collection that may delete it begins.
        MayGo(usize, StorePath),
    }

    fn derivation(store: &Store, round: usize) -> StorePath {
        let script = format!(
            "mkdir $out $out/d; i=0; while [ $i -lt 6 ]; do echo {round} $i > $out/d/$i; i=$((i+1)); done; echo $out > $dev"
        );
        let mut derivation = Derivation {
            name: format!("round{round}"),
            platform: format!("{}-linux", std::env::consts::ARCH).into_bytes(),
            builder: b"/bin/sh".to_vec(),
            args: vec![b"-c".to_vec(), script.into_bytes()],
            ..Derivation::default()
        };
        for output in ["out", "dev"] {
            derivation.outputs.insert(output.to_owned(), Output::Deferred);
        }
        derivation
            .fill_output_paths::<Error>(store.dir(), &mut |input| Err(Error::NotValid(input.to_string())))
            .unwrap();
        store.add_derivation(&derivation).unwrap()
    }

    /// Additions, builds and collections; what was reported when.
    fn work(root: &Path, log: &Log, rounds: usize) -> Vec<Report> {
        let mut reports = Vec::new();
        let now = || log.lock().unwrap().len();
        let mut unrooted: Vec<StorePath> = Vec::new();
        let tree = tempfile::tempdir().unwrap();
        for round in 0..rounds {
            let store = Store::open(root).unwrap();
            let text = store.add_text("text", &vec![round as u8; 5000], &BTreeSet::new()).unwrap();
            reports.push(Report::Valid(now(), text.clone()));
            for file in 0..24 {
                std::fs::write(tree.path().join(file.to_string()), format!("{round} {file}").repeat(300))
                    .unwrap();
            }
            let added = store.add_path(tree.path(), "tree", Method::Recursive, Algorithm::Sha256).unwrap();
            reports.push(Report::Valid(now(), added.clone()));
            let derivation = derivation(&store, round);
            reports.push(Report::Valid(now(), derivation.clone()));
            let outputs = store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
            reports.extend(outputs.values().map(|path| Report::Valid(now(), path.clone())));
            let kept = outputs["out"].clone();
            store.add_permanent_root(&kept, &root.join(format!("result{round}"))).unwrap();
            reports.push(Report::Rooted(now(), kept));
            unrooted.extend([text, added, derivation, outputs["dev"].clone()]);
            // Our temporary roots go with it: the next one collects.
            drop(store);
            if round % 2 == 1 {
                let store = Store::open(root).unwrap();
                reports.extend(unrooted.drain(..).map(|path| Report::MayGo(now(), path)));
                store.collect_garbage(&CollectOptions::default()).unwrap();
            }
        }
        reports
    }

    /// Small random numbers, the same for the same seed (xorshift).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % below as u64) as usize
        }
    }

    fn apply(disk: &File, operation: &Operation) {
        if let Operation::Write(offset, data) = operation {
            disk.write_all_at(data, *offset).unwrap();
        }
    }

    /// Whether the store on a disk as it was left is right.
    fn check(image: &Path, mount_point: &Path, position: usize, reports: &[Report]) -> Result<(), String> {
        let device =
            mount(image, mount_point, false).map_err(|error| format!("it cannot be mounted: {error}"))?;
        let checked = check_store(mount_point, position, reports);
        unmount(mount_point, &device);
        checked
    }

    fn check_store(root: &Path, position: usize, reports: &[Report]) -> Result<(), String> {
        let said = |error: Error| error.to_string();
        let (mut valid, mut rooted) = (BTreeSet::new(), BTreeSet::new());
        for report in reports {
            match report {
                Report::Valid(at, path) if *at <= position => drop(valid.insert(path)),
                Report::MayGo(at, path) if *at <= position => drop(valid.remove(path)),
                Report::Rooted(at, path) if *at <= position => drop(rooted.insert(path)),
                _ => {}
            }
        }
        let store = Store::open(root).map_err(said)?;
        let problems = store.verify(true, &|_| {}).map_err(said)?;
        if let Some(problem) = problems.first() {
            return Err(problem.to_string());
        }
        for path in valid {
            if !store.is_valid(path).map_err(said)? {
                return Err(format!("{path} was reported valid and is not"));
            }
        }
        // What lies around goes with the next collection, and what is kept stays.
        store.collect_garbage(&CollectOptions::default()).map_err(said)?;
        for path in rooted {
            if !store.is_valid(path).map_err(said)? {
                return Err(format!("{path} has a root and was collected"));
            }
        }
        let known: BTreeSet<String> =
            store.all_valid().map_err(said)?.iter().map(|path| path.base_name().to_owned()).collect();
        let entries = std::fs::read_dir(&store.layout().real_store).map_err(|error| error.to_string())?;
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            if name != ".links" && !known.contains(&name) {
                return Err(format!("{name} was left behind"));
            }
        }
        store.add_text("after", b"it goes on", &BTreeSet::new()).map_err(said).map(drop)
    }

    /// One file system at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    fn cut_power(file_system: &str, megabytes: u64) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = possible(file_system) {
            println!("SKIPPED: no power cuts on {file_system}: {why}");
            return;
        }
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let cuts = number("FIRN_POWER_CUTS").unwrap_or(24) as usize;
        let seed = number("FIRN_SEED").unwrap_or(1);
        let directory =
            tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let place = |name: &str| directory.path().join(name);
        let image = File::create(place("image")).unwrap();
        image.set_len(megabytes << 20).unwrap();
        drop(image);
        let made =
            Command::new(format!("mkfs.{file_system}")).arg("-q").arg(place("image")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        copy(&place("image"), &place("before"));
        let disk = LoggedDisk::start(&place("image"), directory.path());
        let reports = work(&disk.mount_point, &disk.log, 6);
        let log = std::sync::Arc::clone(&disk.log);
        let end = log.lock().unwrap().len();
        disk.stop();
        let operations = log.lock().unwrap();
        let flushes = operations.iter().filter(|operation| matches!(operation, Operation::Flush)).count();
        println!(
            "{file_system}: {} writes, {flushes} flushes, {} reports",
            operations.len() - flushes,
            reports.len()
        );
        assert!(flushes > 10 && end > 100, "the disk saw too little: {end} operations, {flushes} flushes");
        // Moments in their order, so that what is flushed is carried out once.
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut moments: Vec<usize> = (0..cuts).map(|_| dice.roll(end + 1)).collect();
        moments.sort_unstable();
        let durable = File::options().write(true).open(place("before")).unwrap();
        let mut done = 0;
        let mount_point = place("mounted");
        for (number, moment) in moments.into_iter().enumerate() {
            let before = &operations[..moment];
            let flushed =
                before.iter().rposition(|operation| matches!(operation, Operation::Flush)).unwrap_or(0);
            for operation in &operations[done..flushed.max(done)] {
                apply(&durable, operation);
            }
            done = flushed.max(done);
            // A file of its own each time: another program's mount namespace may hold the last one mounted a while longer.
            let name = format!("cut{number}");
            copy(&place("before"), &place(&name));
            let cut = File::options().write(true).open(place(&name)).unwrap();
            // One time in three everything that was written is there; else each write is or is not.
            let all = dice.roll(3) == 0;
            let mut kept = Vec::new();
            for (index, operation) in before.iter().enumerate().skip(flushed) {
                if all || dice.roll(2) == 0 {
                    apply(&cut, operation);
                    kept.push(index);
                }
            }
            drop(cut);
            let checked = check(&place(&name), &mount_point, moment, &reports);
            std::fs::remove_file(place(&name)).unwrap();
            if let Err(problem) = checked {
                panic!(
                    "{file_system}, seed {seed}, cut after {moment} of {end} operations, flushed {flushed}, kept {kept:?}: {problem}"
                );
            }
        }
        println!("{file_system}: {cuts} power cuts, nothing lost");
    }

    fn copy(from: &Path, to: &Path) {
        let copied = Command::new("cp").arg("--sparse=always").args([from, to]).status().unwrap();
        assert!(copied.success());
    }

    #[test]
    fn nothing_is_lost_on_ext4() {
        cut_power("ext4", 48);
    }

    #[test]
    fn nothing_is_lost_on_xfs() {
        cut_power("xfs", 320);
    }
}
