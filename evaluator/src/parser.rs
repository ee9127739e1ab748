//! The parser: recursive descent with operator precedences, straight from the lexer's tokens to the tree of
//! [`crate::ast`]. Grammar and desugarings are those of Nix's own `parser.y`.

mod attributes;
mod functions;
mod indentation;
mod operators;
mod strings;

use crate::ast::{CallNode, Expr, Kind, SelectNode};
use crate::lexer::{Lexeme, Lexer, Token};
use crate::position::Pos;
use crate::symbol::{Known, Symbol, Symbols};
use bumpalo::Bump;
use hashbrown::HashMap;

/// What is wrong with a text, and where.
#[derive(Debug, Clone)]
pub(crate) struct SyntaxError {
    pub(crate) pos: Pos,
    pub(crate) message: String,
    /// A second place that belongs to the message ("already defined here").
    pub(crate) other: Option<(Pos, &'static str)>,
    /// What may have been meant.
    pub(crate) hint: Option<String>,
}

pub(crate) type Parsed<T> = Result<T, Box<SyntaxError>>;

/// What the parser has to know about its surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'s> {
    /// The directory that relative paths start from; absolute.
    pub(crate) directory: &'s [u8],
    /// What `~/` stands for, if the home directory may be used.
    pub(crate) home: &'s dyn Fn() -> Option<Vec<u8>>,
    /// Whether `|>` and `<|` are allowed.
    pub(crate) pipes: bool,
}

/// How deeply expressions may nest before the parser refuses them.
const MAX_NESTING: u32 = 10_000;

/// The state of one parse.
pub(crate) struct Parser<'t, 's, 'y, 'a> {
    pub(super) tree: &'t Bump,
    pub(super) lexer: Lexer<'s>,
    pub(super) token: Lexeme,
    base: u32,
    pub(super) symbols: &'y mut Symbols<'a>,
    surroundings: Surroundings<'s>,
    /// Which attributes a set has, for sets too big to search.
    pub(super) index: HashMap<(u32, Symbol), u32>,
    pub(super) nodes: u32,
    nesting: u32,
    /// Where the selection read last ends, if it was the old `e or`.
    old_or: Option<usize>,
    /// The uses of `e or` that a future Nix will read differently: start and end.
    warnings: Vec<(Pos, Pos)>,
}

/// A parsed text and what its author should know about it.
#[derive(Debug)]
pub(crate) struct Outcome<'t> {
    pub(crate) expression: Expr<'t>,
    /// Start and end of each use of `e or` that a future Nix will read differently.
    pub(crate) old_or: Vec<(Pos, Pos)>,
}

/// Parses a whole text whose first byte has the position `base`.
pub(crate) fn parse<'t>(
    text: &[u8],
    base: u32,
    surroundings: Surroundings<'_>,
    symbols: &mut Symbols<'_>,
    tree: &'t Bump,
) -> Parsed<Outcome<'t>> {
    let mut parser = Parser {
        tree,
        lexer: Lexer::new(text),
        token: Lexeme::new(Token::End, 0, 0),
        base,
        symbols,
        surroundings,
        index: HashMap::new(),
        nodes: 0,
        nesting: 0,
        old_or: None,
        warnings: Vec::new(),
    };
    parser.advance();
    let expression = parser.expression()?;
    parser.expect(Token::End)?;
    Ok(Outcome { expression, old_or: parser.warnings })
}

impl<'t, 's> Parser<'t, 's, '_, '_> {
    pub(super) fn advance(&mut self) {
        self.token = self.lexer.next();
    }

    pub(super) fn pos(&self) -> Pos {
        self.pos_at(self.token.start())
    }

    pub(super) fn pos_at(&self, offset: usize) -> Pos {
        Pos(self.base + offset as u32)
    }

