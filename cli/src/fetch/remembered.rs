//! What was downloaded without a hash and when, in `~/.cache/firn/fetched`: one small file for each question. Losing it
//! costs a download, nothing else.

use super::Got;
use formats::hash::Hash;
use formats::store_path::StorePath;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

fn place(question: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|cache| !cache.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("firn/fetched").join(Hash::sha256(question).digits32()))
}

/// The answer to a question of the last `time_to_live` seconds.
pub(super) fn recall(question: &str, time_to_live: u64) -> Option<Got> {
    let file = place(question)?;
    let age = SystemTime::now().duration_since(std::fs::metadata(&file).ok()?.modified().ok()?).ok()?;
    if age >= Duration::from_secs(time_to_live) {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let mut words = text.split_ascii_whitespace();
    let path = StorePath::from_base_name(words.next()?).ok()?;
    Some(Got { path, time: words.next()?.parse().ok()?, immutable: words.next().map(str::to_owned) })
}

/// Remembers an answer; if that cannot be done, the next question is answered from the network again.
pub(super) fn remember(question: &str, got: &Got) {
    let Some(file) = place(question) else { return };
    let Some(directory) = file.parent() else { return };
    let link = got.immutable.as_deref().unwrap_or_default();
    let written = std::fs::create_dir_all(directory).and_then(|()| {
        let draft = tempfile::NamedTempFile::new_in(directory)?;
        std::fs::write(draft.path(), format!("{} {} {link}\n", got.path.base_name(), got.time))?;
        draft.persist(&file).map_err(|error| error.error)
    });
    if let Err(error) = written {
        log::debug!("not remembering the download {}: {error}", got.path);
    }
}
