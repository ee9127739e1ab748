//! Transactions: every wanted job is an edge from the one who wants it.

use super::Dependency::{
    BindsTo, Conflicts, PartOf, PropagatesReloadTo, PropagatesStopTo, Requires, Requisite, Upholds, Wants,
};
use super::{Reference, merge};
use crate::supervisor::engine::unit_state::{JobKind, JobResult};
use std::collections::BTreeSet;

impl Reference {
    #[expect(clippy::too_many_lines, reason = "read from top to bottom beside systemd's account")]
    pub(super) fn transaction(&mut self, anchor: usize, kind: JobKind) {
        type Wish = (usize, JobKind);
        let kind = match kind {
            JobKind::TryRestart if self.life(anchor).is_down_or_going() => {
                self.done.push((anchor, kind, JobResult::Done));
                return;
            }
            JobKind::TryRestart => JobKind::Restart,
            kind => kind,
        };
        let first: Wish = (anchor, kind);
        // (who, whom, whether it matters, whether it is a conflict)
        let mut edges: BTreeSet<(Wish, Wish, bool, bool)> = BTreeSet::new();
        let mut wishes: BTreeSet<Wish> = BTreeSet::from([first]);
        let mut open = vec![first];
        while let Some(wish) = open.pop() {
            for (to, matters, conflict) in self.consequences(wish) {
                edges.insert((wish, to, matters, conflict));
                if wishes.insert(to) {
                    open.push(to);
                }
            }
        }
        // Without what the request fails.
        let mut vital: BTreeSet<Wish> = BTreeSet::from([first]);
        while let Some(next) = edges
            .iter()
            .find(|(from, to, matters, _)| *matters && vital.contains(from) && !vital.contains(to))
            .map(|(_, to, ..)| *to)
        {
            vital.insert(next);
        }
        let prune = |wishes: &mut BTreeSet<Wish>, edges: &mut BTreeSet<(Wish, Wish, bool, bool)>| {
            loop {
                edges.retain(|(from, to, ..)| wishes.contains(from) && wishes.contains(to));
                let before = wishes.len();
                wishes.retain(|wish| *wish == first || edges.iter().any(|(_, to, ..)| to == wish));
                if wishes.len() == before {
                    return;
                }
            }
        };
        let drop_redundant = |this: &Self, wishes: &mut BTreeSet<Wish>| {
            for unit in 0..this.units.len() {
                let of_unit: Vec<Wish> = wishes.iter().filter(|(of, _)| *of == unit).copied().collect();
                let is_redundant = of_unit.iter().all(|wish| {
                    let done = match wish.1 {
                        JobKind::Start => this.life(unit).is_up(),
                        JobKind::Stop => this.life(unit).is_down(),
                        _ => false,
                    };
                    let fights =
                        this.units[unit].job.is_some_and(|(job, _)| merge(job, wish.1, false).is_none());
                    *wish != first && done && !fights
                });
                if is_redundant {
                    wishes.retain(|(of, _)| *of != unit);
                }
            }
        };
        drop_redundant(self, &mut wishes);
        prune(&mut wishes, &mut edges);
        // Contradictions.
        while let Some((stop, other)) = wishes.iter().find_map(|stop| {
            let is_against = |other: &&Wish| other.0 == stop.0 && other.1 != JobKind::Stop;
            (stop.1 == JobKind::Stop)
                .then(|| wishes.iter().find(is_against))
                .flatten()
                .map(|other| (*stop, *other))
        }) {
            let is_conflict = edges.iter().any(|(_, to, _, conflict)| *conflict && *to == stop);
            let loser = match (vital.contains(&stop), vital.contains(&other)) {
                (true, true) => {
                    self.done.push((anchor, kind, JobResult::Refused));
                    return;
                }
                (true, false) => other,
                (false, true) => stop,
                (false, false) => {
                    if is_conflict {
                        other
                    } else {
                        stop
                    }
                }
            };
            let mut falling = vec![loser];
            while let Some(wish) = falling.pop() {
                wishes.remove(&wish);
                let up = edges.iter().filter(|(_, to, matters, _)| *to == wish && *matters);
                falling.extend(up.map(|(from, ..)| *from).filter(|from| wishes.contains(from)));
            }
            prune(&mut wishes, &mut edges);
        }
        drop_redundant(self, &mut wishes);
        prune(&mut wishes, &mut edges);
        for unit in 0..self.units.len() {
            let is_inactive = self.life(unit).is_down_or_going();
            let kinds = wishes.iter().filter(|(of, _)| *of == unit).map(|(_, kind)| *kind);
            let merged = kinds.reduce(|one, other| merge(one, other, is_inactive).unwrap());
            if let Some(kind) = merged {
                self.install(unit, kind);
            }
        }
    }

    fn install(&mut self, unit: usize, kind: JobKind) {
        let is_inactive = self.life(unit).is_down_or_going();
        let Some((old, running)) = self.units[unit].job else {
            self.units[unit].job = Some((kind, false));
            return;
        };
        match merge(old, kind, is_inactive) {
            None => {
                self.end_job(unit, JobResult::Canceled);
                self.units[unit].job = Some((kind, false));
            }
            Some(both) if both == old && running && kind != JobKind::Reload => {}
            Some(both) => self.units[unit].job = Some((both, false)),
        }
    }

    /// What one job brings with it: the job, whether the first is in vain without it, whether it is there for a conflict.
    fn consequences(&self, (unit, kind): (usize, JobKind)) -> Vec<((usize, JobKind), bool, bool)> {
        let mut out = Vec::new();
        if matches!(kind, JobKind::Start | JobKind::Restart) {
            for (dependency, matters) in [(Requires, true), (BindsTo, true), (Wants, false), (Upholds, false)]
            {
                out.extend(
                    self.named(unit, dependency).into_iter().map(|to| ((to, JobKind::Start), matters, false)),
                );
            }
            out.extend(self.named(unit, Conflicts).into_iter().map(|to| ((to, JobKind::Stop), true, true)));
            out.extend(self.naming(unit, Conflicts).into_iter().map(|to| ((to, JobKind::Stop), false, true)));
        }
        if matches!(kind, JobKind::Stop | JobKind::Restart) {
            for dependency in [Requires, Requisite, BindsTo, PartOf] {
                for other in self.naming(unit, dependency) {
                    if kind == JobKind::Stop || !self.life(other).is_down_or_going() {
                        out.push(((other, kind), true, false));
                    }
                }
            }
        }
        if kind == JobKind::Stop {
            out.extend(self.named(unit, PropagatesStopTo).into_iter().map(|to| ((to, kind), true, false)));
        }
        if kind == JobKind::Reload {
            let up = self.named(unit, PropagatesReloadTo);
            let up = up.into_iter().filter(|to| !self.life(*to).is_down_or_going());
            out.extend(up.map(|to| ((to, kind), true, false)));
        }
        out
    }
}
