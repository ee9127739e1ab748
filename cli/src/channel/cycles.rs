//! Packages that depend on each other in a cycle (Tarjan's strongly connected components). Store paths cannot refer to
//! each other in a cycle, so such packages become one store path.

use std::collections::{BTreeMap, BTreeSet};

/// The cycles of a graph given as name → names: each as the sorted names of its members; single packages are none.
pub(crate) fn find<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let names: Vec<&str> = graph.keys().copied().collect();
    let number: BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
    let edges: Vec<Vec<usize>> =
        graph.values().map(|to| to.iter().filter_map(|name| number.get(name).copied()).collect()).collect();
    let mut cycles: Vec<Vec<&str>> = components(&edges)
        .into_iter()
        .filter(|component| component.len() > 1)
        .map(|component| {
            let mut members: Vec<&str> =
                component.into_iter().filter_map(|index| names.get(index).copied()).collect();
            members.sort_unstable();
            members
        })
        .collect();
    cycles.sort();
    cycles
}

/// What the search knows of a node.
#[derive(Clone, Copy, Default)]
struct Node {
    /// The order in which it was met, from 1; 0: not yet.
    met: usize,
    /// The earliest node that can be reached from it.
    low: usize,
    open: bool,
}

/// The components, without recursion: chains of dependencies are long.
fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut nodes = vec![Node::default(); edges.len()];
    let mut counter = 0;
    let mut open = Vec::new();
    let mut found = Vec::new();
    for root in 0..edges.len() {
        if nodes.get(root).is_none_or(|node| node.met != 0) {
            continue;
        }
        // (node, how many of its edges were followed)
        let mut path = vec![(root, 0_usize)];
        while let Some((node, followed)) = path.last_mut() {
            let node = *node;
            if *followed == 0 {
                counter += 1;
                if let Some(state) = nodes.get_mut(node) {
                    *state = Node { met: counter, low: counter, open: true };
                }
                open.push(node);
            }
            let next = edges.get(node).and_then(|edges| edges.get(*followed)).copied();
            *followed += 1;
            let low = nodes.get(node).map_or(0, |state| state.low);
            if let Some(next) = next {
                let other = nodes.get(next).copied().unwrap_or_default();
                if other.met == 0 {
                    path.push((next, 0));
                } else if other.open
                    && let Some(state) = nodes.get_mut(node)
                {
                    state.low = low.min(other.met);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last()
                && let Some(state) = nodes.get_mut(*parent)
            {
                state.low = state.low.min(low);
            }
            if nodes.get(node).is_some_and(|state| state.met == low) {
                let start = open.iter().rposition(|other| *other == node).unwrap_or(0);
                found.push(close(open.split_off(start), &mut nodes));
            }
        }
    }
    found
}

/// Marks a component's members as done.
fn close(component: Vec<usize>, nodes: &mut [Node]) -> Vec<usize> {
    for member in &component {
        if let Some(state) = nodes.get_mut(*member) {
            state.open = false;
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles() {
        for (text, expected) in [
            ("a:b b:c c:", vec![]),
            ("libc:gcc gcc:libc,base base: app:libc", vec![vec!["gcc", "libc"]]),
            ("a:b b:c c:a d:a e:f f:e,d", vec![vec!["a", "b", "c"], vec!["e", "f"]]),
            ("a:a,b b:missing", vec![]),
            ("a:b,c b:d c:d d:a", vec![vec!["a", "b", "c", "d"]]),
        ] {
            let graph: BTreeMap<&str, BTreeSet<&str>> = text
                .split(' ')
                .filter_map(|node| node.split_once(':'))
                .map(|(name, to)| (name, to.split(',').filter(|to| !to.is_empty()).collect()))
                .collect();
            assert_eq!(find(&graph), expected, "{text}");
        }
    }

    #[test]
    fn a_long_chain_does_not_overflow() {
        let edges: Vec<Vec<usize>> =
            (0..200_000).map(|node| if node < 199_999 { vec![node + 1] } else { vec![0] }).collect();
        assert_eq!(components(&edges).len(), 1);
    }
}
