//! Path units (systemd.path(5)): inotify(7) on the path and on every directory above it, so that what does not exist yet is
//! seen when it comes. After each event the watches are set anew, which is simple and misses nothing.

use super::engine::Event;
use super::{Supervisor, now};
use crate::console::{self, Level};
use crate::glob;
use crate::sorted_map::SortedMap;
use formats::service_graph::UnitKind;
use formats::service_graph::key::{Key, flag, path_watch};
use formats::service_graph::view::Unit;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Keeps what another watch of the same directory asked for (IN_MASK_ADD).
const MASK_ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(0x2000_0000);

/// What PathChanged= is about.
const CHANGED: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO);

/// What says that something came or went in a directory.
const COMES_OR_GOES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// One watched path of one unit.
#[derive(Debug)]
struct Watch {
    unit: u32,
    /// The path itself, not a directory above it.
    is_itself: bool,
    /// Below a directory above: the name that leads to the path.
    name: Option<OsString>,
    kind: u32,
}

/// Everything that is watched.
#[derive(Debug)]
pub(super) struct PathWatches {
    pub(super) inotify: Inotify,
    watches: SortedMap<WatchDescriptor, Vec<Watch>>,
    /// Armed units, when each fired lately, and whether what it started is not down yet.
    armed: SortedMap<u32, (VecDeque<u64>, bool)>,
    /// Somebody waits for the time zone to change.
    zone: Option<PathBuf>,
}

/// Whether something holds now that holds for a while: existence, a directory that is not empty.
fn holds(kind: u32, path: &str) -> bool {
    match kind {
        path_watch::EXISTS => Path::new(path).exists(),
        path_watch::EXISTS_GLOB => glob::any(path),
        path_watch::DIRECTORY_NOT_EMPTY => {
            std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        _ => false,
    }
}

/// MakeDirectory=: the watched directories, with DirectoryMode=.
fn make_directories(unit: &Unit<'_>) {
    use std::os::unix::fs::DirBuilderExt as _;
    for (kind, path) in unit.tagged(Key::PathWatches) {
        if matches!(kind, path_watch::EXISTS | path_watch::EXISTS_GLOB) {
            continue;
        }
        let mode = unit.number(Key::DirectoryMode).unwrap_or(0o755) as u32;
        if let Err(error) = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path) {
            console::log(Level::Warning, &format!("{}: cannot make {path}: {error}", unit.name()));
        }
    }
}

impl PathWatches {
    fn new() -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, watches: SortedMap::new(), armed: SortedMap::new(), zone: None })
    }

    /// Watches a path and all above it for a unit.
    fn watch(&mut self, unit: u32, kind: u32, path: &Path) {
        let flags = match kind {
            path_watch::MODIFIED => CHANGED | AddWatchFlags::IN_MODIFY,
            _ => CHANGED,
        };
        self.add(path, flags, Watch { unit, is_itself: true, name: None, kind });
        let mut below = path;
        for above in path.ancestors().skip(1) {
            let name = below.file_name().map(OsString::from);
            self.add(above, COMES_OR_GOES, Watch { unit, is_itself: false, name, kind });
            below = above;
        }
    }

    fn add(&mut self, path: &Path, flags: AddWatchFlags, watch: Watch) {
        // What does not exist is seen to come by the watch above it.
        if let Ok(descriptor) = self.inotify.add_watch(path, flags | MASK_ADD) {
            self.watches.get_or_default(descriptor).push(watch);
        }
    }

    fn forget(&mut self, unit: u32) {
        for list in self.watches.values_mut() {
            list.retain(|watch| watch.unit != unit);
        }
        let empty: Vec<_> = self
            .watches
            .iter()
            .filter(|(_, list)| list.is_empty())
            .map(|(descriptor, _)| *descriptor)
            .collect();
        for descriptor in empty {
            self.watches.remove(&descriptor);
            crate::best_effort::tolerate(self.inotify.rm_watch(descriptor));
        }
    }

    /// Reads events: the units that are concerned, and whether it is a change that PathChanged= means.
    fn read(&mut self) -> SortedMap<u32, bool> {
        let mut found = SortedMap::new();
        let Ok(events) = self.inotify.read_events() else { return found };
        for event in events {
            for watch in self.watches.get(&event.wd).into_iter().flatten() {
                let is_level = !matches!(watch.kind, path_watch::CHANGED | path_watch::MODIFIED);
                let is_on_the_way = watch.name.is_none() || watch.name == event.name;
                if !watch.is_itself && !is_on_the_way {
                    continue;
                }
                let has_come = COMES_OR_GOES.difference(AddWatchFlags::IN_ATTRIB).intersects(event.mask);
                let is_change = !is_level && (watch.is_itself || has_come);
                *found.get_or_default(watch.unit) |= is_change;
            }
        }
        found
    }
}

