//! The sentences of the evaluator's errors. All of it is cold code.

use crate::attrs::Attrs;
use crate::code::{FormalsCode, LambdaCode};
use crate::error::{Error, ErrorKind, What};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::suggest::closest;
use crate::symbol::Symbol;
use crate::value::{Slot, Value};

impl<'a> Evaluator<'a> {
    #[cold]
    pub(crate) fn wrong_type(&self, found: Value<'a>, wanted: &str, pos: Pos) -> Error<'a> {
        if let Value::Failed(error) = found {
            return error;
        }
        let message =
            format!("expected {wanted} but found {}: {}", found.describe_type(), self.show_short(found));
        Error::new(self.arena, ErrorKind::Type, pos, &message)
    }

    #[cold]
    pub(crate) fn not_a_function(&self, found: Value<'a>, pos: Pos) -> Error<'a> {
        let message = format!(
            "attempt to call something which is not a function but {}: {}",
            found.describe_type(),
            self.show_short(found)
        );
        Error::new(self.arena, ErrorKind::Type, pos, &message)
    }

    #[cold]
    pub(crate) fn undefined_variable(&self, name: Symbol, pos: Pos, searched: &[&'a Attrs<'a>]) -> Error<'a> {
        let message = format!("undefined variable '{}'", self.symbols.show(name));
        let error = Error::new(self.arena, ErrorKind::UndefinedVariable, pos, &message);
        let known = searched.iter().flat_map(|attrs| attrs.iter()).map(|attr| self.symbols.text(attr.name));
        match closest(self.symbols.text(name), known) {
            Some(hint) => error.hint(self.arena, &hint),
            None => error,
        }
    }

    #[cold]
    pub(crate) fn missing_attribute(&self, attrs: &'a Attrs<'a>, name: Symbol, pos: Pos) -> Error<'a> {
        let message = format!("attribute '{}' missing", self.symbols.show(name));
        let error = Error::new(self.arena, ErrorKind::MissingAttribute, pos, &message);
        let known = attrs.iter().map(|attr| self.symbols.text(attr.name));
        let hint = closest(self.symbols.text(name), known).or_else(|| {
            let names: Vec<String> =
                self.by_name(attrs).iter().take(12).map(|attr| self.symbols.show(attr.name)).collect();
            let more =
                if attrs.len() > 12 { format!(" and {} more", attrs.len() - 12) } else { String::new() };
            if names.is_empty() {
                return Some("the set is empty".to_owned());
            }
            Some(format!("the set has {}{more}", names.join(", ")))
        });
        match hint {
            Some(hint) => error.hint(self.arena, &hint),
            None => error,
        }
    }

    fn function_name(&self, lambda: &LambdaCode<'a>) -> String {
        lambda.name.map_or_else(|| "anonymous lambda".to_owned(), |name| self.symbols.show(name))
    }

    #[cold]
    pub(crate) fn missing_argument(&self, lambda: &'a LambdaCode<'a>, name: Symbol, pos: Pos) -> Error<'a> {
        let message = format!(
            "function '{}' called without required argument '{}'",
            self.function_name(lambda),
            self.symbols.show(name)
        );
        let error = Error::new(self.arena, ErrorKind::Type, pos, &message);
        let place = format!("the function is defined at {}", self.show_position(lambda.pos));
        error.hint(self.arena, &place)
    }

    #[cold]
    pub(crate) fn unexpected_argument(
        &self,
        lambda: &'a LambdaCode<'a>,
        formals: &'a FormalsCode<'a>,
        attrs: &'a Attrs<'a>,
        pos: Pos,
    ) -> Error<'a> {
        let extra =
            attrs.iter().find(|attr| formals.list.binary_search_by_key(&attr.name, |f| f.name).is_err());
        let Some(extra) = extra else {
            return Error::new(self.arena, ErrorKind::Type, pos, "function called with unexpected argument");
        };
        let message = format!(
            "function '{}' called with unexpected argument '{}'",
            self.function_name(lambda),
            self.symbols.show(extra.name)
        );
        let error = Error::new(self.arena, ErrorKind::Type, pos, &message);
        let known = formals.list.iter().map(|formal| self.symbols.text(formal.name));
        let place = format!("the function is defined at {}", self.show_position(lambda.pos));
        let hint = match closest(self.symbols.text(extra.name), known) {
            Some(hint) => format!("{hint} ({place})"),
            None => place,
        };
        error.hint(self.arena, &hint)
    }

    #[cold]
    pub(crate) fn infinite_recursion(&mut self, slot: &'a Slot<'a>) -> Error<'a> {
        self.cycle = Some(slot);
        Error::new(self.arena, ErrorKind::InfiniteRecursion, Pos::NONE, "infinite recursion encountered")
            .within(self.arena, What::Cycle, Pos::NONE)
    }

    /// Notes the bindings on the way from a value that needs itself, and where the way closes.
    #[cold]
    pub(crate) fn note_cycle(&mut self, slot: &'a Slot<'a>, thunk: Value<'a>, error: Error<'a>) -> Error<'a> {
        let Some(cycle) = self.cycle.filter(|_| error.kind() == ErrorKind::InfiniteRecursion) else {
            return error;
        };
        let place = match thunk {
            Value::Thunk(number, _) => self.code_places.get(number as usize).copied().unwrap_or_default(),
            _ => Pos::NONE,
        };
        let error = if place == Pos::NONE { error } else { error.within(self.arena, What::Needs, place) };
        if std::ptr::eq(cycle, slot) {
            self.cycle = None;
            return error.within(self.arena, What::Cycle, Pos::NONE);
        }
        error
    }
}
