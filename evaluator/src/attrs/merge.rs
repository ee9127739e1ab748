//! Many layers as one: what stands where when sets lie on each other. Two neighbours are merged at a time, the smallest
//! first, so that the large lowest layer of a package set is walked once.

use super::{Attr, Attrs, MAX_DEPTH};
use crate::position::Pos;
use crate::shapes::Shapes;
use crate::symbol::Symbol;
use crate::value::Slot;

/// So many layers are left of too many: so many that those of package sets are not merged with each other.
const LAYERS_LEFT: usize = 10;

/// Layers with no more names than this together are merged in one go.
const FEW: usize = 64;

/// Two sets on each other have no more layers than this.
const MOST_LAYERS: usize = 2 * (MAX_DEPTH as usize + 1);

/// Something sorted by name to be merged: a layer as it lies in the arena (the uppermost one of that set), or what came of
/// merging some.
enum Layer<'a> {
    Stored(&'a Attrs<'a>),
    Merged(Vec<Attr<'a>>),
}

/// The layers of a set, the uppermost first.
fn layers_of<'a>(attrs: &'a Attrs<'a>) -> impl Iterator<Item = Layer<'a>> {
    pile(attrs).map(Layer::Stored)
}

/// Merges neighbours until so many layers are left.
fn reduce(layers: &mut Vec<Layer<'_>>, count: usize) {
    while layers.len() > count {
        let sums = layers.windows(2).map(|pair| pair.iter().map(Layer::len).sum::<usize>());
        let Some((smallest, _)) = sums.enumerate().min_by_key(|&(_, sum)| sum) else { break };
        let under = layers.remove(smallest + 1);
        layers[smallest] = Layer::Merged(layers[smallest].on(&under));
    }
}

/// The attributes of some layers, the uppermost first, that are few; in order.
fn few_merged<'a>(layers: impl Iterator<Item = &'a Attrs<'a>>) -> Vec<Attr<'a>> {
    // Each name above the number of its layer and its place there: merged as plain numbers, one layer after the other.
    let (mut places, mut others) = (&mut [0_u64; FEW], &mut [0_u64; FEW]);
    let mut count = 0;
    let mut stored: [Option<Stored<'a>>; MOST_LAYERS] = [const { None }; MOST_LAYERS];
    for (number, layer) in layers.take(MOST_LAYERS).enumerate() {
        let layer = Stored::of(layer);
        let place =
            |index: usize| u64::from(layer.names[index].0) << 32 | (number as u64) << 16 | index as u64;
        let total = (count + layer.count()).min(FEW);
        let (mut upper, mut lower) = (0, 0);
        // Which one comes next depends on nothing that could be foreseen: no branch for it.
        while upper < count && lower < total - count {
            let (one, other) = (places[upper], place(lower));
            let first = one < other;
            others[upper + lower] = if first { one } else { other };
            upper += usize::from(first);
            lower += usize::from(!first);
        }
        if upper < count {
            others[upper + lower..total].copy_from_slice(&places[upper..count]);
        }
        for index in lower..total - count {
            others[upper + index] = place(index);
        }
        count = total;
        stored[number] = Some(layer);
        std::mem::swap(&mut places, &mut others);
    }
    let mut all: Vec<Attr<'a>> = Vec::with_capacity(count);
    let mut last = None;
    for &place in &places[..count] {
        let name = place >> 32;
        // Of the same name, the uppermost comes first.
        if last == Some(name) {
            continue;
        }
        last = Some(name);
        let layer = stored[(place >> 16) as usize & 0xffff].as_ref();
        all.extend(layer.map(|layer| layer.attr(place as usize & 0xffff)));
    }
    all
}

/// A set and those that it lies on.
fn pile<'a>(attrs: &'a Attrs<'a>) -> impl Iterator<Item = &'a Attrs<'a>> {
    std::iter::successors(Some(attrs), |attrs| attrs.under())
}

/// How many names all layers have together.
fn total<'a>(attrs: &'a Attrs<'a>) -> usize {
    pile(attrs).map(|layer| layer.keys().names.len()).sum()
}

/// All attributes of a set, in order.
pub(super) fn merged<'a>(attrs: &'a Attrs<'a>) -> Vec<Attr<'a>> {
    let total = total(attrs);
    if total <= FEW {
        return few_merged(pile(attrs));
    }
    let mut layers: Vec<Layer<'a>> = layers_of(attrs).collect();
    reduce(&mut layers, 1);
    match layers.pop() {
        Some(Layer::Merged(attrs)) => attrs,
        Some(Layer::Stored(attrs)) => Stored::of(attrs).attrs().collect(),
        None => Vec::new(),
    }
}

