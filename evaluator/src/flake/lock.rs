//! Computing a lock file: what is locked already and still asked for stays as it is; the rest is fetched. Nix manual,
//! `nix flake`, "Lock files" and "Flake inputs".

use super::read::Place;
use super::{Flake, FlakeInput, FlakeInputs, LockedFlake, Trees, Unused};
use crate::error::{Eval, What};
use crate::evaluator::Evaluator;
use crate::io::TreeInput;
use crate::position::Pos;
use formats::flake::lock::print_input_path;
use formats::flake::{Attribute, Edge, FlakeRef, Input, InputPath, LockFile, Locked, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How a flake is locked.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of Nix's of its own")]
pub struct LockFlags {
    /// Whether names are looked up in registries.
    pub registries: bool,
    /// Whether inputs that are not locked may be fetched.
    pub allow_unlocked: bool,
    /// Whether the old lock file counts for nothing.
    pub recreate: bool,
    /// Whether lock files may have inputs that were not committed.
    pub allow_dirty_locks: bool,
    /// The text of the lock file to start from, and its name, instead of the flake's own.
    pub reference_lock: Option<(String, String)>,
    /// What inputs are to be, by their paths.
    pub overrides: BTreeMap<InputPath, FlakeRef>,
    /// Inputs to look for anew.
    pub updates: BTreeSet<InputPath>,
}

/// What an input is to be, says somebody above it.
#[derive(Debug, Clone)]
struct Override {
    input: FlakeInput,
    /// Where relative paths begin: the flake that says so.
    directory: String,
    /// The path of that flake; of the command line there is none.
    parent: Option<InputPath>,
}

/// A node of a lock file that was there before.
type Old = Option<(Rc<LockFile>, usize)>;

/// A tree that was fetched.
#[derive(Debug, Clone)]
struct Fetched {
    resolved: FlakeRef,
    locked: FlakeRef,
    /// The object in the store.
    path: String,
}

struct Locking<'e, 'f, 'a> {
    e: &'e mut Evaluator<'a>,
    flags: &'f LockFlags,
    fetched: BTreeMap<FlakeRef, Fetched>,
    overrides: BTreeMap<InputPath, Override>,
    /// Overrides and updates of the command line that met no input yet.
    unused_overrides: Unused,
    unused_updates: Unused,
    lock: LockFile,
    trees: Trees,
    /// The flakes around the one that is being locked.
    parents: Vec<FlakeRef>,
}

/// A flake whose inputs are locked.
struct At<'p> {
    /// Its node in the new lock file.
    node: usize,
    path: &'p InputPath,
    old: Old,
    /// Where what the old node's inputs follow begins.
    follows: &'p InputPath,
    /// Its directory in the store.
    directory: &'p str,
    /// Whether its inputs are those that the lock file says.
    from_lock: bool,
}

impl<'a> Evaluator<'a> {
    pub(super) fn fetched_flake(&mut self, reference: &FlakeRef, registries: bool) -> Eval<'a, Flake> {
        let flags = LockFlags { registries, ..LockFlags::default() };
        Locking::new(self, &flags).top(reference)
    }

    pub(super) fn locked_flake(&mut self, reference: &FlakeRef, flags: &LockFlags) -> Eval<'a, LockedFlake> {
        let mut locking = Locking::new(self, flags);
        let flake = locking.top(reference)?;
        let shown = flake.locked.to_string();
        locking.run(flake).map_err(|error| {
            let text = format!("while updating the lock file of flake '{shown}'");
            error.within(self.arena, What::Context(self.arena.alloc_str(&text)), Pos::NONE)
        })
    }

    /// The lock file of a directory; an empty one if there is none.
    fn lock_file_of(&mut self, directory: &str, allow_dirty: bool) -> Eval<'a, LockFile> {
        let file = format!("{directory}/flake.lock");
        let path = crate::paths::canonical(file.as_bytes());
        let found = self.io.file_type(&path).map_err(|error| self.io_error(&error, Pos::NONE))?;
        if found.is_none() {
            return Ok(LockFile::default());
        }
        let text = self.read_file(&path, Pos::NONE)?;
        let lock = LockFile::parse(&String::from_utf8_lossy(&text), &file, allow_dirty);
        self.sound(lock, Pos::NONE)
    }
}

impl<'e, 'f, 'a> Locking<'e, 'f, 'a> {
    fn new(e: &'e mut Evaluator<'a>, flags: &'f LockFlags) -> Self {
        Self {
            e,
            flags,
            fetched: BTreeMap::new(),
            overrides: BTreeMap::new(),
            unused_overrides: flags.overrides.keys().cloned().collect(),
            unused_updates: flags.updates.clone(),
            lock: LockFile::default(),
            trees: Trees::new(),
            parents: Vec::new(),
        }
    }

