//! The log store's writing side: a stream's records go to the end of `DIRECTORY/STREAM.log`; at [`FILE_LIMIT`] it becomes
//! `STREAM.log.1` and a new one begins, so that one chatty unit costs only its own history; all together stay below
//! [`TOTAL_LIMIT`]. What cannot be written waits in memory, up to a bound; beyond it, it is counted, and the count is logged.

use super::flood::{Flood, Limit};
use crate::sorted_map::SortedMap;
use formats::log_record::{MAGIC, Record, Records, Source};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A stream's history is at most two files of this size.
const FILE_LIMIT: u64 = 2 << 20;

/// All files together; the oldest go first.
const TOTAL_LIMIT: u64 = 256 << 20;

/// What is kept of a stream that cannot be written now.
const BACKLOG_LIMIT: usize = 128 << 10;

/// So many files are open at most when nothing waits to be synced.
const OPEN_LIMIT: usize = 64;

/// A record of now, to be filled.
pub(super) fn stamp(boot: [u8; 16]) -> Record {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Record {
        time: time.map_or(0, |span| span.as_micros() as u64),
        since_boot: now(),
        boot,
        source: Source::Stdout,
        priority: 6,
        facility: 3,
        pid: 0,
        uid: 0,
        identifier: String::new(),
        message: Vec::new(),
        fields: Vec::new(),
    }
}

/// Microseconds of CLOCK_BOOTTIME.
pub(super) fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    time.map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000)
}

/// One unit's records on their way.
#[derive(Debug, Default)]
struct Stream {
    limit: Limit,
    flood: Flood,
    /// Whole records that are not written yet.
    backlog: Vec<u8>,
    /// Records that found no place in the backlog.
    lost: u32,
    file: Option<(File, u64)>,
    is_dirty: bool,
}

/// All streams.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    boot: [u8; 16],
    streams: SortedMap<String, Stream>,
    device: u64,
}

impl Store {
    pub(super) fn new(directory: &Path, boot: [u8; 16]) -> Self {
        Self { directory: directory.to_owned(), boot, streams: SortedMap::new(), device: 0 }
    }

    /// How much a stream may write.
    pub(super) fn set_limit(&mut self, stream: &str, limit: Limit) {
        self.streams.get_or_default(stream.to_owned()).limit = limit;
    }

    /// Takes a record, unless its stream has had its share. It is in the file after [`Self::write_out`].
    pub(super) fn keep(&mut self, name: &str, record: &Record) {
        let name = if is_stream(name) { name } else { super::OTHER };
        if !self.streams.contains_key(name) {
            self.streams.insert(name.to_owned(), Stream::default());
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        let now = now();
        tell_dropped(stream, self.boot, now);
        if stream.flood.takes(stream.limit, now) {
            stream.push(record);
        }
    }

    /// The last record of a stream, when it is of this boot.
    pub(super) fn last_record(&self, name: &str) -> Option<Record> {
        let bytes = std::fs::read(self.directory.join(format!("{name}.log"))).ok()?;
        let last =
            Records::new(&bytes).map(|(_, record)| record).filter(|record| record.source == Source::Kernel);
        last.last().filter(|record| record.boot == self.boot)
    }

    /// Writes what was taken.
    pub(super) fn write_out(&mut self) {
        let mut rotated = false;
        for (name, stream) in self.streams.iter_mut().filter(|(_, stream)| !stream.backlog.is_empty()) {
            rotated |= stream.write_out(&self.directory, name, self.boot);
        }
        if rotated {
            keep_below(&self.directory, TOTAL_LIMIT);
        }
    }

    /// Whether something waits for the disk, or a count of what was dropped for its time.
    pub(super) fn waits(&self) -> bool {
        self.streams.values().any(|stream| !stream.backlog.is_empty() || stream.flood.owes())
    }

    /// Logs counts of dropped messages whose interval is over.
    pub(super) fn tell_dropped(&mut self) {
        let now = now();
        for stream in self.streams.values_mut().filter(|stream| stream.flood.owes()) {
            tell_dropped(stream, self.boot, now);
        }
    }

    /// The files written since the last call, to be synced by whoever can wait for it. Also looks whether the directory is
    /// still the same: when a file system was mounted over it, files are opened anew.
    pub(super) fn take_dirty(&mut self) -> Vec<File> {
        use std::os::unix::fs::MetadataExt as _;
        let device = std::fs::metadata(&self.directory).map_or(0, |metadata| metadata.dev());
        let has_moved = self.device != 0 && device != self.device;
        self.device = device;
        let too_many = self.streams.values().filter(|stream| stream.file.is_some()).count() > OPEN_LIMIT;
        let mut dirty = Vec::new();
        for stream in self.streams.values_mut() {
            let Some((file, _)) = stream.file.as_ref().filter(|_| stream.is_dirty || too_many || has_moved)
            else {
                continue;
            };
            dirty.extend(file.try_clone().ok().filter(|_| stream.is_dirty));
            stream.is_dirty = false;
            if too_many || has_moved {
                stream.file = None;
            }
        }
        dirty
    }

    /// Whether any file was written since the last sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.streams.values().any(|stream| stream.is_dirty)
    }
}

