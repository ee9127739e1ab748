//! A collection on its way: which paths are alive, which are gone already, and what a batch of the dead is in the database.

use crate::database::{Doomed, Graph, Moment};

/// The graph and what became of its paths.
#[derive(Debug)]
pub(super) struct Sweep<'a> {
    pub(super) graph: &'a Graph,
    /// By index: what must stay.
    pub(super) alive: Vec<bool>,
    /// What the database was when the graph was read or we last wrote.
    pub(super) moment: Moment,
    /// By index: what is not in the database any more.
    gone: Vec<bool>,
    /// The rows' ids, sorted, with the indices.
    by_id: Vec<(i64, usize)>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(graph: &'a Graph, alive: Vec<bool>, moment: Moment) -> Self {
        let mut by_id: Vec<(i64, usize)> =
            graph.ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        by_id.sort_unstable();
        Self { gone: vec![false; graph.paths.len()], graph, alive, moment, by_id }
    }

    /// Those of these that are dead, as rows. They count as gone from now on.
    pub(super) fn doom(&mut self, batch: &[usize]) -> (Vec<usize>, Doomed) {
        let dead: Vec<usize> = batch
            .iter()
            .copied()
            .filter(|index| self.alive.get(*index).is_some_and(|alive| !alive))
            .collect();
        let mut goes = vec![false; self.graph.paths.len()];
        for index in &dead {
            if let Some(goes) = goes.get_mut(*index) {
                *goes = true;
            }
        }
        let mut rows = Doomed::default();
        for (id, index) in &self.by_id {
            if let (Some(false), Some(goes), Some(references)) =
                (self.gone.get(*index), goes.get(*index), self.graph.references.get(*index))
            {
                rows.push(*id, *goes, references.len());
            }
        }
        for index in &dead {
            if let Some(gone) = self.gone.get_mut(*index) {
                *gone = true;
            }
        }
        (dead, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_ranges_between_those_that_stay() {
        let mut doomed = Doomed::default();
        for (id, goes) in [(1, true), (3, true), (4, false), (9, false), (10, true), (11, true), (20, false)]
        {
            doomed.push(id, goes, 2);
        }
        assert_eq!(doomed.ids, [1, 3, 10, 11]);
        assert_eq!(doomed.ranges, [(1, 3), (10, 11)]);
        assert_eq!(doomed.kept, [(4, 9), (20, 20)]);
        assert_eq!((doomed.references, doomed.references_kept), (8, 6));
    }
}
