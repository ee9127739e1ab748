//! Memory for frames: one region of address space for the whole process, reserved when the first arena is made and
//! touched as it fills. A place in it is a number of 32 bits (the eight-byte words from the region's start), half the
//! size of a pointer: that is what lets a thunk, which is a piece of code and a frame, fit into eight bytes.
//!
//! The region is handed out to arenas in spans; an arena that goes gives its spans back, for the next one.
#![expect(
    unsafe_code,
    reason = "reserving address space and turning numbers into places in it; one of the homes of unsafe in this crate"
)]

use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Words of the longest frames that are used again.
pub(crate) const LONGEST_REUSED: usize = 12;
/// Bytes of a span.
const SPAN: usize = 1 << 20;
/// What 32 bits can number: 32 GiB. Where the limit on address space is lower, the region is smaller.
const LARGEST_REGION: usize = 1 << 35;
const SMALLEST_REGION: usize = 1 << 26;

/// Where the region starts; zero until it is reserved.
static START: AtomicUsize = AtomicUsize::new(0);

static REGION: Mutex<Region> = Mutex::new(Region { length: 0, used: 0, free: Vec::new() });

#[derive(Debug)]
struct Region {
    length: usize,
    used: usize,
    /// Addresses of spans that nobody uses any more.
    free: Vec<usize>,
}

/// An arena's part of the region.
#[derive(Debug)]
pub(crate) struct Frames {
    next: Cell<usize>,
    end: Cell<usize>,
    /// For each length the first of the frames that nobody needs any more; each holds the address of the next one.
    free: [Cell<usize>; LONGEST_REUSED + 1],
    /// Address and length of what the region gave.
    spans: RefCell<Vec<(usize, usize)>>,
}

impl Default for Frames {
    fn default() -> Self {
        reserve();
        Self { next: Cell::new(0), end: Cell::new(0), free: Default::default(), spans: RefCell::default() }
    }
}

impl Frames {
    /// The address of so many words, zeroed when the region is new and anything when it is not.
    #[inline]
    pub(crate) fn allocate(&self, words: usize) -> usize {
        let address = self.next.get();
        let end = address + words * 8;
        if end <= self.end.get() {
            self.next.set(end);
            return address;
        }
        self.allocate_in_new_span(words * 8)
    }

    /// The address of so many words (one at least), which may have been used before.
    #[inline]
    pub(crate) fn allocate_again(&self, words: usize) -> usize {
        let Some(free) = self.free.get(words) else { return self.allocate(words) };
        let address = free.get();
        if address == 0 {
            return self.allocate(words);
        }
        let place: *const usize = std::ptr::with_exposed_provenance(address);
        // SAFETY: `give_back` put it there; the words are this arena's and nobody uses them.
        free.set(unsafe { place.read() });
        address
    }

    /// Takes back so many words at an address, which nobody may use any more.
    ///
    /// # Safety
    /// The address must come from [`Self::allocate_again`] of this arena for as many words, and nothing may refer to it
    /// from now on.
    #[inline]
    pub(crate) unsafe fn give_back(&self, address: usize, words: usize) {
        let Some(free) = self.free.get(words) else { return };
        let place: *mut usize = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the caller vouches for it.
        unsafe { place.write(free.get()) };
        free.set(address);
    }

    #[cold]
    #[inline(never)]
    fn allocate_in_new_span(&self, bytes: usize) -> usize {
        let length = bytes.next_multiple_of(SPAN);
        let address = lock().take(length);
        self.spans.borrow_mut().push((address, length));
        // What is left of the span before is lost, unless it is more than what this one leaves.
        if length - bytes >= self.end.get() - self.next.get() {
            self.next.set(address + bytes);
            self.end.set(address + length);
        }
        address
    }

    /// How many bytes this arena has of the region.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.borrow().iter().map(|span| span.1).sum()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut region = lock();
        for &(address, length) in self.spans.borrow().iter() {
            // SAFETY: these pages are this arena's alone, and everything in them dies with it (its borrowers are gone).
            let given_back = unsafe {
                rustix::mm::madvise(
                    std::ptr::with_exposed_provenance_mut(address),
                    length,
                    rustix::mm::Advice::LinuxDontNeed,
                )
            };
            if given_back.is_err() {
                // The pages merely stay.
                log::debug!("the kernel keeps {length} bytes that an evaluation has given back");
            }
            region.free.extend((0..length / SPAN).map(|index| address + index * SPAN));
        }
    }
}

impl Region {
    fn take(&mut self, length: usize) -> usize {
        if length == SPAN
            && let Some(address) = self.free.pop()
        {
            return address;
        }
        if self.used + length > self.length {
            let layout = std::alloc::Layout::new::<[u8; SPAN]>();
            std::alloc::handle_alloc_error(layout);
        }
        let address = START.load(Ordering::Relaxed) + self.used;
        self.used += length;
        address
    }
}

fn lock() -> std::sync::MutexGuard<'static, Region> {
    REGION.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sets the region's address space aside; memory is used only where it is touched.
fn reserve() {
    let mut region = lock();
    if region.length != 0 {
        return;
    }
    let mut length = LARGEST_REGION;
    while length >= SMALLEST_REGION {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs nothing that exists.
        let mapped = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags)
        };
        if let Ok(start) = mapped {
            START.store(start.expose_provenance(), Ordering::Relaxed);
            region.length = length;
            return;
        }
        // A limit on address space: leave most of it to others.
        length /= 4;
    }
    let layout = std::alloc::Layout::new::<[u8; SPAN]>();
    std::alloc::handle_alloc_error(layout);
}

/// The number of a place in the region.
#[inline]
pub(crate) fn number_of<T>(place: &T) -> u32 {
    ((std::ptr::from_ref(place).addr() - START.load(Ordering::Relaxed)) / 8) as u32
}

/// The address of the place with that number.
#[inline]
pub(crate) fn address_of(number: u32) -> usize {
    START.load(Ordering::Relaxed) + number as usize * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_do_not_overlap_and_have_numbers() {
        let frames = Frames::default();
        let sizes = [1, 3, SPAN / 8, 2, SPAN / 4 + 1, 5];
        let mut taken: Vec<(usize, usize)> =
            sizes.iter().map(|&words| (frames.allocate(words), words * 8)).collect();
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        assert!(taken.iter().all(|&(address, _)| address % 8 == 0));
        let start = START.load(Ordering::Relaxed);
        assert!(taken.iter().all(|&(address, _)| address_of(((address - start) / 8) as u32) == address));
    }

    #[test]
    fn frames_are_used_again_for_as_many_words() {
        let frames = Frames::default();
        let taken: Vec<usize> = (1..=LONGEST_REUSED + 1).map(|words| frames.allocate_again(words)).collect();
        for (index, &address) in taken.iter().enumerate() {
            // SAFETY: they come from there, and nothing refers to them.
            unsafe { frames.give_back(address, index + 1) };
        }
        for words in (1..=LONGEST_REUSED).rev() {
            assert_eq!(frames.allocate_again(words), taken[words - 1]);
            assert!(!taken.contains(&frames.allocate_again(words)), "once only");
        }
        assert!(!taken.contains(&frames.allocate_again(LONGEST_REUSED + 1)), "too long to be kept");
    }

    #[test]
    fn spans_are_used_again() {
        let first = Frames::default();
        let _ = first.allocate(4);
        let spans = first.spans.borrow().clone();
        drop(first);
        assert!(lock().free.contains(&spans[0].0) || lock().used > 0);
    }
}
