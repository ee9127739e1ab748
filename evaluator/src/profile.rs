//! Where an evaluation spends its time: a tree of calls, each with the time that passed in it, for flame graphs
//! ("folded stacks", Brendan Gregg). The clock is read at every sixteenth call and at the end of each builtin, so that a
//! profile costs little; without one, a call costs one branch more.

use crate::position::Pos;
use hashbrown::HashMap;
use std::time::Instant;

/// How many calls pass between two looks at the clock.
const STRIDE: u32 = 16;

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Callee {
    /// All that is not in a call.
    Top,
    /// A function, by its number.
    Lambda(u32),
    /// A builtin.
    Builtin(&'static str),
}

#[derive(Debug)]
struct Node {
    parent: u32,
    callee: Callee,
    nanoseconds: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Profile {
    nodes: Vec<Node>,
    children: HashMap<(u32, Callee), u32>,
    /// The calls that are going on: how deep each is, and its node.
    stack: Vec<(u32, u32)>,
    last: Instant,
    calls: u32,
}

impl Profile {
    pub(crate) fn new() -> Self {
        let top = Node { parent: 0, callee: Callee::Top, nanoseconds: 0 };
        Self { nodes: vec![top], children: HashMap::new(), stack: Vec::new(), last: Instant::now(), calls: 0 }
    }

    /// A call of that depth begins. What was as deep before it has ended; in tail position nobody said so.
    pub(crate) fn enter(&mut self, depth: u32, callee: Callee) {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(STRIDE) {
            self.sample();
        }
        while self.stack.last().is_some_and(|&(other, _)| other >= depth) {
            self.stack.pop();
        }
        self.push(depth, callee);
    }

    /// A builtin begins, called at that depth; to be handed to [`Self::leave_builtin`].
    pub(crate) fn enter_builtin(&mut self, depth: u32, name: &'static str) -> usize {
        while self.stack.last().is_some_and(|&(other, _)| other > depth) {
            self.stack.pop();
        }
        let mark = self.stack.len();
        self.push(depth, Callee::Builtin(name));
        mark
    }

    /// A builtin has ended.
    pub(crate) fn leave_builtin(&mut self, mark: usize) {
        self.stack.truncate(mark + 1);
        self.sample();
        self.stack.truncate(mark);
    }

    fn push(&mut self, depth: u32, callee: Callee) {
        let parent = self.current();
        let fresh = self.nodes.len() as u32;
        let node = *self.children.entry((parent, callee)).or_insert(fresh);
        if node == fresh {
            self.nodes.push(Node { parent, callee, nanoseconds: 0 });
        }
        self.stack.push((depth, node));
    }

    fn current(&self) -> u32 {
        self.stack.last().map_or(0, |&(_, node)| node)
    }

    /// What has passed since the last look goes to the innermost call.
    fn sample(&mut self) {
        let now = Instant::now();
        let passed = now.duration_since(self.last).as_nanos();
        self.last = now;
        let current = self.current() as usize;
        if let Some(node) = self.nodes.get_mut(current) {
            node.nanoseconds += u64::try_from(passed).unwrap_or(u64::MAX);
        }
    }

    /// Every stack with the nanoseconds in its innermost call, outermost call first.
    pub(crate) fn stacks(&mut self) -> Vec<(Vec<Callee>, u64)> {
        self.stack.clear();
        self.sample();
        let mut stacks = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.nanoseconds == 0 {
                continue;
            }
            let mut callees = Vec::new();
            let mut at = index;
            while let Some(node) = self.nodes.get(at).filter(|_| at > 0) {
                callees.push(node.callee);
                at = node.parent as usize;
            }
            callees.push(Callee::Top);
            callees.reverse();
            stacks.push((callees, node.nanoseconds));
        }
        stacks
    }
}

impl<'a> crate::Evaluator<'a> {
    /// Notes from now on where the time goes.
    pub fn start_profile(&mut self) {
        self.profile = Some(Box::new(Profile::new()));
    }

    /// Where the time went: names of calls, outermost first, with the nanoseconds spent in the last of them. Nothing if no
    /// profile was started.
    pub fn profile(&mut self) -> Vec<(Vec<String>, u64)> {
        let Some(mut profile) = self.profile.take() else { return Vec::new() };
        let mut names: HashMap<Callee, String> = HashMap::new();
        let mut stacks: Vec<(Vec<String>, u64)> = Vec::new();
        for (callees, nanoseconds) in profile.stacks() {
            let mut stack = Vec::with_capacity(callees.len());
            for callee in callees {
                stack.push(names.entry(callee).or_insert_with(|| self.callee_name(callee)).clone());
            }
            stacks.push((stack, nanoseconds));
        }
        stacks.sort();
        stacks
    }

    fn callee_name(&self, callee: Callee) -> String {
        match callee {
            Callee::Top => "evaluation".to_owned(),
            Callee::Builtin(name) => format!("builtins.{}", name.strip_prefix("__").unwrap_or(name)),
            Callee::Lambda(number) => {
                let lambda = self.lambdas.get(number as usize);
                let name = lambda.and_then(|lambda| lambda.name);
                let name = name.map_or_else(|| "function".to_owned(), |name| self.symbols.show(name));
                let place = lambda.and_then(|lambda| self.location(lambda.pos));
                place.map_or_else(
                    || name.clone(),
                    |place| format!("{name} ({}:{})", place.file.replace(';', ","), place.line),
                )
            }
        }
    }

    /// A function's call begins.
    #[cold]
    pub(crate) fn profile_call(&mut self, number: u32) {
        if let Some(profile) = &mut self.profile {
            profile.enter(self.depth, Callee::Lambda(number));
        }
    }

    /// A builtin's call.
    #[cold]
    pub(crate) fn profiled_builtin(
        &mut self,
        builtin: &'static crate::builtins::Builtin,
        arguments: &[crate::value::Value<'a>],
        pos: Pos,
    ) -> crate::error::Eval<'a, crate::value::Value<'a>> {
        let depth = self.depth;
        let mark = self.profile.as_mut().map(|profile| profile.enter_builtin(depth, builtin.name));
        let result = (builtin.function)(self, arguments, pos);
        if let (Some(profile), Some(mark)) = (&mut self.profile, mark) {
            profile.leave_builtin(mark);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use crate::io::MemoryIo;
    use crate::{Arena, Evaluator, Options};
    use std::rc::Rc;

    #[test]
    fn time_is_found_where_it_was_spent() {
        let text = "let
            busy = n: builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) n);
            outer = n: busy n + 1;
            idle = x: x;
        in outer 300000 + idle 1";
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
        evaluator.start_profile();
        evaluator.eval_str(text, b"/").unwrap();
        let stacks = evaluator.profile();
        let total: u64 = stacks.iter().map(|(_, time)| time).sum();
        let within = |name: &str| -> u64 {
            let has = |stack: &[String]| stack.iter().any(|call| call.starts_with(name));
            stacks.iter().filter(|(stack, _)| has(stack)).map(|(_, time)| time).sum()
        };
        assert!(within("evaluation") == total && total > 0);
        assert!(within("busy") * 10 > total * 8, "{stacks:?}");
        assert!(within("busy") <= within("outer"));
        assert!(within("builtins.foldl'") * 10 > total * 8, "{stacks:?}");
        let depth = stacks.iter().map(|(stack, _)| stack.len()).max();
        // evaluation, outer, busy, foldl', genList's function or the operator: tail calls do not pile up.
        assert!(depth <= Some(7), "{stacks:?}");
        assert!(evaluator.profile().is_empty());
    }

    #[test]
    fn tail_calls_do_not_pile_up() {
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
        evaluator.start_profile();
        let text =
            "let f = n: if n == 0 then 0 else g (n - 1); g = n: f n; in map f (builtins.genList (n: n) 50)";
        let value = evaluator.eval_str(text, b"/").unwrap();
        evaluator.force_deep_value(value).unwrap();
        assert!(evaluator.profile().iter().all(|(stack, _)| stack.len() <= 120));
    }
}