impl Supervisor {
    /// Arms a path unit; what holds already fires at once.
    pub(super) fn arm_path(&mut self, unit: &Unit<'_>) -> bool {
        if unit.flag(flag::MAKE_DIRECTORY) {
            make_directories(unit);
        }
        if !self.open_paths() {
            return false;
        }
        if let Some(paths) = &mut self.paths {
            paths.armed.insert(unit.index(), (VecDeque::new(), false));
        }
        self.watch_paths(unit);
        true
    }

    fn open_paths(&mut self) -> bool {
        if self.paths.is_none() {
            let Ok(paths) = PathWatches::new() else { return false };
            let event = EpollEvent::new(EpollFlags::EPOLLIN, super::PATHS);
            if self.epoll.add(&paths.inotify, event).is_err() {
                return false;
            }
            self.paths = Some(paths);
        }
        true
    }

    /// OnTimezoneChange=: watches the link that says the zone.
    pub(super) fn watch_time_zone(&mut self) {
        if self.open_paths()
            && let Some(paths) = &mut self.paths
        {
            paths.zone = Some(std::fs::read_link("/etc/localtime").unwrap_or_default());
            crate::best_effort::tolerate(paths.inotify.add_watch("/etc", COMES_OR_GOES | MASK_ADD));
        }
    }

    /// Sets a unit's watches, then looks whether it has to fire already: in this order nothing is missed.
    fn watch_paths(&mut self, unit: &Unit<'_>) {
        let Some(paths) = &mut self.paths else { return };
        paths.forget(unit.index());
        for (kind, path) in unit.tagged(Key::PathWatches) {
            let place =
                if kind == path_watch::EXISTS_GLOB { glob::fixed_part(path) } else { PathBuf::from(path) };
            paths.watch(unit.index(), kind, &place);
        }
        if unit.tagged(Key::PathWatches).any(|(kind, path)| holds(kind, path)) {
            self.path_fires(unit.index());
        }
    }

    pub(super) fn disarm_path(&mut self, index: u32) {
        if let Some(paths) = &mut self.paths {
            paths.forget(index);
            paths.armed.remove(&index);
        }
    }

    /// Something happened at a path.
    pub(super) fn paths_changed(&mut self) {
        let Some(paths) = &mut self.paths else { return };
        let found = paths.read();
        let zone = paths.zone.as_ref().map(|_| std::fs::read_link("/etc/localtime").unwrap_or_default());
        if zone != paths.zone {
            paths.zone = zone;
            self.time_zone_changed();
        }
        for (index, is_change) in found {
            let Some(unit) = self.graph.unit(index) else { continue };
            if is_change {
                self.path_fires(index);
            }
            self.watch_paths(&unit);
        }
    }

    /// Starts what the path unit starts, unless that runs or it happens too often (TriggerLimitBurst=).
    fn path_fires(&mut self, index: u32) {
        let Some(unit) = self.graph.unit(index) else { return };
        let Some((times, waits)) = self.paths.as_mut().and_then(|paths| paths.armed.get_mut(&index)) else {
            return;
        };
        if *waits {
            return;
        }
        if is_too_often(&unit, times, 200) {
            self.events.push_back(Event::TriggeredTooOften { unit: index });
            return;
        }
        *waits = true;
        self.events.push_back(Event::Fired { unit: index });
    }