/// One set on another that together have too many layers: some are merged. What is large (a package set) mostly stays as
/// it is, and what lies at the bottom is used again with all that is below it.
pub(super) fn settled<'a>(shapes: &Shapes<'a>, under: &'a Attrs<'a>, over: &'a Attrs<'a>) -> &'a Attrs<'a> {
    let total = total(over) + total(under);
    if total <= FEW {
        return Attrs::of_attrs(shapes, &few_merged(pile(over).chain(pile(under))));
    }
    let mut layers: Vec<Layer<'a>> = layers_of(over).chain(layers_of(under)).collect();
    reduce(&mut layers, LAYERS_LEFT);
    let mut lower: Option<&'a Attrs<'a>> = None;
    // Where the layers that are left are those of `under` from some place down.
    let mut same = true;
    for layer in layers.into_iter().rev() {
        let upper = match layer {
            Layer::Stored(attrs) => {
                same = same && same_or_none(attrs.under(), lower);
                if same {
                    lower = Some(attrs);
                    continue;
                }
                attrs
            }
            Layer::Merged(attrs) => {
                same = false;
                Attrs::of_attrs(shapes, &attrs)
            }
        };
        lower = Some(lower.map_or(upper, |lower| Attrs::layered(shapes.arena, upper, lower)));
    }
    lower.unwrap_or(under)
}

fn same_or_none<'a>(one: Option<&'a Attrs<'a>>, other: Option<&'a Attrs<'a>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl<'a> Layer<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Stored(attrs) => attrs.keys().names.len(),
            Self::Merged(attrs) => attrs.len(),
        }
    }

    /// The attributes of both; where both have a name, that of `self` counts.
    fn on(&self, under: &Self) -> Vec<Attr<'a>> {
        match (self, under) {
            (Self::Stored(over), Self::Stored(below)) => merge(&Stored::of(over), &Stored::of(below)),
            (Self::Stored(over), Self::Merged(below)) => merge(&Stored::of(over), below.as_slice()),
            (Self::Merged(over), Self::Stored(below)) => merge(over.as_slice(), &Stored::of(below)),
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
    /// The uppermost layer of a set.
    fn of(attrs: &Attrs<'a>) -> Self {
        Self { names: attrs.keys().names, positions: attrs.keys().positions, slots: attrs.slots() }
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
    use crate::attrs::Keys;
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

    /// What a set has: each name and its maker.
    fn contents<'a>(attrs: impl Iterator<Item = Attr<'a>>) -> Vec<(u32, i64)> {
        attrs
            .map(|attr| match attr.slot.get() {
                Value::Int(maker) if attr.pos == Pos(attr.name.0 * 10 + maker as u32) => (attr.name.0, maker),
                other => panic!("{other:?} at {:?}", attr.pos),
            })
            .collect()
    }

    #[test]
    fn the_uppermost_layer_that_has_a_name_counts() {
        let arena = Arena::new();
        // Steps and lengths: dense and sparse ones, long ones under short ones and the other way round, empty ones.
        let piles: [&[(u32, u32)]; 7] = [
            &[(1, 5), (2, 5)],
            &[(7, 3), (1, 100), (3, 10)],
            &[(1, 100), (50, 2)],
            &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (1, 60)],
            &[(1, 0), (1, 4), (9, 0)],
            &[(3, 30)],
            &[
                (2, 9),
                (1, 70),
                (5, 1),
                (3, 2),
                (2, 50),
                (1, 1),
                (8, 8),
                (1, 200),
                (2, 2),
                (4, 4),
                (1, 100),
                (6, 3),
            ],
        ];
        for pile in piles {
            let mut set: Option<&Attrs<'_>> = None;
            let mut expected = BTreeMap::new();
            // From below.
            for (maker, &(step, length)) in pile.iter().enumerate().rev() {
                let names = || (0..length).map(move |index| 4 + index * step);
                let upper = layer(&arena, maker as i64, names());
                expected.extend(names().map(|name| (name, maker as i64)));
                if length > 0 {
                    set = Some(set.map_or(upper, |under| Attrs::layered(&arena, upper, under)));
                }
            }
            let all = merged(set.expect("a layer"));
            assert_eq!(contents(all.iter().copied()), expected.into_iter().collect::<Vec<_>>(), "{pile:?}");
        }
    }

    #[test]
    fn sets_on_each_other_have_few_layers_and_all_that_is_in_them() {
        let arena = Arena::new();
        let shapes = Shapes::new(&arena);
        let large = layer(&arena, 0, 1000..4000);
        let mut set = large;
        let mut expected: BTreeMap<u32, i64> = (1000..4000).map(|name| (name, 0)).collect();
        for maker in 1..40_i64 {
            // One or many layers at a time, a few names or more.
            let mut upper = layer(&arena, maker, (0..5).map(|index| 900 + index * 37 + maker as u32 * 3));
            expected.extend(contents(upper.iter()));
            if maker % 3 == 0 {
                let over = layer(&arena, maker + 100, (0..60).map(|index| 10 + index * 90));
                expected.extend(contents(over.iter()));
                upper = Attrs::layered(&arena, over, upper);
            }
            set = Attrs::update(&shapes, set, upper);
            assert!(set.depth() <= crate::attrs::MAX_DEPTH, "{maker}");
            assert_eq!(contents(set.iter()), expected.clone().into_iter().collect::<Vec<_>>(), "{maker}");
            for (&name, &maker) in &expected {
                assert!(
                    matches!(set.get(Symbol(name)).map(Slot::get), Some(Value::Int(found)) if found == maker)
                );
            }
        }
        let lowest = std::iter::successors(Some(set), |set| set.under()).last();
        assert!(lowest.is_some_and(|lowest| std::ptr::eq(lowest, large)), "the large one is not copied");
    }
}
