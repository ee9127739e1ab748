//! The grammar that expressions are drawn from, read from `grammar.txt`: types without indentation, their rules below them.
//! In a rule `<type>` is a place for an expression of that type, `$1:type` makes up a name that is a variable of that type
//! in all of the rule's places, `$1` is that name again. `<!type>` never gets parentheses. `⏎` is a newline.

use crate::expression::Expression;
use crate::random::Random;
use std::collections::BTreeMap;

/// A part of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Source text.
    Text(String),
    /// A place for an expression of a type; whether it may stand in parentheses.
    Place(String, bool),
    /// A variable's name; its type where it is made up.
    Name(usize, Option<String>),
}

/// One way to write an expression of a type.
pub(crate) type Rule = Vec<Part>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Grammar {
    /// The rules of each type.
    pub(crate) rules: BTreeMap<String, Vec<Rule>>,
}

/// Names of variables; some of them want care.
const NAMES: &[&str] = &["a", "b", "c", "x", "y'", "_z", "foo-bar", "or1"];

impl Grammar {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix("  ") {
                Some(rule) => rules.entry(current.clone()).or_default().push(parse_rule(rule)),
                None => line.clone_into(&mut current),
            }
        }
        let grammar = Self { rules };
        for rule in grammar.rules.values().flatten() {
            for part in rule {
                if let Part::Place(name, _) | Part::Name(_, Some(name)) = part {
                    assert!(grammar.rules.contains_key(name), "grammar.txt: no type is named '{name}'");
                }
            }
        }
        grammar
    }

    /// The rules of a type that have no places.
    pub(crate) fn leaves(&self, kind: &str) -> Vec<String> {
        let text = |rule: &Rule| match rule.as_slice() {
            [Part::Text(text)] => Some(text.clone()),
            _ => None,
        };
        self.rules[kind].iter().filter_map(text).collect()
    }

    /// An expression of that type.
    pub(crate) fn expression(&self, kind: &str, depth: usize, random: &mut Random) -> Expression {
        Generator { grammar: self, random, scope: Vec::new() }.expression(kind, depth)
    }
}

struct Generator<'a> {
    grammar: &'a Grammar,
    random: &'a mut Random,
    /// The variables that can be used: name and type.
    scope: Vec<(String, String)>,
}

impl Generator<'_> {
    fn expression(&mut self, kind: &str, depth: usize) -> Expression {
        // Some places get what does not belong there.
        let kinds: Vec<&String> = self.grammar.rules.keys().filter(|kind| !kind.starts_with('.')).collect();
        let kind = if !kind.starts_with('.') && self.random.percent(3) {
            self.random.pick(&kinds).as_str()
        } else {
            kind
        };
        let variables: Vec<&String> = self
            .scope
            .iter()
            .filter(|(_, of)| of == kind || of == "any" || kind == "any")
            .map(|(name, _)| name)
            .collect();
        if !variables.is_empty()
            && !kind.starts_with('.')
            && self.random.percent(if depth == 0 { 60 } else { 25 })
        {
            let name = *self.random.pick(&variables);
            return Expression::leaf(name);
        }
        let rules = &self.grammar.rules[kind];
        let leaves: Vec<&Rule> = rules.iter().filter(|rule| is_leaf(rule)).collect();
        let inner: Vec<&Rule> = rules.iter().filter(|rule| !is_leaf(rule)).collect();
        let leaf = inner.is_empty() || !leaves.is_empty() && (depth == 0 || self.random.percent(15));
        let rule = *self.random.pick(if leaf { &leaves } else { &inner });
        self.fill(rule, depth.saturating_sub(1))
    }

    fn fill(&mut self, rule: &Rule, depth: usize) -> Expression {
        let outside = self.scope.len();
        let mut names = BTreeMap::new();
        for part in rule {
            if let Part::Name(number, kind) = part
                && !names.contains_key(number)
            {
                let mut name = (*self.random.pick(NAMES)).to_owned();
                while names.values().any(|taken| *taken == name) {
                    (*self.random.pick(NAMES)).clone_into(&mut name);
                }
                self.scope.extend(kind.clone().map(|kind| (name.clone(), kind)));
                names.insert(*number, name);
            }
        }
        let mut made = Expression { pieces: vec![String::new()], children: Vec::new(), wrapped: false };
        for part in rule {
            let last = made.pieces.last_mut().expect("there is always one");
            match part {
                Part::Text(text) => last.push_str(text),
                Part::Name(number, _) => last.push_str(&names[number]),
                Part::Place(kind, wrap) => {
                    let mut child = self.expression(kind, depth);
                    child.wrapped = *wrap && !child.children.is_empty() && self.random.percent(92);
                    made.children.push(child);
                    made.pieces.push(String::new());
                }
            }
        }
        self.scope.truncate(outside);
        made
    }
}

fn is_leaf(rule: &Rule) -> bool {
    rule.iter().all(|part| matches!(part, Part::Text(_)))
}

fn parse_rule(text: &str) -> Rule {
    let mut rule = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let found = match character {
            '<' => place(rest),
            '$' => name(rest),
            _ => None,
        };
        if let Some((part, length)) = found {
            if !plain.is_empty() {
                rule.push(Part::Text(std::mem::take(&mut plain)));
            }
            rule.push(part);
            rest = &rest[length..];
        } else {
            // A rule is a line: this stands for the end of another one.
            plain.push(if character == '⏎' { '\n' } else { character });
            rest = &rest[character.len_utf8()..];
        }
    }
    if !plain.is_empty() {
        rule.push(Part::Text(plain));
    }
    rule
}

fn place(text: &str) -> Option<(Part, usize)> {
    let end = text.find('>')?;
    let name = &text[1..end];
    let (name, wrap) = name.strip_prefix('!').map_or((name, true), |name| (name, false));
    let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    good.then(|| (Part::Place(name.to_owned(), wrap), end + 1))
}

fn name(text: &str) -> Option<(Part, usize)> {
    let number = text[1..].chars().next()?.to_digit(10)?;
    let Some(kind) = text[2..].strip_prefix(':') else { return Some((Part::Name(number as usize, None), 2)) };
    let end = kind.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(kind.len());
    if end == 0 {
        return Some((Part::Name(number as usize, None), 2));
    }
    Some((Part::Name(number as usize, Some(kind[..end].to_owned())), 3 + end))
}
