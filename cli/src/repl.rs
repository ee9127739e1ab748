//! `firn repl`: the language, interactively. Expressions are printed, `name = expression` defines a variable, commands
//! begin with a colon (`:?` lists them).

mod editing;

use crate::eval::{Request, current_directory, read_only_io};
use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command};
use editing::Editing;
use evaluator::{Arena, EvalError, Evaluator, Handle, Style};
use rustyline::error::ReadlineError;
use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The commands and what they do.
const HELP: &str = "\
<expression>        evaluate and print
<name> = <expr>     define a variable
:? :help            this list
:t <expr>           the type of a value
:p <expr>           evaluate everything in a value and print it
:b <expr>           make the store derivation of a value and print its path
:doc <name>         what a builtin does
:l <file>           load a file's attributes as variables
:a <expr>           add a set's attributes as variables
:r                  load the files again
:e                  the variables there are
:q                  leave";

/// The arguments.
pub(crate) fn command() -> Command {
    Command::new("repl").about("Evaluate Nix expressions interactively").args(crate::eval::shared_arguments())
}

/// Reads, evaluates, prints, until the end of the input.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let request = Request::from_matches(matches);
    let arena = Arena::new();
    let evaluator = Evaluator::new(&arena, read_only_io(), request.evaluator_options()?);
    let scope = evaluator.make_empty_attrs();
    let mut session =
        Session { evaluator, scope, directory: current_directory()?, loaded: Vec::new(), request: &request };
    for source in &request.sources {
        let result = if request.expressions {
            session.add(&source.to_string_lossy())
        } else {
            session.load(Path::new(source))
        };
        if let Err(error) = result {
            session.report(&error)?;
        }
    }
    if std::io::stdin().is_terminal() { session.interactive() } else { session.batch() }
}

/// What the user has defined so far.
struct Session<'a, 'r> {
    evaluator: Evaluator<'a>,
    scope: Handle<'a>,
    directory: PathBuf,
    loaded: Vec<PathBuf>,
    request: &'r Request,
}

/// What comes after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Quit,
}

