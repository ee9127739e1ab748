//! Calling a flake: its lock file becomes the values of its inputs (`call.nix`), its outputs the value. And
//! `builtins.getFlake`, which locks and calls.

use super::{Flake, LockFlags, LockedFlake};
use crate::api::{Handle, Result};
use crate::builtins::fetching::FETCH_LOCKED;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::io::TreeInput;
use crate::position::{Origin, Pos};
use crate::value::Value;
use formats::flake::{FlakeRef, lock};

/// The code that turns a lock file into values.
const CALL: &str = include_str!("call.nix");

impl<'a> Evaluator<'a> {
    /// The value of a locked flake: its outputs, with what is known of it.
    pub fn call_flake(&mut self, locked: &LockedFlake) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.called_flake(locked);
        self.outward(result.map(Handle))
    }

    /// Fetches and reads a flake, without its inputs. Without `registries` a name is an error.
    pub fn fetch_flake(&mut self, reference: &FlakeRef, registries: bool) -> Result<Flake> {
        self.measure_stack();
        let result = self.fetched_flake(reference, registries);
        self.outward(result)
    }

    /// The tree of a flake as it is now: a path of the store. The error is a sentence.
    pub fn flake_tree(&self, flake: &str) -> std::result::Result<Vec<u8>, String> {
        let reference = FlakeRef::parse(flake, true, false).map_err(|error| error.to_string())?;
        let found = self.io.look_up_flake(&reference, true).map_err(|error| error.to_string())?;
        let tree = self.io.fetch_tree(&TreeInput::of(&found.input, false));
        let tree = tree.map_err(|error| error.to_string())?;
        Ok(format!("{}/{}", self.io.store_dir(), tree.path.base_name()).into_bytes())
    }

    /// Fetches the trees that a flake needs and computes its lock file; writes nothing.
    pub fn lock_flake(&mut self, reference: &FlakeRef, flags: &LockFlags) -> Result<LockedFlake> {
        self.measure_stack();
        let result = self.locked_flake(reference, flags);
        self.outward(result)
    }

    fn called_flake(&mut self, locked: &LockedFlake) -> Eval<'a, Value<'a>> {
        let (_, names) = locked.lock.to_json();
        let mut fetched = Vec::new();
        for (node, directory) in &locked.trees {
            let Some(name) = names.get(node) else { continue };
            let known = locked.lock.nodes.get(*node).and_then(|node| node.locked.as_ref());
            let reference = known.map_or(&locked.flake.locked, |known| &known.locked);
            let (tree, subdir) = self.split_store_path(directory);
            let mut attributes = reference.input.attributes().clone();
            if *node == 0 && locked.is_dirty {
                attributes.remove("rev");
                attributes.remove("revCount");
            }
            let source = self.tree_value(&tree, reference.input.kind(), attributes);
            let dir = self.make_string(subdir.as_bytes());
            let entry =
                self.make_attrs(&[("sourceInfo".to_owned(), Handle(source)), ("dir".to_owned(), dir)]);
            fetched.push((name.clone(), entry));
        }
        let fetched = self.make_attrs(&fetched);
        let call = self.eval_text(CALL.as_bytes(), Origin::Internal("call-flake.nix"), b"/")?;
        let text = self.make_string(locked.lock.to_text().as_bytes());
        self.call_values(call, &[text.0, fetched.0, Value::Builtin(&FETCH_LOCKED)], Pos::NONE)
    }

    /// A directory in the store as the object and the way in it.
    pub(super) fn split_store_path(&self, directory: &str) -> (String, String) {
        let store = self.io.store_dir();
        let rest = directory.strip_prefix(store).and_then(|rest| rest.strip_prefix('/'));
        let Some(rest) = rest else { return (directory.to_owned(), String::new()) };
        let (object, subdir) = rest.split_once('/').unwrap_or((rest, ""));
        (format!("{store}/{object}"), subdir.to_owned())
    }

    /// `builtins.getFlake`.
    pub(crate) fn get_flake(&mut self, argument: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
        let text = String::from_utf8_lossy(self.expect_plain(argument, pos)?).into_owned();
        let reference = FlakeRef::parse(&text, true, false);
        let reference = self.sound(reference, pos)?;
        if self.options.pure && !reference.input.is_locked() {
            let message = format!(
                "cannot call 'getFlake' on unlocked flake reference '{text}' (use --impure to override)"
            );
            return self.fail(ErrorKind::Restricted, pos, &message);
        }
        let flags = LockFlags {
            registries: !self.options.pure,
            allow_unlocked: !self.options.pure,
            ..LockFlags::default()
        };
        let mut locked = self.locked_flake(&reference, &flags)?;
        if locked.lock != locked.old_lock {
            let changes = lock::diff(&locked.old_lock, &locked.lock);
            self.io.message(&format!(
                "warning: not writing modified lock file of flake '{reference}':\n{}",
                changes.trim_end()
            ));
            locked.is_dirty = true;
        }
        self.called_flake(&locked)
    }
}
