//! Many layers as one: what stands where when sets lie on each other. Two neighbours are merged at a time, the smallest
//! first, so that the large lowest layer of a package set is walked once.

use super::{Attr, Attrs, Keys};
use crate::position::Pos;
use crate::symbol::Symbol;
use crate::value::Slot;

/// Something sorted by name to be merged: a layer as it lies in the arena, or what came of merging some.
enum Layer<'a> {
    Stored { keys: &'a Keys<'a>, slots: &'a [Slot<'a>] },
    Merged(Vec<Attr<'a>>),
}

/// The attributes of the uppermost layers of a set, in order.
pub(super) fn merged<'a>(attrs: &'a Attrs<'a>, count: u32) -> Vec<Attr<'a>> {
    let mut layers: Vec<Layer<'a>> = Vec::with_capacity(count as usize);
    let mut left = Some(attrs);
    for _ in 0..count {
        let Some(attrs) = left else { break };
        layers.push(Layer::Stored { keys: attrs.keys(), slots: attrs.slots() });
        left = attrs.under();
    }
    while layers.len() > 1 {
        let sums = layers.windows(2).map(|pair| pair.iter().map(Layer::len).sum::<usize>());
        let Some((smallest, _)) = sums.enumerate().min_by_key(|&(_, sum)| sum) else { break };
        let under = layers.remove(smallest + 1);
        layers[smallest] = Layer::Merged(layers[smallest].on(&under));
    }
    match layers.pop() {
        Some(Layer::Merged(attrs)) => attrs,
        Some(Layer::Stored { keys, slots }) => Stored::of(keys, slots).attrs().collect(),
        None => Vec::new(),
    }
}

impl<'a> Layer<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Stored { slots, .. } => slots.len(),
            Self::Merged(attrs) => attrs.len(),
        }
    }

    /// The attributes of both; where both have a name, that of `self` counts.
    fn on(&self, under: &Self) -> Vec<Attr<'a>> {
        match (self, under) {
            (Self::Stored { keys, slots }, Self::Stored { keys: below, slots: others }) => {
                merge(&Stored::of(keys, slots), &Stored::of(below, others))
            }
            (Self::Stored { keys, slots }, Self::Merged(below)) => {
                merge(&Stored::of(keys, slots), below.as_slice())
            }
            (Self::Merged(over), Self::Stored { keys, slots }) => {
                merge(over.as_slice(), &Stored::of(keys, slots))
            }
            (Self::Merged(over), Self::Merged(below)) => merge(over.as_slice(), below.as_slice()),
        }
    }
}

/// What a merge reads.
trait Source<'a> {
    fn count(&self) -> usize;
    /// The name at a place below `count`.
    fn name(&self, index: usize) -> Symbol;
    fn attr(&self, index: usize) -> Attr<'a>;
}

impl<'a> Source<'a> for [Attr<'a>] {
    #[inline]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline]
    fn name(&self, index: usize) -> Symbol {
        self[index].name
    }

    #[inline]
    fn attr(&self, index: usize) -> Attr<'a> {
        self[index]
    }
}

/// A layer in the arena.
struct Stored<'a> {
    names: &'a [Symbol],
    positions: &'a [Pos],
    slots: &'a [Slot<'a>],
}

impl<'a> Stored<'a> {
    fn of(keys: &'a Keys<'a>, slots: &'a [Slot<'a>]) -> Self {
        Self { names: keys.names, positions: keys.positions, slots }
    }

    fn attrs(&self) -> impl Iterator<Item = Attr<'a>> {
        (0..self.count()).map(|index| self.attr(index))
    }
}

impl<'a> Source<'a> for Stored<'a> {
    #[inline]
    fn count(&self) -> usize {
        self.names.len()
    }

    #[inline]
    fn name(&self, index: usize) -> Symbol {
        self.names[index]
    }

    #[inline]
    fn attr(&self, index: usize) -> Attr<'a> {
        let pos = self.positions.get(index).copied().unwrap_or_default();
        Attr { name: self.names[index], pos, slot: &self.slots[index] }
    }
}

/// Two sources as one; where both have a name, that of `over` counts.
fn merge<'a>(over: &(impl Source<'a> + ?Sized), under: &(impl Source<'a> + ?Sized)) -> Vec<Attr<'a>> {
    let (count, others) = (over.count(), under.count());
    let mut all = Vec::with_capacity(count + others);
    let (mut upper, mut lower) = (0, 0);
    // Where a few lie on many, runs of the many are found by halving.
    let sparse = count < others / 16;
    while upper < count && lower < others {
        let (name, other) = (over.name(upper), under.name(lower));
        if name <= other {
            all.push(over.attr(upper));
            upper += 1;
            lower += usize::from(name == other);
        } else {
            let end = if sparse { first_from(under, lower, name) } else { lower + 1 };
            while lower < end {
                all.push(under.attr(lower));
                lower += 1;
            }
        }
    }
    all.extend((upper..count).map(|index| over.attr(index)));
    all.extend((lower..others).map(|index| under.attr(index)));
    all
}

/// The first place from `start` on whose name is not less than the given one.
fn first_from<'a>(source: &(impl Source<'a> + ?Sized), start: usize, name: Symbol) -> usize {
    let (mut low, mut high) = (start, source.count());
    while low < high {
        let middle = low + (high - low) / 2;
        if source.name(middle) < name {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::value::Value;
    use std::collections::BTreeMap;

    /// A set with the given names, and who made it as the value of each.
    fn layer(arena: &Arena, maker: i64, names: impl Iterator<Item = u32>) -> &Attrs<'_> {
        let names: Vec<Symbol> = names.map(Symbol).collect();
        let names = arena.alloc_slice_copy(&names);
        let positions = arena.alloc_slice_fill_iter(names.iter().map(|name| Pos(name.0 * 10 + maker as u32)));
        let keys = arena.alloc(Keys::new(names, positions));
        Attrs::filled(arena, keys, |_| Slot::new(arena, Value::Int(maker)))
    }

    #[test]
    fn the_uppermost_layer_that_has_a_name_counts() {
        let arena = Arena::new();
        // Steps and lengths: dense and sparse ones, long ones under short ones and the other way round, empty ones.
        let shapes: [&[(u32, u32)]; 6] = [
            &[(1, 5), (2, 5)],
            &[(7, 3), (1, 100), (3, 10)],
            &[(1, 100), (50, 2)],
            &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (1, 60)],
            &[(1, 0), (1, 4), (9, 0)],
            &[(3, 30)],
        ];
        for shape in shapes {
            let mut set: Option<&Attrs<'_>> = None;
            let mut expected = BTreeMap::new();
            let mut layers = 0;
            // From below.
            for (maker, &(step, length)) in shape.iter().enumerate().rev() {
                let names = || (0..length).map(move |index| 4 + index * step);
                let upper = layer(&arena, maker as i64, names());
                expected.extend(names().map(|name| (name, maker as i64)));
                if length > 0 {
                    layers += 1;
                    set = Some(set.map_or(upper, |under| Attrs::layered(&arena, upper, under)));
                }
            }
            let all = merged(set.expect("a layer"), layers);
            let found: Vec<_> = all
                .iter()
                .map(|attr| match attr.slot.get() {
                    Value::Int(maker) if attr.pos == Pos(attr.name.0 * 10 + maker as u32) => {
                        (attr.name.0, maker)
                    }
                    other => panic!("{other:?} at {:?}", attr.pos),
                })
                .collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{shape:?}");
        }
    }
}