impl<'a> Session<'a, '_> {
    fn interactive(self) -> Result<ExitCode> {
        let mut editor: rustyline::Editor<Editing<'_>, rustyline::history::FileHistory> =
            rustyline::Editor::new().context("preparing the terminal")?;
        let session = RefCell::new(self);
        let complete = |word: &str| session.borrow_mut().completions(word);
        editor.set_helper(Some(Editing::new(&complete)));
        let history = history_file();
        if let Some(file) = &history
            && let Err(error) = editor.load_history(file)
        {
            log::debug!("no history yet: {error}");
        }
        session.borrow().say("Firn: type :? for help.")?;
        loop {
            match editor.readline("firn-repl> ") {
                Ok(line) => {
                    if !line.trim().is_empty() {
                        editor.add_history_entry(line.as_str()).context("remembering the line")?;
                    }
                    if session.borrow_mut().line(&line)? == Next::Quit {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error).context("reading a line"),
            }
        }
        if let Some(file) = &history {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("making the directory {}", directory.display()))?;
            }
            editor.save_history(file).with_context(|| format!("writing the history {}", file.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Lines from a pipe: an expression may take several.
    fn batch(&mut self) -> Result<ExitCode> {
        let mut pending = String::new();
        for line in std::io::stdin().lines() {
            pending.push_str(&line.context("reading standard input")?);
            if editing::is_unfinished(&pending) {
                pending.push('\n');
                continue;
            }
            if self.line(&std::mem::take(&mut pending))? == Next::Quit {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !pending.trim().is_empty() {
            self.line(&pending)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Does what a line says; what goes wrong in it is printed.
    fn line(&mut self, line: &str) -> Result<Next> {
        let line = line.trim();
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let done = match command {
            "" => Ok(()),
            ":q" | ":quit" => return Ok(Next::Quit),
            ":?" | ":help" => self.say(HELP),
            ":t" | ":type" => self.type_of(rest),
            ":p" | ":print" => self.print(rest, true),
            ":b" | ":build" => self.derivation(rest),
            ":doc" => self.doc(rest),
            ":l" | ":load" => self.load(Path::new(rest)),
            ":a" | ":add" => self.add(rest),
            ":r" | ":reload" => self.reload(),
            ":e" | ":env" => self.say(&self.variables().join(" ")),
            command if command.starts_with(':') => {
                self.say(&format!("{command} is not a command; :? lists them"))
            }
            _ => self.expression(line),
        };
        if let Err(error) = done {
            self.report(&error)?;
        }
        Ok(Next::Go)
    }

    #[expect(clippy::unused_self, reason = "reads as the other answers")]
    fn say(&self, text: &str) -> Result<()> {
        writeln!(std::io::stdout(), "{text}").context("writing")
    }

    #[expect(clippy::unused_self, reason = "reads as the other answers")]
    fn report(&self, error: &anyhow::Error) -> Result<()> {
        writeln!(std::io::stderr(), "error: {error:#}").context("writing")
    }

    fn explained<T>(&self, result: std::result::Result<T, EvalError>) -> Result<T> {
        result.map_err(|error| self.request.explain(&error))
    }

    fn variables(&self) -> Vec<String> {
        self.evaluator.attribute_names(self.scope).unwrap_or_default()
    }

    /// What a word may go on as: variables, or the attributes of the value before the last dot. An error while finding
    /// out is no reason to disturb who is typing.
    fn completions(&mut self, word: &str) -> Vec<String> {
        let (before, start) = word.rsplit_once('.').unwrap_or(("", word));
        let names = if before.is_empty() {
            let builtins = ["builtins", "import", "map", "toString", "derivation", "throw"];
            let mut names = self.variables();
            names.extend(builtins.map(str::to_owned));
            names
        } else {
            let directory = self.directory.clone();
            let directory = directory.as_os_str().as_bytes();
            let value = self.evaluator.eval_in_scope(before, directory, self.scope);
            value.ok().and_then(|value| self.evaluator.attribute_names(value)).unwrap_or_default()
        };
        let mut found: Vec<String> = names
            .into_iter()
            .filter(|name| name.starts_with(start))
            .map(|name| if before.is_empty() { name } else { format!("{before}.{}", quoted(&name)) })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn evaluate(&mut self, text: &str) -> Result<Handle<'a>> {
        let directory = self.directory.clone();
        let result = self.evaluator.eval_in_scope(text, directory.as_os_str().as_bytes(), self.scope);
        self.explained(result)
    }

    fn expression(&mut self, line: &str) -> Result<()> {
        if let Some((name, text)) = editing::definition(line) {
            let directory = self.directory.clone();
            let result = self.evaluator.lazy_in_scope(text, directory.as_os_str().as_bytes(), self.scope);
            let value = self.explained(result)?;
            let defined = self.evaluator.make_attrs(&[(name.to_owned(), value)]);
            return self.define(defined);
        }
        self.print(line, false)
    }

    fn define(&mut self, attrs: Handle<'a>) -> Result<()> {
        let result = self.evaluator.update_attrs(self.scope, attrs);
        self.scope = self.explained(result)?;
        Ok(())
    }

    fn print(&mut self, text: &str, deep: bool) -> Result<()> {
        let value = self.evaluate(text)?;
        if deep {
            let result = self.evaluator.force_deep_value(value);
            self.explained(result)?;
        }
        let printed = self.evaluator.print(value, Style::Talkative);
        self.say(&String::from_utf8_lossy(&printed))
    }

    fn type_of(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        self.say(self.evaluator.type_of(value))
    }

    fn derivation(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        let result = self.evaluator.derivation_info(value);
        match self.explained(result)? {
            Some(info) => self.say(&format!("{}\n  {} -> {}", info.drv_path, info.output, info.out_path)),
            None => self.say("the value is not a derivation"),
        }
    }

    fn doc(&self, name: &str) -> Result<()> {
        let name = name.trim_start_matches("builtins.");
        match Evaluator::builtin_doc(name) {
            Some(doc) => self.say(&format!("{name} {doc}")),
            None => self.say(&format!("there is no builtin '{name}'")),
        }
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let path = self.directory.join(path);
        let result = self.evaluator.eval_file(path.as_os_str().as_bytes());
        let value = self.explained(result)?;
        let arguments = self.request.auto_arguments(&mut self.evaluator)?;
        let result = self.evaluator.auto_call(value, arguments);
        let value = self.explained(result)?;
        self.define(value)?;
        if !self.loaded.contains(&path) {
            self.loaded.push(path);
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        self.define(value)
    }

    fn reload(&mut self) -> Result<()> {
        self.evaluator.forget_files();
        for path in self.loaded.clone() {
            self.load(&path)?;
        }
        Ok(())
    }
}

/// An attribute's name as it is written in a selection.
fn quoted(name: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_'-".contains(character);
    let starts = name.starts_with(|character: char| character.is_ascii_alphabetic() || character == '_');
    if starts && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

/// Where lines are remembered.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")))?;
    Some(state.join("firn/repl-history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session<'a>(arena: &'a Arena, request: &'static Request) -> Session<'a, 'static> {
        let evaluator = Evaluator::new(arena, read_only_io(), evaluator::Options::default());
        let scope = evaluator.make_empty_attrs();
        Session { evaluator, scope, directory: PathBuf::from("/"), loaded: Vec::new(), request }
    }

    fn request() -> &'static Request {
        static REQUEST: std::sync::OnceLock<Request> = std::sync::OnceLock::new();
        REQUEST.get_or_init(Request::default)
    }

    #[test]
    fn a_definition_waits_until_it_is_needed() {
        let arena = Arena::new();
        let mut session = session(&arena, request());
        session.expression("a = throw \"too early\"").unwrap();
        session.expression("b = { inner = 1; other = a; }").unwrap();
        assert!(session.evaluate("b.inner").is_ok());
        assert!(session.evaluate("b.other").unwrap_err().to_string().starts_with("too early"));
        assert!(session.expression("c = (").is_err());
    }

    #[test]
    fn tab_knows_variables_and_attributes() {
        let arena = Arena::new();
        let mut session = session(&arena, request());
        session
            .expression("pkgs = { hello = { version = 1; }; help = 2; \"a b\" = 3; bad = throw \"no\"; }")
            .unwrap();
        assert_eq!(session.completions("pk"), ["pkgs"]);
        assert_eq!(session.completions("pkgs.hel"), ["pkgs.hello", "pkgs.help"]);
        assert_eq!(session.completions("pkgs.hello."), ["pkgs.hello.version"]);
        assert_eq!(session.completions("pkgs.a"), ["pkgs.\"a b\""]);
        assert_eq!(session.completions("pkgs.bad.x"), Vec::<String>::new());
        assert!(session.completions("builtins.attr").contains(&"builtins.attrNames".to_owned()));
    }
}