    pub(super) fn text_of(&self, lexeme: Lexeme) -> &'s [u8] {
        &self.lexer.text[lexeme.start()..lexeme.end()]
    }

    #[expect(clippy::unused_self, reason = "reads as the other ways to fail")]
    pub(super) fn error<T>(&self, pos: Pos, message: impl Into<String>) -> Parsed<T> {
        Err(Box::new(SyntaxError { pos, message: message.into(), other: None, hint: None }))
    }

    /// What was not expected, where something that began earlier has to end first.
    pub(super) fn unexpected_within<T>(&self, wanted: &str, began: Pos, what: &'static str) -> Parsed<T> {
        self.unexpected(wanted)
            .map_err(|error: Box<SyntaxError>| Box::new(SyntaxError { other: Some((began, what)), ..*error }))
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        let found = self.token.token.show();
        let message = if wanted.is_empty() {
            format!("syntax error, unexpected {found}")
        } else {
            format!("syntax error, unexpected {found}, expecting {wanted}")
        };
        self.error(self.pos(), message)
    }

    pub(super) fn expect(&mut self, token: Token) -> Parsed<()> {
        if self.token.token == token {
            self.advance();
            return Ok(());
        }
        self.unexpected(token.show())
    }

    pub(super) fn alloc(&self, expression: Expr<'t>) -> &'t Expr<'t> {
        self.tree.alloc(expression)
    }

    pub(super) fn intern(&mut self, lexeme: Lexeme) -> Symbol {
        let text = &self.lexer.text[lexeme.start()..lexeme.end()];
        self.symbols.intern(text)
    }

    pub(super) fn call(&self, pos: Pos, function: Symbol, arguments: &[Expr<'t>]) -> Expr<'t> {
        let function = Expr { pos, kind: Kind::Var(function) };
        let arguments = self.tree.alloc_slice_copy(arguments);
        Expr { pos, kind: Kind::Call(self.tree.alloc(CallNode { function, arguments })) }
    }

    /// The call of a function with one argument.
    pub(super) fn apply(&self, pos: Pos, function: Expr<'t>, argument: Expr<'t>) -> Expr<'t> {
        let arguments = self.tree.alloc_slice_copy(&[argument]);
        Expr { pos, kind: Kind::Call(self.tree.alloc(CallNode { function, arguments })) }
    }

    /// An expression in full: functions, `let`, `if`, operators.
    pub(super) fn expression(&mut self) -> Parsed<Expr<'t>> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error(self.pos(), "the expression nests too deeply to be parsed");
        }
        let result = stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.function_or_operation());
        self.nesting -= 1;
        result
    }

    fn function_or_operation(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        match self.token.token {
            Token::Identifier => self.identifier_or_function(),
            Token::BraceOpen if self.at_formals() => self.formals_function(None),
            Token::Assert => {
                self.advance();
                let condition = self.expression()?;
                self.expect(Token::Semicolon)?;
                let body = self.expression()?;
                Ok(Expr {
                    pos,
                    kind: Kind::Assert { condition: self.alloc(condition), body: self.alloc(body) },
                })
            }
            Token::With => {
                self.advance();
                let attrs = self.expression()?;
                self.expect(Token::Semicolon)?;
                let body = self.expression()?;
                Ok(Expr { pos, kind: Kind::With { attrs: self.alloc(attrs), body: self.alloc(body) } })
            }
            Token::Let => {
                if self.lexer.peek() == b'{' {
                    return self.operation(0);
                }
                self.advance();
                let bindings = self.bindings(Token::In, pos)?;
                if let Some(dynamic) = bindings.dynamic.borrow().first() {
                    return self.error(dynamic.pos, "dynamic attributes not allowed in let");
                }
                let body = self.expression()?;
                Ok(Expr { pos, kind: Kind::Let { bindings, body: self.alloc(body) } })
            }
            Token::If => {
                self.advance();
                let condition = self.expression()?;
                self.expect(Token::Then)?;
                let then = self.expression()?;
                self.expect(Token::Else)?;
                let otherwise = self.expression()?;
                Ok(Expr { pos, kind: Kind::If(self.tree.alloc([condition, then, otherwise])) })
            }
            _ => self.operation(0),
        }
    }

    /// `f a b`: a selection followed by its arguments.
    pub(super) fn application(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        let function = self.selection()?;
        if !self.starts_simple() {
            return Ok(function);
        }
        let mut arguments = bumpalo::collections::Vec::new_in(self.tree);
        while self.starts_simple() {
            arguments.push(self.warned_selection()?);
        }
        let arguments = arguments.into_bump_slice();
        Ok(Expr { pos, kind: Kind::Call(self.tree.alloc(CallNode { function, arguments })) })
    }

    fn starts_simple(&self) -> bool {
        matches!(
            self.token.token,
            Token::Identifier
                | Token::Integer
                | Token::Float
                | Token::Path
                | Token::HomePath
                | Token::LookupPath
                | Token::Uri
                | Token::StringOpen
                | Token::IndentedOpen
                | Token::Let
                | Token::Rec
                | Token::ParenOpen
                | Token::BracketOpen
                | Token::BraceOpen
        )
    }

    /// A selection where the old `e or` will mean something else one day.
    fn warned_selection(&mut self) -> Parsed<Expr<'t>> {
        let selection = self.selection()?;
        if let Some(end) = self.old_or.take() {
            let end = self.pos_at(end);
            self.warnings.push((selection.pos, end));
        }
        Ok(selection)
    }

    /// `e.a.b or default`, or the old `e or`, which calls `e` with the variable `or`.
    fn selection(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        let base = self.simple()?;
        self.old_or = None;
        match self.token.token {
            Token::Dot => {
                self.advance();
                let path = self.attribute_path()?;
                let mut default = None;
                if self.token.token == Token::Or {
                    self.advance();
                    default = Some(self.warned_selection()?);
                }
                Ok(Expr { pos, kind: Kind::Select(self.tree.alloc(SelectNode { base, path, default })) })
            }
            Token::Or => {
                let or = Expr { pos: self.pos(), kind: Kind::Var(Known::OR) };
                self.old_or = Some(self.token.end());
                self.advance();
                Ok(self.apply(pos, base, or))
            }
            _ => Ok(base),
        }
    }

    fn simple(&mut self) -> Parsed<Expr<'t>> {
        let lexeme = self.token;
        let pos = self.pos();
        let kind = match lexeme.token {
            Token::Identifier => match self.intern(lexeme) {
                Known::CUR_POS => Kind::CurPos,
                name => Kind::Var(name),
            },
            Token::Integer => {
                if let Some(number) =
                    std::str::from_utf8(self.text_of(lexeme)).ok().and_then(|text| text.parse().ok())
                {
                    Kind::Int(number)
                } else {
                    let text = String::from_utf8_lossy(self.text_of(lexeme)).into_owned();
                    return self.error(pos, format!("invalid integer '{text}'"));
                }
            }
            Token::Float => {
                let text = String::from_utf8_lossy(self.text_of(lexeme)).into_owned();
                match text.parse::<f64>() {
                    Ok(number) if is_in_range(number, &text) => Kind::Float(number),
                    _ => return self.error(pos, format!("invalid float '{text}'")),
                }
            }
            Token::Uri => Kind::String(self.tree.alloc_slice_copy(self.text_of(lexeme))),
            Token::LookupPath => {
                self.advance();
                let inside = &self.text_of(lexeme)[1..lexeme.end() - lexeme.start() - 1];
                let name = Expr { pos, kind: Kind::String(self.tree.alloc_slice_copy(inside)) };
                let nix_path = Expr { pos, kind: Kind::Var(Known::NIX_PATH) };
                return Ok(self.call(pos, Known::FIND_FILE, &[nix_path, name]));
            }
            Token::Path | Token::HomePath => return self.path(lexeme),
            Token::StringOpen => return self.string(),
            Token::IndentedOpen => return self.indented_string(),
            Token::ParenOpen => {
                self.advance();
                let inner = self.expression()?;
                if self.token.token != Token::ParenClose {
                    return self.unexpected_within("')'", pos, "the parenthesis was opened here");
                }
                self.advance();
                return Ok(inner);
            }
            Token::BracketOpen => return self.list(),
            Token::BraceOpen => {
                self.advance();
                Kind::Attrs(self.bindings(Token::BraceClose, pos)?)
            }
            Token::Rec => {
                self.advance();
                self.expect(Token::BraceOpen)?;
                let node = self.bindings(Token::BraceClose, pos)?;
                node.recursive.set(true);
                Kind::Attrs(node)
            }
            Token::Let => {
                self.advance();
                self.expect(Token::BraceOpen)?;
                let node = self.bindings(Token::BraceClose, pos)?;
                node.recursive.set(true);
                let base = Expr { pos, kind: Kind::Attrs(node) };
                let path = self.tree.alloc_slice_copy(&[crate::ast::AttrName::Static(Known::BODY, pos)]);
                let select = self.tree.alloc(SelectNode { base, path, default: None });
                return Ok(Expr { pos, kind: Kind::Select(select) });
            }
            Token::UnfinishedComment => return self.error(pos, "the comment that starts here has no end"),
            Token::Invalid => return self.invalid(lexeme, pos),
            _ => return self.unexpected(""),
        };
        // Sets have read past their own closing brace.
        if !matches!(kind, Kind::Attrs(_)) {
            self.advance();
        }
        Ok(Expr { pos, kind })
    }

    fn invalid<T>(&self, lexeme: Lexeme, pos: Pos) -> Parsed<T> {
        let byte = self.lexer.text[lexeme.start()];
        let shown =
            if byte.is_ascii_graphic() { (byte as char).to_string() } else { format!("\\x{byte:02x}") };
        self.error(pos, format!("syntax error, invalid character '{shown}'"))
    }

    fn list(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        self.advance();
        let mut items = bumpalo::collections::Vec::new_in(self.tree);
        while self.token.token != Token::BracketClose {
            if !self.starts_simple() {
                return match self.token.token {
                    Token::UnfinishedComment | Token::Invalid => self.simple(),
                    Token::Comma => self.unexpected_within(
                        "']'",
                        pos,
                        "blanks separate the items of the list that starts here",
                    ),
                    _ => self.unexpected_within("']'", pos, "the list starts here"),
                };
            }
            items.push(self.warned_selection()?);
        }
        self.advance();
        Ok(Expr { pos, kind: Kind::List(items.into_bump_slice()) })
    }

    pub(super) fn surroundings(&self) -> Surroundings<'s> {
        self.surroundings
    }
}

/// Whether C's `strtod` reads the number without `ERANGE`: neither infinite nor so small that digits are lost.
fn is_in_range(number: f64, text: &str) -> bool {
    let zero = || {
        !text
            .bytes()
            .take_while(|byte| !byte.eq_ignore_ascii_case(&b'e'))
            .any(|byte| (b'1'..=b'9').contains(&byte))
    };
    number.is_normal() || number == 0.0 && zero()
}
