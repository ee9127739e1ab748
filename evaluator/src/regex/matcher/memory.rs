//! What the matcher remembers: for each branching state and each position, what came of going on from there. Kept by
//! position, from where the search stands; what lies before it is given up, so splitting a long text takes little.

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody went there, or the way is not gone to its end yet.
    Unknown,
    /// There is no match from there.
    Failed,
    /// A match was found.
    Found,
}

impl Outcome {
    /// Whether a match was found.
    pub(super) const fn of(found: bool) -> Self {
        if found { Self::Found } else { Self::Failed }
    }
}

/// As many cells are kept at most, each a byte.
const MOST_CELLS: usize = 1 << 27;

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    /// The cells of a position stand together.
    cells: Vec<Outcome>,
    rows: usize,
    /// The position of the first cells.
    base: usize,
    full: bool,
}

impl Memory {
    /// An empty one for so many states.
    pub(super) const fn new(rows: usize) -> Self {
        Self { cells: Vec::new(), rows, base: 0, full: false }
    }

    /// Whether something could not be kept.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// From here on, nothing is asked about what lies before this position.
    pub(super) fn start_at(&mut self, position: u32) {
        let passed = (position as usize).saturating_sub(self.base) * self.rows;
        // Only when there is as much to give up as to move.
        if passed > 0 && passed >= self.cells.len() / 2 {
            self.cells.drain(..passed.min(self.cells.len()));
            self.base = position as usize;
        }
    }

    /// Forgets what is known about a position.
    pub(super) fn forget(&mut self, position: u32) {
        let start = (position as usize - self.base) * self.rows;
        let end = self.cells.len().min(start + self.rows);
        if let Some(cells) = self.cells.get_mut(start..end) {
            cells.fill(Outcome::Unknown);
        }
    }

    /// What is known.
    pub(super) fn get(&self, row: u32, position: u32) -> Outcome {
        self.cells.get(self.cell(row, position)).copied().unwrap_or(Outcome::Unknown)
    }

    /// Remembers something.
    pub(super) fn set(&mut self, row: u32, position: u32, outcome: Outcome) {
        let cell = self.cell(row, position);
        if cell >= self.cells.len() {
            let wanted = (position as usize - self.base + 1) * self.rows;
            if wanted > MOST_CELLS || self.cells.try_reserve(wanted - self.cells.len()).is_err() {
                self.full = true;
                return;
            }
            self.cells.resize(wanted, Outcome::Unknown);
        }
        if let Some(cell) = self.cells.get_mut(cell) {
            *cell = outcome;
        }
    }

    const fn cell(&self, row: u32, position: u32) -> usize {
        (position as usize - self.base) * self.rows + row as usize
    }
}
