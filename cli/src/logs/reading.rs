//! Reads the log store (`formats::log_record`): every stream's two files, merged in the order of the boots and, within one,
//! of the clock that nobody sets.

use anyhow::{Context as _, Result};
use formats::log_record::{Record, Records, Source};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// One message and the stream that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The unit, `kernel` or `other`.
    pub(crate) unit: String,
    pub(crate) record: Record,
}

impl Entry {
    /// The text for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.record.message).into_owned()
    }

    /// The boot's id in 32 digits.
    pub(crate) fn boot(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.record.boot))
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// These units, with or without `.service`; none for all.
    pub(crate) units: Vec<String>,
    /// This boot.
    pub(crate) boot: Option<[u8; 16]>,
    /// From this moment on, microseconds since 1970.
    pub(crate) since: Option<u64>,
    /// Up to this moment.
    pub(crate) until: Option<u64>,
    /// From this priority up (numerically down).
    pub(crate) priority: Option<(u8, u8)>,
    /// Only what the kernel itself said.
    pub(crate) kernel: bool,
    /// These identifiers.
    pub(crate) identifiers: Vec<String>,
    /// Text that must be in the message.
    pub(crate) grep: Option<String>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let record = &entry.record;
        self.boot.is_none_or(|boot| boot == record.boot)
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time <= until)
            && self.priority.is_none_or(|(from, to)| (from..=to).contains(&record.priority))
            && (!self.kernel || (record.source == Source::Kernel && record.facility == 0))
            && (self.identifiers.is_empty() || self.identifiers.contains(&record.identifier))
            && self.grep.as_ref().is_none_or(|wanted| contains(&entry.text(), wanted))
    }

    fn takes_stream(&self, stream: &str) -> bool {
        (!self.kernel || stream == "kernel")
            && (self.units.is_empty() || self.units.iter().any(|unit| is_named(unit, stream)))
    }
}

/// Without regard to case when the wanted text has none, as `journalctl --grep` does.
fn contains(text: &str, wanted: &str) -> bool {
    if wanted.chars().any(char::is_uppercase) {
        text.contains(wanted)
    } else {
        text.to_lowercase().contains(wanted)
    }
}

/// Whether a name, a name without suffix or a pattern with `*` and `?` means the unit.
pub(crate) fn is_named(pattern: &str, unit: &str) -> bool {
    matches(pattern.as_bytes(), unit.as_bytes())
        || unit.strip_suffix(".service").is_some_and(|short| matches(pattern.as_bytes(), short.as_bytes()))
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=text.len()).any(|at| matches(rest, text.get(at..).unwrap_or_default()))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((wanted, rest)), Some((found, tail))) => wanted == found && matches(rest, tail),
        _ => false,
    }
}

/// One boot in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) id: [u8; 16],
    /// Time of its first message.
    pub(crate) first: u64,
    /// Time of its last one.
    pub(crate) last: u64,
}

/// The store, and how far each current file was read.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
    read: BTreeMap<String, (u64, u64)>,
}

impl Reader {
    /// The store below a directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), read: BTreeMap::new() }
    }

    /// The streams with their files, the older one first.
    fn files(&self) -> Result<BTreeMap<String, Vec<PathBuf>>> {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let directory = self.directory.display();
        let entries = std::fs::read_dir(&self.directory).with_context(|| {
            format!("cannot read the logs in {directory}: root and the group systemd-journal may, once there are any")
        })?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(unit) = name.strip_suffix(".log").or_else(|| name.strip_suffix(".log.1")) {
                found.entry(unit.to_owned()).or_default().push(path);
            }
        }
        for list in found.values_mut() {
            list.sort_by_key(|path| std::cmp::Reverse(path.clone()));
        }
        Ok(found)
    }

    /// The names of all streams.
    pub(crate) fn streams(&self) -> Result<Vec<String>> {
        Ok(self.files()?.into_keys().collect())
    }

    /// All boots, the oldest first.
    pub(crate) fn boots(&mut self) -> Result<Vec<Boot>> {
        let (_, boots) = self.scan(&Filter::default(), |_| {})?;
        Ok(boots)
    }

    /// All that a filter takes, in order.
    pub(crate) fn all(&mut self, filter: &Filter) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let (_, boots) = self.scan(filter, |entry| entries.push(entry))?;
        sort(&mut entries, &boots);
        Ok(entries)
    }

    /// Reads the files of the filter's streams.
    fn scan(&mut self, filter: &Filter, mut each: impl FnMut(Entry)) -> Result<(usize, Vec<Boot>)> {
        let mut boots: BTreeMap<[u8; 16], Boot> = BTreeMap::new();
        let mut count = 0;
        for (unit, paths) in self.files()? {
            if !filter.takes_stream(&unit) {
                continue;
            }
            for path in paths {
                // Put aside between the listing and now: its records are in the other file.
                let Ok(mut file) = File::open(&path) else { continue };
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
                let mut end = 0;
                for (range, record) in Records::new(&bytes) {
                    end = range.end;
                    let boot = boots.entry(record.boot).or_insert(Boot {
                        id: record.boot,
                        first: u64::MAX,
                        last: 0,
                    });
                    boot.first = boot.first.min(record.time);
                    boot.last = boot.last.max(record.time);
                    let entry = Entry { unit: unit.clone(), record };
                    if filter.takes(&entry) {
                        count += 1;
                        each(entry);
                    }
                }
                if path.extension().is_some_and(|ending| ending == "log") {
                    self.read.insert(unit.clone(), (file.metadata()?.ino(), end as u64));
                }
            }
        }
        let mut boots: Vec<Boot> = boots.into_values().collect();
        boots.sort_by_key(|boot| (boot.first, boot.id));
        Ok((count, boots))
    }

    /// What was written since the last look.
    pub(crate) fn news(&mut self, filter: &Filter) -> Result<Vec<Entry>> {
        let mut news = Vec::new();
        for (unit, paths) in self.files()? {
            if !filter.takes_stream(&unit) {
                continue;
            }
            let (known, at) = self.read.get(&unit).copied().unwrap_or_default();
            for path in paths {
                let Ok(mut file) = File::open(&path) else { continue };
                let metadata = file.metadata()?;
                let is_current = path.extension().is_some_and(|ending| ending == "log");
                let start = match (metadata.ino() == known, is_current) {
                    // The file that was being read, put aside or not.
                    (true, _) => at.min(metadata.len()),
                    (false, true) => 0,
                    (false, false) => continue,
                };
                if is_current {
                    self.read.insert(unit.clone(), (metadata.ino(), start));
                }
                if start == metadata.len() {
                    continue;
                }
                file.seek(SeekFrom::Start(start))?;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                for (range, record) in Records::new(&bytes) {
                    if is_current {
                        self.read.insert(unit.clone(), (metadata.ino(), start + range.end as u64));
                    }
                    let entry = Entry { unit: unit.clone(), record };
                    if filter.takes(&entry) {
                        news.push(entry);
                    }
                }
            }
        }
        sort(&mut news, &[]);
        Ok(news)
    }
}