/// A unit's name, and nothing that leads elsewhere.
fn is_stream(name: &str) -> bool {
    !name.is_empty() && name.len() <= 240 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// Logs how much was dropped, when it is time to.
fn tell_dropped(stream: &mut Stream, boot: [u8; 16], now: u64) {
    let limit = stream.limit;
    if let Some(count) = stream.flood.dropped(limit, now) {
        let seconds = limit.interval / 1_000_000;
        let text = format!(
            "{count} messages were dropped: more than {} in {seconds} s (LogRateLimitBurst=)",
            limit.burst
        );
        stream.push(&own_words(boot, text));
    }
}

/// A message of the collector's own.
fn own_words(boot: [u8; 16], text: String) -> Record {
    let mut record = stamp(boot);
    record.source = Source::Collector;
    record.priority = 4;
    record.identifier.push_str("firn");
    record.message = text.into_bytes();
    record
}

impl Stream {
    fn push(&mut self, record: &Record) {
        if self.backlog.len() < BACKLOG_LIMIT {
            record.encode(&mut self.backlog);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Appends the backlog; whether a new file was begun.
    fn write_out(&mut self, directory: &Path, name: &str, boot: [u8; 16]) -> bool {
        if self.file.is_none() {
            self.file = open(directory, name).ok();
        }
        let Some((file, size)) = &mut self.file else { return false };
        if file.write_all(&self.backlog).is_err() {
            // Half a record helps nobody; when even that cannot be undone, a reader skips it.
            crate::best_effort::tolerate(file.set_len(*size));
            self.file = None;
            return false;
        }
        *size += self.backlog.len() as u64;
        self.backlog.clear();
        self.is_dirty = true;
        if self.lost > 0 {
            let text = format!(
                "{} messages were lost: the log could not be written",
                std::mem::take(&mut self.lost)
            );
            own_words(boot, text).encode(&mut self.backlog);
        }
        if *size <= FILE_LIMIT {
            return false;
        }
        // What becomes the older file is on disk before it does.
        crate::best_effort::tolerate(file.sync_data());
        let current = directory.join(format!("{name}.log"));
        crate::best_effort::tolerate(std::fs::rename(&current, directory.join(format!("{name}.log.1"))));
        self.file = None;
        self.is_dirty = false;
        true
    }
}

/// Opens a stream's file behind its last whole record.
fn open(directory: &Path, name: &str) -> std::io::Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    make(directory)?;
    let path = directory.join(format!("{name}.log"));
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let end = match Records::new(&bytes).end_of_last() {
        0 => {
            file.set_len(0)?;
            file.write_all(MAGIC)?;
            MAGIC.len()
        }
        end => {
            file.set_len(end as u64)?;
            end
        }
    };
    Ok((file, end as u64))
}

/// Makes the directory, readable by root and by the group `systemd-journal`, as the journal's is on NixOS.
fn make(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o2750))?;
    if let Some(group) = crate::supervisor::accounts::group("systemd-journal") {
        // The set-group-id bit gives the files the group.
        crate::best_effort::tolerate(std::os::unix::fs::chown(directory, None, Some(group)));
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o2750))?;
    }
    Ok(())
}

