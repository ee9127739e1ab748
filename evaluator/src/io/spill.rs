//! Texts that an evaluation has made and that hardly anybody will read: up to a megabyte stays in memory, what is older goes
//! to a file without a name in the directory for temporary files. Where there can be no such file, all stays in memory.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// So many bytes stay in memory.
const KEPT: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Spill {
    recent: Vec<u8>,
    file: Option<File>,
    /// How many bytes the file has; what is in memory follows them.
    written: u64,
    /// Whether a file was tried in vain.
    failed: bool,
}

/// Where a text is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    start: u64,
    length: usize,
}

impl Spill {
    /// Keeps a text.
    pub fn put(&mut self, text: &[u8]) -> Place {
        if self.recent.len() + text.len() > KEPT && !self.recent.is_empty() && !self.failed {
            self.write_out();
        }
        let place = Place { start: self.written + self.recent.len() as u64, length: text.len() };
        self.recent.extend_from_slice(text);
        place
    }

    /// A text that was kept.
    pub fn get(&self, place: Place) -> std::io::Result<Vec<u8>> {
        if let Some(start) = place.start.checked_sub(self.written) {
            let start = start as usize;
            let text = self.recent.get(start..start + place.length);
            return text.map(<[u8]>::to_vec).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut text = vec![0; place.length];
        let file = self.file.as_ref().ok_or(std::io::ErrorKind::UnexpectedEof)?;
        file.read_exact_at(&mut text, place.start)?;
        Ok(text)
    }

    fn write_out(&mut self) {
        if self.file.is_none() {
            match nameless_file() {
                Ok(file) => self.file = Some(file),
                Err(error) => {
                    log::debug!("derivations stay in memory: no temporary file: {error}");
                    self.failed = true;
                }
            }
        }
        let Some(file) = &mut self.file else { return };
        match file.write_all(&self.recent) {
            Ok(()) => {
                self.written += self.recent.len() as u64;
                self.recent.clear();
                self.recent.shrink_to(KEPT);
            }
            Err(error) => {
                // What the file has beyond `written` is never read.
                log::debug!("derivations stay in memory: writing a temporary file: {error}");
                self.failed = true;
            }
        }
    }
}

/// A new file that has lost its name already.
fn nameless_file() -> std::io::Result<File> {
    let name = |number: u32| -> PathBuf {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.subsec_nanos());
        std::env::temp_dir().join(format!("firn-texts-{}-{now}-{number}", std::process::id()))
    };
    let mut last = std::io::ErrorKind::AlreadyExists.into();
    for number in 0..16 {
        let path = name(number);
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out_from_memory_and_from_the_file() {
        let mut spill = Spill::default();
        let text = |number: usize| vec![(number % 251) as u8; 1000 + number * 7 % 5000];
        let places: Vec<Place> = (0..4000).map(|number| spill.put(&text(number))).collect();
        assert!(spill.written > KEPT as u64 && !spill.recent.is_empty(), "some of both");
        for (number, &place) in places.iter().enumerate() {
            assert_eq!(spill.get(place).unwrap(), text(number), "{number}");
        }
        let empty = spill.put(b"");
        assert_eq!(spill.get(empty).unwrap(), b"");
    }

    #[test]
    fn without_a_file_all_stays_in_memory() {
        let mut spill = Spill { failed: true, ..Spill::default() };
        let large = vec![7; KEPT + 1];
        let places = [spill.put(&large), spill.put(b"small"), spill.put(&large)];
        assert_eq!(spill.written, 0);
        assert_eq!(spill.get(places[1]).unwrap(), b"small");
        assert_eq!(spill.get(places[2]).unwrap(), large);
    }
}