fn sort(entries: &mut [Entry], boots: &[Boot]) {
    let place = |boot: [u8; 16]| boots.iter().position(|known| known.id == boot).unwrap_or(boots.len());
    entries.sort_by_cached_key(|entry| (place(entry.record.boot), entry.record.since_boot));
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::log_record::MAGIC;

    fn record(boot: u8, at: u64, text: &str) -> Record {
        Record {
            time: 1_000_000 * u64::from(boot) + at,
            since_boot: at,
            boot: [boot; 16],
            source: Source::Stdout,
            priority: if text.contains("bad") { 3 } else { 6 },
            facility: 3,
            pid: 0,
            uid: 0,
            identifier: "a".into(),
            message: text.as_bytes().to_vec(),
            fields: Vec::new(),
        }
    }

    fn write(directory: &Path, name: &str, records: &[Record]) {
        let mut bytes = MAGIC.to_vec();
        for record in records {
            record.encode(&mut bytes);
        }
        std::fs::write(directory.join(name), bytes).unwrap();
    }

    fn texts(directory: &Path, filter: &Filter) -> Vec<String> {
        Reader::new(directory).all(filter).unwrap().iter().map(Entry::text).collect()
    }

    #[test]
    fn streams_are_merged_and_filtered() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "a.service.log.1", &[record(1, 5, "one"), record(1, 9, "three")]);
        // In the second boot the clock was set back, which changes no order.
        let mut late = record(2, 7, "late but bad");
        late.time = 2_000_001;
        write(at, "a.service.log", &[record(2, 3, "early"), late]);
        write(at, "b.service.log", &[record(1, 7, "Two"), record(2, 5, "middle")]);
        let all = ["one", "Two", "three", "early", "middle", "late but bad"];
        assert_eq!(texts(at, &Filter::default()), all);
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            texts(at, &filter)
        };
        assert_eq!(filter(|f| f.units = vec!["b".into()]), ["Two", "middle"]);
        assert_eq!(filter(|f| f.units = vec!["[".into(), "b.*".into()]), ["Two", "middle"]);
        assert_eq!(filter(|f| f.boot = Some([1; 16])), all[..3]);
        assert_eq!(filter(|f| f.priority = Some((0, 3))), ["late but bad"]);
        assert_eq!(filter(|f| f.grep = Some("two".into())), ["Two"]);
        assert_eq!(filter(|f| (f.since, f.until) = (Some(1_000_007), Some(1_000_009))), ["Two", "three"]);
        let boots = Reader::new(at).boots().unwrap();
        assert_eq!(boots.iter().map(|boot| boot.id[0]).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn following_goes_on_over_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "a.service.log", &[record(1, 1, "1")]);
        let mut reader = Reader::new(at);
        assert_eq!(reader.all(&Filter::default()).unwrap().len(), 1);
        assert_eq!(reader.news(&Filter::default()).unwrap(), []);
        let append = |name: &str, bytes: &[u8]| {
            let mut old = std::fs::read(at.join(name)).unwrap();
            old.extend(bytes);
            // In place: the same file.
            std::fs::OpenOptions::new().append(true).open(at.join(name)).map(|mut file| {
                use std::io::Write as _;
                file.write_all(bytes).unwrap();
            })
        };
        let mut torn = Vec::new();
        record(1, 2, "2").encode(&mut torn);
        append("a.service.log", &torn[..20]).unwrap();
        assert_eq!(reader.news(&Filter::default()).unwrap(), []);
        append("a.service.log", &torn[20..]).unwrap();
        std::fs::rename(at.join("a.service.log"), at.join("a.service.log.1")).unwrap();
        write(at, "a.service.log", &[record(1, 3, "3")]);
        write(at, "new.service.log", &[record(1, 4, "4")]);
        let news: Vec<String> = reader.news(&Filter::default()).unwrap().iter().map(Entry::text).collect();
        assert_eq!(news, ["2", "3", "4"]);
        assert_eq!(reader.news(&Filter::default()).unwrap(), []);
    }
}
