//! What survives the supervisor: one sealed piece of shared memory, made by PID 1, in which the supervisor notes which processes
//! it has started (*slots*) and where each unit stands (*records*). The kernel itself writes a process's id into its
//! slot before the process runs, and PID 1 writes how it ended, so that no end is lost whoever is alive.
//!
//! ```text
//! word 0      magic        word 1   slots in use (high water)      word 2   0, or one more than the bank that is whole
//! word 3, 4   length of each bank's path, which stand in words 16..528
//! word 5      0, or one more than how the machine is being ended
//! slots       5 words each: process id, state (0 free, 1 live, 2 ended), wait status, owner (unit | role << 24) in each bank
//! records     8 words each, bank by bank: phase, job and flags, main, control, outcome and restarts, exit status, since (2), log tag
//! ```
//!
//! Records, owners and path are there twice, as they are about a graph: a switch to another graph writes the bank that is not in
//! use, and one word's change makes it the one that is. Whoever takes over finds the one or the other whole.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use sys::shared_words::{self, SharedWords};

/// Changes with every change of the memory's layout or of the numbers at which descriptors are handed over.
pub const LAYOUT: u32 = 2;

const MAGIC: u32 = 0x4e52_4946;
const PATH_AT: usize = 16;
const PATH_BYTES: usize = 1024;
const PATH_LENGTH_AT: usize = 3;
const ENDING_AT: usize = 5;
const SLOTS_AT: usize = 1024;
const SLOT_WORDS: usize = 5;
/// How many processes the supervisor can have started and not yet seen the end of.
pub const SLOTS: usize = 4096;
const RECORDS_AT: usize = SLOTS_AT + SLOTS * SLOT_WORDS;
const RECORD_WORDS: usize = 8;
/// How many units a graph may have.
pub const RECORDS: usize = 8192;
const WORDS: usize = RECORDS_AT + 2 * RECORDS * RECORD_WORDS;

const FREE: u32 = 0;
const LIVE: u32 = 1;
const ENDED: u32 = 2;

/// The memory, seen from one side.
#[derive(Debug, Clone, Copy)]
pub struct HandOver {
    words: &'static [AtomicU32],
    /// The bank that is written and read is the one that is not in use.
    is_next: bool,
}

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub pid: u32,
    /// Status as wait(2) gives it.
    pub status: u32,
    /// Unit and role of the one who started it.
    pub owner: u32,
}

/// One unit's record, as numbers.
pub type Record = [u32; RECORD_WORDS];

/// Makes the memory.
pub fn create() -> std::io::Result<OwnedFd> {
    shared_words::create(c"firn-state", WORDS)
}