    /// The flake at the top, whose name may be one of the user's own.
    fn top(&mut self, reference: &FlakeRef) -> Eval<'a, Flake> {
        self.flake(reference, &InputPath::new(), true)
    }

    fn run(mut self, flake: Flake) -> Eval<'a, LockedFlake> {
        let allow_dirty = self.flags.allow_dirty_locks;
        let old_lock = match &self.flags.reference_lock {
            Some((text, name)) => self.e.sound(LockFile::parse(text, name, allow_dirty), Pos::NONE)?,
            None => self.e.lock_file_of(&flake.directory, allow_dirty)?,
        };
        for (path, reference) in &self.flags.overrides {
            let input = FlakeInput { reference: Some(reference.clone()), ..FlakeInput::default() };
            let entry = Override { input, directory: flake.directory.clone(), parent: None };
            self.overrides.insert(path.clone(), entry);
        }
        self.trees.insert(0, flake.directory.clone());
        let root = InputPath::new();
        let at = At {
            node: 0,
            path: &root,
            old: (!self.flags.recreate).then(|| (Rc::new(old_lock.clone()), 0)),
            follows: &root,
            directory: &flake.directory,
            from_lock: false,
        };
        self.inputs(&flake.inputs, &at)?;
        for path in &self.unused_overrides {
            let reference = self.flags.overrides.get(path).map(ToString::to_string).unwrap_or_default();
            self.e.io.message(&format!(
                "warning: the flag '--override-input {} {reference}' does not match any input",
                print_input_path(path)
            ));
        }
        for path in &self.unused_updates {
            let path = print_input_path(path);
            self.e.io.message(&format!("warning: '{path}' does not match any input of this flake"));
        }
        self.e.sound(self.lock.check(), Pos::NONE)?;
        Ok(LockedFlake { flake, old_lock, lock: self.lock, is_dirty: false, trees: self.trees })
    }

    /// Fetches a tree. Names of inputs are looked up in what is the same for everybody.
    fn tree(&mut self, reference: &FlakeRef, is_top: bool) -> Eval<'a, Fetched> {
        if let Some(known) = self.fetched.get(reference) {
            return Ok(known.clone());
        }
        let mut resolved = reference.clone();
        if !reference.input.is_direct() {
            if !self.flags.registries {
                let message = format!(
                    "'{reference}' is an indirect flake reference, but registry lookups are not allowed"
                );
                return self.e.flake_error(&message, Pos::NONE);
            }
            let found = self.e.io.look_up_flake(reference, is_top);
            resolved = found.map_err(|error| self.e.io_error(&error, Pos::NONE))?;
        }
        let known = self.fetched.get(&resolved).cloned();
        let fetched = match known {
            Some(known) => known,
            None => self.fetch(&resolved)?,
        };
        self.fetched.insert(resolved, fetched.clone());
        self.fetched.insert(reference.clone(), fetched.clone());
        Ok(fetched)
    }

    fn fetch(&mut self, reference: &FlakeRef) -> Eval<'a, Fetched> {
        let io = Rc::clone(&self.e.io);
        let kind = reference.input.kind().to_owned();
        let fetched = io.fetch_tree(&TreeInput::of(&reference.input, false)).map_err(|error| {
            let text = format!("while fetching the input '{}'", reference.input);
            let context = What::Context(self.e.arena.alloc_str(&text));
            self.e.io_error(&error, Pos::NONE).within(self.e.arena, context, Pos::NONE)
        })?;
        let mut attributes = fetched.attributes;
        attributes.insert("type".to_owned(), Attribute::Text(kind));
        let input = self.e.sound(Input::from_attributes(attributes), Pos::NONE)?;
        let locked = FlakeRef { input, subdir: reference.subdir.clone() };
        let path = format!("{}/{}", io.store_dir(), fetched.path.base_name());
        Ok(Fetched { resolved: reference.clone(), locked, path })
    }

    /// Fetches and reads a flake.
    fn flake(&mut self, reference: &FlakeRef, path: &InputPath, is_top: bool) -> Eval<'a, Flake> {
        let fetched = self.tree(reference, is_top)?;
        let flake = self.read(reference, &fetched, path)?;
        // A flake may say that it wants more of its own tree.
        let mut wanted = fetched.resolved.clone();
        for (name, value) in &flake.of_self {
            wanted.input.set(name, value.clone());
        }
        if wanted == fetched.resolved {
            return Ok(flake);
        }
        let wanted = FlakeRef::from_attributes(wanted.to_attributes());
        let wanted = self.e.sound(wanted, Pos::NONE)?;
        let fetched = self.tree(&wanted, is_top)?;
        self.fetched.insert(reference.clone(), fetched.clone());
        self.read(reference, &fetched, path)
    }

    fn read(&mut self, reference: &FlakeRef, fetched: &Fetched, path: &InputPath) -> Eval<'a, Flake> {
        let directory = below(&fetched.path, &fetched.locked.subdir);
        let references = [reference, &fetched.resolved, &fetched.locked];
        self.e.read_flake(Place { references, directory: &directory, path })
    }

    /// Locks the inputs of a flake.
    fn inputs(&mut self, inputs: &FlakeInputs, at: &At<'_>) -> Eval<'a, ()> {
        for (name, input) in inputs {
            let mut path = at.path.clone();
            path.push(name.clone());
            self.add_overrides(input, &path, at);
        }
        for path in self.overrides.keys() {
            if let Some((name, prefix)) = path.split_last()
                && prefix == at.path.as_slice()
                && !inputs.contains_key(name)
                && !(prefix.is_empty() && self.flags.overrides.contains_key(path))
            {
                let at = print_input_path(prefix);
                self.e.io.message(&format!(
                    "warning: input '{at}' has an override for a non-existent input '{name}'"
                ));
            }
        }
        for (name, input) in inputs {
            let mut path = at.path.clone();
            path.push(name.clone());
            let edge = self.input(input, &path, at).map_err(|error| {
                let text = format!("while updating the flake input '{}'", print_input_path(&path));
                error.within(self.e.arena, What::Context(self.e.arena.alloc_str(&text)), Pos::NONE)
            })?;
            if let Some(node) = self.lock.nodes.get_mut(at.node) {
                node.inputs.insert(name.clone(), edge);
            }
        }
        Ok(())
    }

    /// What a flake says of the inputs of an input. Who is further out has said it before.
    fn add_overrides(&mut self, input: &FlakeInput, path: &InputPath, at: &At<'_>) {
        for (name, inner) in &input.overrides {
            let mut path = path.clone();
            path.push(name.clone());
            self.add_overrides(inner, &path, at);
            if inner.reference.is_some() || inner.follows.is_some() {
                self.overrides.entry(path).or_insert_with(|| Override {
                    input: inner.clone(),
                    directory: at.directory.to_owned(),
                    parent: Some(at.path.clone()),
                });
            }
        }
    }

    /// Locks one input.
    fn input(&mut self, own: &FlakeInput, path: &InputPath, at: &At<'_>) -> Eval<'a, Edge> {
        let is_cli = self.flags.overrides.contains_key(path);
        self.unused_overrides.remove(path);
        self.unused_updates.remove(path);
        let over = self.overrides.get(path).cloned();
        let input = over.as_ref().map_or(own, |over| &over.input);
        if let Some(target) = &input.follows {
            return Ok(Edge::Follows(target.clone()));
        }
        let Some(reference) = &input.reference else {
            let message =
                format!("input '{}' has neither a URL nor anything to follow", print_input_path(path));
            return self.e.flake_error(&message, Pos::NONE);
        };
        let directory = over.as_ref().map_or(at.directory, |over| &over.directory);
        let relative = reference.input.relative_path();
        let parent = match (relative, &over) {
            (None, _) => None,
            (Some(_), None) => Some(at.path.clone()),
            (Some(_), Some(over)) => over.parent.clone(),
        };
        let place = relative.map(|relative| formats::flake::reference::absolute(relative, directory));
        if let Some(place) = &place {
            // A flake's tree is all that it can see.
            let (tree, _) = self.e.split_store_path(directory);
            if self.e.options.pure && *place != tree && !place.starts_with(&format!("{tree}/")) {
                let message = format!(
                    "access to absolute path '{place}' is forbidden in pure evaluation mode (use '--impure' to override)"
                );
                return self.e.flake_error(&message, Pos::NONE);
            }
        }
        let wanted = Wanted {
            reference,
            place,
            parent,
            // An input stays a flake, or none, whatever it is overridden with.
            is_flake: !own.is_tree,
            // What is overridden by the command line stays so until the flake itself changes.
            original: own.reference.as_ref().filter(|_| is_cli).unwrap_or(reference),
        };
        let old = at.old.as_ref().filter(|_| !self.flags.updates.contains(path)).and_then(|(lock, index)| {
            let name = path.last()?;
            match lock.nodes.get(*index)?.inputs.get(name)? {
                Edge::Node(index) => Some((Rc::clone(lock), *index)),
                Edge::Follows(_) => None,
            }
        });
        if let Some((lock, index)) = &old
            && let Some(locked) = lock.nodes.get(*index).and_then(|node| node.locked.clone())
            && !is_cli
            && locked.original == *reference
            && locked.parent == wanted.parent
        {
            return self.kept(&locked, &wanted, (lock, *index), path, at);
        }
        self.renewed(&wanted, old, path, at)
    }

    fn push(&mut self, locked: Locked) -> usize {
        self.lock.nodes.push(Node { locked: Some(locked), ..Node::default() });
        self.lock.nodes.len() - 1
    }

    /// An input that is locked already: taken over, with what is below it.
    fn kept(
        &mut self,
        locked: &Locked,
        wanted: &Wanted<'_>,
        (lock, index): (&Rc<LockFile>, usize),
        path: &InputPath,
        at: &At<'_>,
    ) -> Eval<'a, Edge> {
        let node = self.push(locked.clone());
        let mut known = FlakeInputs::new();
        // Something below it is to be updated.
        let mut must_fetch =
            self.flags.updates.iter().any(|update| update.len() > path.len() && update.starts_with(path));
        for (name, edge) in lock.nodes.get(index).into_iter().flat_map(|node| &node.inputs) {
            let input = match edge {
                Edge::Node(child) => {
                    let Some(child) = lock.nodes.get(*child).and_then(|node| node.locked.as_ref()) else {
                        continue;
                    };
                    FlakeInput {
                        reference: Some(child.original.clone()),
                        is_tree: !child.is_flake,
                        ..FlakeInput::default()
                    }
                }
                Edge::Follows(target) => {
                    let mut inner = path.clone();
                    inner.push(name.clone());
                    // The flake that said so may have changed its mind; then what it really has must be seen.
                    must_fetch |= !at.from_lock && !self.overrides.contains_key(&inner);
                    let follows = at.follows.iter().chain(target).cloned().collect();
                    FlakeInput { follows: Some(follows), ..FlakeInput::default() }
                }
            };
            known.insert(name.clone(), input);
        }
        let old = Some((Rc::clone(lock), index));
        let mut below = At { node, path, old, follows: at.follows, directory: at.directory, from_lock: true };
        if !must_fetch || !locked.is_flake {
            self.inputs(&known, &below)?;
            return Ok(Edge::Node(node));
        }
        let flake = self.input_flake(&locked.locked, wanted, path)?;
        self.trees.insert(node, flake.directory.clone());
        below.directory = &flake.directory;
        below.from_lock = false;
        self.inputs(&flake.inputs, &below)?;
        Ok(Edge::Node(node))
    }

    /// The flake that an input is: fetched, or a directory of the flake that names it.
    fn input_flake(
        &mut self,
        reference: &FlakeRef,
        wanted: &Wanted<'_>,
        path: &InputPath,
    ) -> Eval<'a, Flake> {
        match &wanted.place {
            Some(place) => {
                let directory = below(place, &reference.subdir);
                let references = [reference, reference, reference];
                self.e.read_flake(Place { references, directory: &directory, path })
            }
            None => self.flake(reference, path, false),
        }
    }

    /// An input that is new, or is not what it was.
    fn renewed(&mut self, wanted: &Wanted<'_>, old: Old, path: &InputPath, at: &At<'_>) -> Eval<'a, Edge> {
        let reference = wanted.reference;
        if !self.flags.allow_unlocked && !reference.input.is_locked() && wanted.place.is_none() {
            let message =
                format!("cannot update unlocked flake input '{}' in pure mode", print_input_path(path));
            return self.e.flake_error(&message, Pos::NONE);
        }
        let mut locked = Locked {
            locked: reference.clone(),
            original: wanted.original.clone(),
            is_flake: wanted.is_flake,
            parent: wanted.parent.clone(),
        };
        if !wanted.is_flake {
            let directory = if let Some(place) = &wanted.place {
                place.clone()
            } else {
                let fetched = self.tree(reference, false)?;
                locked.locked = fetched.locked;
                fetched.path
            };
            let node = self.push(locked);
            self.trees.insert(node, directory);
            return Ok(Edge::Node(node));
        }
        let flake = self.input_flake(reference, wanted, path)?;
        locked.locked = flake.locked.clone();
        let node = self.push(locked);
        if self.parents.contains(reference) {
            let message = format!("found circular import of flake '{reference}'");
            return self.e.flake_error(&message, Pos::NONE);
        }
        self.trees.insert(node, flake.directory.clone());
        let (old, follows) = if let Some(old) = old {
            (Some(old), at.follows)
        } else {
            let lock = self.e.lock_file_of(&flake.directory, self.flags.allow_dirty_locks)?;
            (Some((Rc::new(lock), 0)), path)
        };
        self.parents.push(reference.clone());
        let below = At { node, path, old, follows, directory: &flake.directory, from_lock: false };
        let done = self.inputs(&flake.inputs, &below);
        self.parents.pop();
        done.map(|()| Edge::Node(node))
    }
}

/// What an input should be.
struct Wanted<'w> {
    reference: &'w FlakeRef,
    /// The directory of a relative path.
    place: Option<String>,
    parent: Option<InputPath>,
    is_flake: bool,
    original: &'w FlakeRef,
}

fn below(directory: &str, name: &str) -> String {
    if name.is_empty() { directory.to_owned() } else { format!("{directory}/{name}") }
}
