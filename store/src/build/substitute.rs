//! One path from a cache instead of a build.

use super::{BuildOptions, Event, Failure, FailureKind};
use crate::cache::{Fetched, Offer};
use crate::open::Store;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often a listener hears of a download.
const NEWS: Duration = Duration::from_millis(100);

/// Fetches the path. False when it was valid already.
pub(super) fn fetch(store: &Store, offer: &Offer, options: &BuildOptions) -> Result<bool, Failure> {
    attempt(store, offer, options).map_err(|kind| Failure {
        derivation: offer.narinfo.info.path.clone(),
        kind,
        tail: Vec::new(),
        log: None,
        kept: None,
    })
}

fn attempt(store: &Store, offer: &Offer, options: &BuildOptions) -> Result<bool, FailureKind> {
    let path = &offer.narinfo.info.path;
    if options.cancel.load(Ordering::SeqCst) {
        return Err(FailureKind::Cancelled);
    }
    if store.is_valid(path)? {
        return Ok(false);
    }
    options.progress.event(&Event::Started { derivation: path, fetch: true });
    let (progress, cancel) = (Arc::clone(&options.progress), Arc::clone(&options.cancel));
    let (name, total) = (path.clone(), offer.narinfo.file_size);
    let last = std::sync::Mutex::new(Instant::now());
    let told: Arc<dyn Fn(u64) -> bool + Send + Sync> = Arc::new(move |done| {
        if let Ok(mut last) = last.lock()
            && (last.elapsed() > NEWS || Some(done) == total)
        {
            *last = Instant::now();
            progress.event(&Event::Downloaded { derivation: &name, done, total });
        }
        !cancel.load(Ordering::SeqCst)
    });
    match store.options.substituters.fetch(store, offer, &told)? {
        Fetched::Done => Ok(true),
        _ if options.cancel.load(Ordering::SeqCst) => Err(FailureKind::Cancelled),
        Fetched::Gone(why) => Err(FailureKind::Substitution { why, gone: true }),
        Fetched::Broken(why) => Err(FailureKind::Substitution { why, gone: false }),
    }
}