impl HandOver {
    /// Maps it.
    pub fn map(file: BorrowedFd<'_>) -> std::io::Result<Self> {
        let words = SharedWords::map(file)?.words();
        if words.len() < WORDS {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the shared state is too short",
            ));
        }
        let this = Self { words, is_next: false };
        this.store(0, MAGIC);
        Ok(this)
    }

    fn load(&self, at: usize) -> u32 {
        self.words.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, at: usize, value: u32) {
        if let Some(word) = self.words.get(at) {
            word.store(value, Ordering::Release);
        }
    }

    /// The bank in use, or the other one.
    fn bank(&self) -> usize {
        usize::from((self.load(2) == 2) != self.is_next)
    }

    /// The same memory with the bank that is not in use.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { is_next: true, ..*self }
    }

    /// From now on the next bank is the one in use. Called on the memory that [`HandOver::next`] gave.
    pub fn put_in_use(self) {
        let bank = self.bank();
        self.store(2, bank as u32 + 1);
    }

    /// Which of the banks is in use, 0 or 1: descriptors that PID 1 holds say for which one they are.
    pub fn number(&self) -> u32 {
        self.bank() as u32
    }

    /// How the machine is being ended, as a number of `formats::control::Shutdown`.
    pub fn ending(&self) -> Option<u32> {
        self.load(ENDING_AT).checked_sub(1)
    }

    /// Notes that.
    pub fn set_ending(&self, how: u32) {
        self.store(ENDING_AT, how + 1);
    }

    fn high_water(&self) -> usize {
        (self.load(1) as usize).min(SLOTS)
    }

    /// PID 1: a process has ended. Whether it is one of the supervisor's.
    pub fn note_end(&self, pid: u32, status: u32) -> bool {
        for slot in 0..self.high_water() {
            let at = SLOTS_AT + slot * SLOT_WORDS;
            if self.load(at) == pid && self.load(at + 1) == LIVE {
                self.store(at + 2, status);
                self.store(at + 1, ENDED);
                return true;
            }
        }
        false
    }

    /// Supervisor: a slot for a process that is about to be started.
    pub fn reserve(&self, owner: u32) -> Option<usize> {
        let slot = (0..SLOTS).find(|slot| self.load(SLOTS_AT + slot * SLOT_WORDS + 1) == FREE)?;
        let at = SLOTS_AT + slot * SLOT_WORDS;
        self.store(at, 0);
        self.store(at + 3 + self.bank(), owner);
        if slot >= self.high_water() {
            self.store(1, slot as u32 + 1);
        }
        self.store(at + 1, LIVE);
        Some(slot)
    }

    /// Where the kernel writes the id of a slot's process.
    pub fn pid_word(&self, slot: usize) -> Option<&'static AtomicU32> {
        self.words.get(SLOTS_AT + slot * SLOT_WORDS)
    }

    /// Supervisor: the slot's process did not come to be.
    pub fn release(&self, slot: usize) {
        self.store(SLOTS_AT + slot * SLOT_WORDS + 1, FREE);
    }

    /// Supervisor: the slots in use; see [`HandOver::ended`].
    pub fn slots(&self) -> std::ops::Range<usize> {
        0..self.high_water()
    }

    /// Supervisor: the end that PID 1 noted in a slot. It stays there until [`HandOver::release`], so that a supervisor that dies
    /// before it has noted what follows from the end leaves it to its successor.
    pub fn ended(&self, slot: usize) -> Option<Ended> {
        let at = SLOTS_AT + slot * SLOT_WORDS;
        let is_ended = self.load(at + 1) == ENDED;
        is_ended.then(|| Ended {
            pid: self.load(at),
            status: self.load(at + 2),
            owner: self.load(at + 3 + self.bank()),
        })
    }

    /// The live processes with their owners; a slot that was reserved and never filled is freed.
    pub fn live(&self) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for slot in 0..self.high_water() {
            let at = SLOTS_AT + slot * SLOT_WORDS;
            if self.load(at + 1) == LIVE {
                match self.load(at) {
                    0 => self.release(slot),
                    pid => found.push((pid, self.load(at + 3 + self.bank()))),
                }
            }
        }
        found
    }

    /// Gives every slot the owner in the next bank that `rename` makes of the one in this. Whoever is started meanwhile is started by
    /// the one who calls this, so there is none.
    pub fn rename_owners(&self, rename: impl Fn(u32) -> u32) {
        for slot in 0..self.high_water() {
            let at = SLOTS_AT + slot * SLOT_WORDS + 3;
            self.store(at + self.next().bank(), rename(self.load(at + self.bank())));
        }
    }

    /// Whether path and records are whole.
    pub fn is_whole(&self) -> bool {
        matches!(self.load(2), 1 | 2)
    }

    /// Says that they are.
    pub fn set_whole(&self) {
        self.store(2, self.bank() as u32 + 1);
    }

    /// The path of the graph that the records are about.
    pub fn graph_path(&self) -> String {
        let length = (self.load(PATH_LENGTH_AT + self.bank()) as usize).min(PATH_BYTES);
        let path_at = PATH_AT + self.bank() * PATH_BYTES / 4;
        let mut bytes = Vec::with_capacity(PATH_BYTES);
        for word in 0..PATH_BYTES / 4 {
            bytes.extend(self.load(path_at + word).to_le_bytes());
        }
        bytes.truncate(length);
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// Notes the graph's path; one that is too long is not noted, which the reader sees by its being empty.
    pub fn set_graph_path(&self, path: &str) {
        let fits = path.len() <= PATH_BYTES;
        self.store(PATH_LENGTH_AT + self.bank(), if fits { path.len() as u32 } else { 0 });
        let path_at = PATH_AT + self.bank() * PATH_BYTES / 4;
        for (word, chunk) in path.as_bytes().chunks(4).take(PATH_BYTES / 4).enumerate() {
            let mut bytes = [0; 4];
            for (to, from) in bytes.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.store(path_at + word, u32::from_le_bytes(bytes));
        }
    }

    /// Where a unit's record stands.
    fn record_at(&self, unit: usize) -> usize {
        RECORDS_AT + (self.bank() * RECORDS + unit) * RECORD_WORDS
    }

    /// A unit's record.
    pub fn record(&self, unit: u32) -> Record {
        let at = self.record_at((unit as usize).min(RECORDS - 1));
        std::array::from_fn(|word| self.load(at + word))
    }

    /// Writes it.
    pub fn set_record(&self, unit: u32, record: &Record) {
        if (unit as usize) < RECORDS {
            let at = self.record_at(unit as usize);
            for (word, value) in record.iter().enumerate() {
                self.store(at + word, *value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn ends_are_kept_until_they_are_taken() {
        let file = create().unwrap();
        let (pid1, supervisor) = (HandOver::map(file.as_fd()).unwrap(), HandOver::map(file.as_fd()).unwrap());
        let slot = supervisor.reserve(7 | 1 << 24).unwrap();
        let empty = supervisor.reserve(9).unwrap();
        assert_eq!((slot, empty), (0, 1));
        supervisor.pid_word(slot).unwrap().store(4321, Ordering::Release);
        assert!(!pid1.note_end(99, 0), "an orphan is nobody's");
        assert!(pid1.note_end(4321, 256));
        // A new supervisor finds what the old one left.
        let next = HandOver::map(file.as_fd()).unwrap();
        assert_eq!(next.live(), []);
        let end = Ended { pid: 4321, status: 256, owner: 7 | 1 << 24 };
        assert_eq!(next.slots().filter_map(|slot| next.ended(slot)).collect::<Vec<_>>(), [end]);
        // It dies before it has noted what follows: the one after it finds the end again.
        let last = HandOver::map(file.as_fd()).unwrap();
        assert_eq!(last.live(), []);
        assert_eq!(last.ended(slot), Some(end));
        last.release(slot);
        assert_eq!(last.slots().find_map(|slot| last.ended(slot)), None);
        next.set_graph_path("/nix/store/x/services.graph");
        next.set_record(3, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(pid1.graph_path(), "/nix/store/x/services.graph");
        assert_eq!(pid1.record(3)[7], 8);
    }

    /// A supervisor that dies anywhere in a switch of graphs leaves the old one's records or the new one's, never none.
    #[test]
    fn another_graph_is_put_in_use_at_once() {
        let file = create().unwrap();
        let memory = HandOver::map(file.as_fd()).unwrap();
        let slot = memory.reserve(5 | 1 << 24).unwrap();
        memory.pid_word(slot).unwrap().store(77, Ordering::Release);
        memory.set_graph_path("/old");
        memory.set_record(5, &[1; 8]);
        memory.set_whole();
        for round in 0..3_u32 {
            let successor = || HandOver::map(file.as_fd()).unwrap();
            let seen = || {
                let memory = successor();
                assert!(memory.is_whole());
                (memory.graph_path(), memory.live(), memory.record(5 + round)[0])
            };
            let before = seen();
            assert_eq!(before.1, [(77, (5 + round) | 1 << 24)]);
            let next = memory.next();
            memory.rename_owners(|owner| owner + 1);
            assert_eq!(seen(), before);
            next.set_record(6 + round, &[round + 2; 8]);
            assert_eq!(seen(), before);
            next.set_graph_path(&format!("/new{round}"));
            assert_eq!(seen(), before);
            assert_ne!(next.number(), memory.number());
            let number = next.number();
            next.put_in_use();
            assert_eq!(memory.number(), number);
            let after = successor();
            assert_eq!(after.graph_path(), format!("/new{round}"));
            assert_eq!(after.live(), [(77, (6 + round) | 1 << 24)]);
            assert_eq!(after.record(6 + round), [round + 2; 8]);
        }
        assert_eq!(memory.ending(), None);
        memory.set_ending(3);
        assert_eq!(HandOver::map(file.as_fd()).unwrap().ending(), Some(3));
    }

    #[test]
    fn there_are_only_so_many_slots() {
        let file = create().unwrap();
        let memory = HandOver::map(file.as_fd()).unwrap();
        assert!((0..SLOTS).all(|_| memory.reserve(0).is_some()));
        assert_eq!(memory.reserve(0), None);
    }
}