/// Removes older halves, the oldest first, until all files together are below the limit.
fn keep_below(directory: &Path, limit: u64) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut total = 0;
    let mut old = SortedMap::new();
    for (path, metadata) in entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
    {
        total += metadata.len();
        if path.extension().is_some_and(|ending| ending == "1") {
            old.insert((metadata.modified().ok(), path), metadata.len());
        }
    }
    for ((_, path), size) in old {
        if total <= limit {
            return;
        }
        if std::fs::remove_file(path).is_ok() {
            total -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("firn-log-{name}-{}", std::process::id()));
            drop(std::fs::remove_dir_all(&path));
            Self(path)
        }

        fn messages(&self, file: &str) -> Vec<String> {
            let bytes = std::fs::read(self.0.join(file)).unwrap_or_default();
            Records::new(&bytes).map(|(_, record)| String::from_utf8(record.message).unwrap()).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn said(text: &str) -> Record {
        let mut record = stamp([1; 16]);
        record.message = text.as_bytes().to_vec();
        record
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_the_next_record() {
        let place = Place::new("torn");
        let mut store = Store::new(&place.0, [1; 16]);
        store.keep("a.service", &said("one"));
        store.keep("../evil", &said("elsewhere"));
        store.write_out();
        let path = place.0.join("a.service.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len();
        said("torn").encode(&mut bytes);
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let mut store = Store::new(&place.0, [1; 16]);
        store.keep("a.service", &said("two"));
        store.write_out();
        assert_eq!(place.messages("a.service.log"), ["one", "two"]);
        assert_eq!(place.messages("other.log"), ["elsewhere"]);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Records::new(&bytes).nth(1).unwrap().0.start, whole, "nothing between them");
        assert!(store.is_dirty());
        assert_eq!(store.take_dirty().len(), 1);
        assert!(!store.is_dirty());
    }

    #[test]
    fn files_change_over_and_stay_bounded() {
        let place = Place::new("bounded");
        let mut store = Store::new(&place.0, [1; 16]);
        store.set_limit("a.service", Limit { burst: 0, interval: 0 });
        let text = "x".repeat(60_000);
        for number in 0..100 {
            store.keep("a.service", &said(&format!("{number} {text}")));
            store.write_out();
        }
        let size = |file: &str| std::fs::metadata(place.0.join(file)).map_or(0, |metadata| metadata.len());
        assert!(size("a.service.log.1") > FILE_LIMIT && size("a.service.log.1") < FILE_LIMIT + 200_000);
        assert!(place.messages("a.service.log").last().unwrap().starts_with("99 "));
        store.keep("b.service", &said("b"));
        store.write_out();
        keep_below(&place.0, 1000);
        assert_eq!(size("a.service.log.1"), 0);
        assert_eq!(place.messages("b.service.log"), ["b"]);
    }

    #[test]
    fn a_flood_is_counted() {
        let place = Place::new("flood");
        let mut store = Store::new(&place.0, [1; 16]);
        store.set_limit("a.service", Limit { burst: 5, interval: 50_000 });
        for number in 0..20 {
            store.keep("a.service", &said(&number.to_string()));
        }
        assert!(store.waits());
        std::thread::sleep(std::time::Duration::from_millis(60));
        store.tell_dropped();
        store.write_out();
        let expected = "15 messages were dropped: more than 5 in 0 s (LogRateLimitBurst=)";
        assert_eq!(place.messages("a.service.log"), ["0", "1", "2", "3", "4", expected]);
        assert!(!store.waits());
    }

    /// A full disk: nothing blocks, the count of what was lost follows when there is room again.
    #[test]
    fn a_store_that_cannot_be_written_goes_on_by_itself() {
        let place = Place::new("full");
        // A file where the directory should be: every open fails.
        std::fs::write(&place.0, "in the way").unwrap();
        let mut store = Store::new(&place.0, [1; 16]);
        let text = "y".repeat(1000);
        for _ in 0..200 {
            store.keep("a.service", &said(&text));
            store.write_out();
        }
        std::fs::remove_file(&place.0).unwrap();
        store.write_out();
        store.write_out();
        let messages = place.messages("a.service.log");
        let (last, kept) = messages.split_last().unwrap();
        let lost: usize = last.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(kept.len() + lost, 200);
        assert!(kept.len() > 100 && last.contains("could not be written"), "{last}");
    }
}