    /// After a switch of graphs: units by their new numbers.
    pub(super) fn rename_paths(&mut self, renamed: &SortedMap<u32, u32>) {
        let Some(paths) = &mut self.paths else { return };
        for list in paths.watches.values_mut() {
            list.retain_mut(|watch| match renamed.get(&watch.unit) {
                Some(to) => {
                    watch.unit = *to;
                    true
                }
                None => false,
            });
        }
        let armed = std::mem::take(&mut paths.armed);
        paths.armed =
            armed.into_iter().filter_map(|(unit, state)| Some((*renamed.get(&unit)?, state))).collect();
    }

    /// A unit that paths start is down again: what still holds fires again.
    pub(super) fn paths_see(&mut self, target: u32) {
        let Some(unit) = self.graph.unit(target) else { return };
        let state = self.state.unit(target);
        if self.paths.is_none() || !state.is_down() || state.job.is_some() {
            return;
        }
        let graph = self.graph;
        for by in unit.units(Key::TriggeredBy).filter_map(|by| graph.unit(by)) {
            let Some(paths) = &mut self.paths else { return };
            let Some((_, waits)) = paths.armed.get_mut(&by.index()) else { continue };
            if by.kind() == UnitKind::Path && std::mem::take(waits) {
                self.watch_paths(&by);
            }
        }
    }
}

/// TriggerLimitIntervalSec= and TriggerLimitBurst=; notes this time.
pub(super) fn is_too_often(unit: &Unit<'_>, times: &mut VecDeque<u64>, default_burst: u64) -> bool {
    let interval = unit.number(Key::TriggerLimitInterval).unwrap_or(2_000_000);
    let burst = unit.number(Key::TriggerLimitBurst).unwrap_or(default_burst);
    let now = now();
    times.retain(|at| now.saturating_sub(*at) < interval);
    if interval > 0 && burst > 0 && times.len() as u64 >= burst {
        return true;
    }
    times.push_back(now);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, removed at its end.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn changes_are_told_from_what_only_lies_near() {
        let place = Place(std::env::temp_dir().join(format!("firn-paths-{}", std::process::id())));
        std::fs::create_dir_all(&place.0).unwrap();
        let file = place.0.join("deep/file");
        let mut watches = PathWatches::new().unwrap();
        let set = |watches: &mut PathWatches| {
            watches.forget(1);
            watches.forget(2);
            watches.watch(1, path_watch::CHANGED, &file);
            watches.watch(2, path_watch::MODIFIED, &file);
            drop(watches.read());
        };
        set(&mut watches);
        std::fs::write(place.0.join("other"), "x").unwrap();
        assert_eq!(watches.read(), SortedMap::new(), "a neighbour");
        std::fs::create_dir(place.0.join("deep")).unwrap();
        assert_eq!(watches.read().keys().copied().collect::<Vec<_>>(), [1, 2], "the way to it");
        set(&mut watches);
        std::fs::write(&file, "x").unwrap();
        assert_eq!(watches.read(), SortedMap::from_iter([(1, true), (2, true)]), "it has come");
        set(&mut watches);
        let open = std::fs::File::options().append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut &open, b"y").unwrap();
        assert_eq!(watches.read().get(&2), Some(&true), "written, not closed");
        drop(open);
        assert_eq!(watches.read().get(&1), Some(&true), "closed");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(watches.read().get(&1), Some(&true), "gone");
    }

    #[test]
    fn what_holds_for_a_while() {
        assert!(holds(path_watch::EXISTS, "/proc") && !holds(path_watch::EXISTS, "/nothing"));
        assert!(holds(path_watch::EXISTS_GLOB, "/pro*") && holds(path_watch::DIRECTORY_NOT_EMPTY, "/proc"));
        assert!(!holds(path_watch::CHANGED, "/proc"));
    }
}
