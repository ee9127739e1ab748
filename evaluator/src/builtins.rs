//! The builtins: their table, and what several of them share. Nix manual, "Built-in functions".

mod attrsets;
mod contexts;
mod control;
mod derivation;
pub(crate) mod fetching;
mod files;
mod flake_ref;
mod from_toml;
mod hashing;
mod json;
mod lists;
mod numbers;
mod strings;
mod versions;
mod xml;

pub(crate) use contexts::show_element;
pub(crate) use derivation::DerivationCache;

use crate::attrs::Attrs;
use crate::error::Eval;
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::{Slot, Value};

/// A builtin's body. Arguments whose bit is set in `strict` are evaluated, the others may be copied.
pub(crate) type Body = for<'a, 'b> fn(&'b mut Evaluator<'a>, &'b [Value<'a>], Pos) -> Eval<'a, Value<'a>>;

/// A builtin function.
pub(crate) struct Builtin {
    /// Its name as a global: with `__` unless it is one of the few without.
    pub(crate) name: &'static str,
    pub(crate) arity: u8,
    pub(crate) strict: u8,
    pub(crate) function: Body,
    /// The names of its arguments and what it does, for `:doc`, which adds a page of `documentation/pages.txt`.
    pub(crate) doc: &'static str,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

impl Builtin {
    /// In `strict`: all arguments are evaluated before Nix looks at what the first one is.
    pub(crate) const UNCHECKED: u8 = 1 << 6;
    /// In `strict`: Nix evaluates and checks the last argument first.
    pub(crate) const BACKWARDS: u8 = 1 << 7;

    /// The name in `builtins`.
    pub(crate) fn shown_name(&self) -> &'static str {
        self.name.strip_prefix("__").unwrap_or(self.name)
    }
}

const fn builtin(name: &'static str, arity: u8, strict: u8, function: Body, doc: &'static str) -> Builtin {
    Builtin { name, arity, strict, function, doc }
}

/// The text of the Nix-language part: `derivation` stays lazy.
const DERIVATION: &str = include_str!("builtins/derivation.nix");

/// The tables of all families.
fn tables() -> [&'static [Builtin]; 13] {
    [
        attrsets::TABLE,
        contexts::TABLE,
        control::TABLE,
        derivation::TABLE,
        fetching::TABLE,
        files::TABLE,
        flake_ref::TABLE,
        hashing::TABLE,
        json::TABLE,
        lists::TABLE,
        numbers::TABLE,
        strings::TABLE,
        versions::TABLE,
    ]
}

/// What `builtins.currentTime` waits for.
static CURRENT_TIME: Builtin = builtin(
    "__currentTime",
    1,
    0,
    |e, _, _| Ok(Value::Int(e.io.now())),
    "the time when it is first asked for",
);

/// What the attributes `line` and `column` of a position are until they are asked for.
pub(crate) static LINE: Builtin = builtin(
    "__line",
    1,
    1,
    |e, args, _| Ok(coordinate(e, args, |location| location.line)),
    "a position's line",
);
pub(crate) static COLUMN: Builtin =
    builtin("__column", 1, 1, |e, args, _| Ok(coordinate(e, args, |location| location.column)), "its column");

fn coordinate<'a>(
    e: &mut Evaluator<'a>,
    args: &[Value<'a>],
    which: impl Fn(crate::position::Location) -> u32,
) -> Value<'a> {
    let Value::Int(offset) = args[0] else { return Value::Null };
    let location = e.location(Pos(offset as u32));
    location.map_or(Value::Null, |location| Value::Int(i64::from(which(location))))
}

/// The names of all builtin functions.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    tables().into_iter().flatten().chain(from_toml::TABLE).chain(xml::TABLE).map(Builtin::shown_name)
}

/// The value of the version that `builtins.nixVersion` claims.
pub(crate) const NIX_VERSION: &str = "2.34.8";

impl<'a> Evaluator<'a> {
    /// Fills the global scope.
    pub(crate) fn define_globals(&mut self) {
        let mut members: Vec<(crate::symbol::Symbol, Pos, Value<'a>)> = Vec::new();
        let mut define = |evaluator: &mut Self, name: &str, value: Value<'a>| {
            let global = evaluator.symbols.intern(name.as_bytes());
            evaluator.globals.insert(global, value);
            let member = evaluator.symbols.intern(name.strip_prefix("__").unwrap_or(name).as_bytes());
            members.push((member, Pos::NONE, value));
        };
        for builtin in tables().into_iter().flatten().chain(from_toml::TABLE).chain(xml::TABLE) {
            define(self, builtin.name, Value::Builtin(builtin));
        }
        if ["flakes", "fetch-tree"].iter().any(|feature| self.options.features.contains(*feature)) {
            define(self, fetching::FETCH_TREE.name, Value::Builtin(&fetching::FETCH_TREE));
        }
        define(self, "true", Value::Bool(true));
        define(self, "false", Value::Bool(false));
        define(self, "null", Value::Null);
        define(self, "__langVersion", Value::Int(6));
        let version = self.new_string(NIX_VERSION.as_bytes());
        define(self, "__nixVersion", version);
        let store_dir = self.new_string(self.io.store_dir().to_owned().as_bytes());
        define(self, "__storeDir", store_dir);
        if !self.options.pure {
            // Asked for when it is needed: an evaluation that never looks at the clock has the same answer later.
            let now = self.apply_later(Value::Builtin(&CURRENT_TIME), &[Value::Null]);
            define(self, "__currentTime", Value::Ref(Slot::alone(self.arena, now)));
            let system = self.new_string(self.options.system.clone().as_bytes());
            define(self, "__currentSystem", system);
        }
        let nix_path = self.nix_path_value();
        define(self, "__nixPath", nix_path);
        let slot = Slot::alone(self.arena, Value::Null);
        define(self, "derivation", Value::Ref(slot));
        let own = Slot::alone(self.arena, Value::Null);
        define(self, "builtins", Value::Ref(own));
        own.set(self.arena, Value::Attrs(Attrs::from_unsorted(&self.shapes, &mut members)));
        let origin = crate::position::Origin::Internal("derivation.nix");
        match self
            .compile(DERIVATION.as_bytes(), origin, b"/", None)
            .and_then(|code| self.eval(code, self.root))
        {
            Ok(value) => slot.set(self.arena, value),
            Err(error) => slot.set(self.arena, Value::Failed(error)),
        }
    }

    fn nix_path_value(&mut self) -> Value<'a> {
        use crate::symbol::Known;
        let entries = self.options.search_path.clone();
        let mut list = Vec::new();
        for (prefix, path) in entries {
            let mut attrs = [
                (Known::PATH, Pos::NONE, self.new_string(&path)),
                (Known::PREFIX, Pos::NONE, self.new_string(&prefix)),
            ];
            list.push(Value::Attrs(Attrs::from_unsorted(&self.shapes, &mut attrs)));
        }
        self.new_list(&list)
    }

    /// A required attribute of a builtin's argument.
    pub(crate) fn required(
        &mut self,
        attrs: &'a Attrs<'a>,
        name: crate::symbol::Symbol,
        pos: Pos,
    ) -> Eval<'a, &'a Slot<'a>> {
        match attrs.get(name) {
            Some(slot) => Ok(slot),
            None => Err(self.missing_attribute(attrs, name, pos)),
        }
    }
}
