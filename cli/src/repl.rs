//! `firn repl`: the language, interactively. Expressions are printed, `name = expression` defines a variable, commands
//! begin with a colon (`:?` lists them) and are those of `nix repl` (Nix 2.34).

mod building;
mod editing;
mod starting;

use crate::eval::{Request, current_directory, read_only_io};
use crate::flakes::locking::Locking;
use anyhow::{Context as _, Result, bail};
use building::Workshop;
use clap::{ArgMatches, Command};
use editing::Editing;
use evaluator::{Arena, EvalError, EvalIo, Evaluator, Handle};
use rustyline::error::ReadlineError;
use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::Store;
use store::build::BuildOptions;

/// The commands and what they do.
const HELP: &str = "\
<expression>         evaluate and print, one level deep
<name> = <expr>      define a variable; also several, and `inherit`
:? :help             this list
:a :add <expr>       add a set's attributes as variables
:b :build <expr>     build a derivation
:bl <expr>           the same, with links that keep the outputs from the garbage collector
:doc <expr>          what a function does
:e :edit <expr>      open the file that a function, path or package is in with $EDITOR
:env                 the variables there are
:i <expr>            build a derivation and install it in your profile
:l :load <file>      load a file's attributes as variables
:lf :load-flake <f>  load what a flake provides as variables
:ll :last-loaded     the variables that were added last
:log <expr>          the log of a derivation's build
:p :print <expr>     evaluate everything in a value and print it; a string as it is
:q :quit             leave
:r :reload           load the files again
:sh <expr>           build what a derivation needs, then start a shell in which it could be built
:t :type <expr>      the type of a value
:te [true|false]     show the whole trace of errors, or not any more
:u <expr>            build a package, then start a shell that has it (asks <nixpkgs> for runCommand)
Ctrl-C               ends an evaluation";

/// The commands, for completion.
const COMMANDS: [&str; 20] = [
    ":?",
    ":add",
    ":bl",
    ":build",
    ":doc",
    ":edit",
    ":env",
    ":help",
    ":i",
    ":last-loaded",
    ":load",
    ":load-flake",
    ":log",
    ":print",
    ":quit",
    ":reload",
    ":sh",
    ":te",
    ":type",
    ":u",
];

/// How many names are listed when variables are added.
const NAMES_SHOWN: usize = 20;

/// The arguments.
pub(crate) fn command() -> Command {
    Command::new("repl").about("Evaluate Nix expressions interactively").args(crate::eval::shared_arguments())
}

/// Reads, evaluates, prints, until the end of the input.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    start(&Request::from_matches(matches), Workshop::open())
}

/// The same over the store that one of Nix's commands opened.
pub(crate) fn run_over(request: &Request, store: Result<Store>, options: BuildOptions) -> Result<ExitCode> {
    start(request, store.map(|store| Workshop::over(store, options)))
}

fn start(request: &Request, workshop: Result<Workshop>) -> Result<ExitCode> {
    let arena = Arena::new();
    let io = workshop
        .as_ref()
        .map_or_else(|_| read_only_io(), |workshop| Rc::clone(&workshop.io) as Rc<dyn EvalIo>);
    let evaluator = Evaluator::new(&arena, io, request.evaluator_options()?);
    let mut session = Session::new(evaluator, workshop, current_directory()?, request.clone());
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
struct Session<'a> {
    evaluator: Evaluator<'a>,
    /// The store, if there is one that can be written.
    workshop: Result<Workshop>,
    scope: Handle<'a>,
    directory: PathBuf,
    loaded: Vec<PathBuf>,
    /// The flakes that were loaded.
    flakes: Vec<String>,
    /// The names that were added last.
    last: Vec<String>,
    request: Request,
    /// Set by Ctrl-C; another one while it is set ends the process.
    interrupted: Arc<AtomicBool>,
    /// Whether values are printed in colours.
    colours: bool,
}

/// What comes after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Quit,
}

impl<'a> Session<'a> {
    fn new(
        evaluator: Evaluator<'a>,
        workshop: Result<Workshop>,
        directory: PathBuf,
        request: Request,
    ) -> Self {
        let scope = evaluator.make_empty_attrs();
        let interrupted = evaluator.interrupt_flag();
        let (loaded, last, colours) = (Vec::new(), Vec::new(), false);
        let flakes = Vec::new();
        Self { evaluator, workshop, scope, directory, loaded, flakes, last, request, interrupted, colours }
    }

    /// Ctrl-C ends what is evaluated instead of the process, if that still looks whether it should end.
    fn catch_interrupts(&self) -> Result<()> {
        use signal_hook::consts::SIGINT;
        let flag = &self.interrupted;
        signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(flag)))
            .context("preparing for Ctrl-C")?;
        Ok(())
    }

    fn interactive(mut self) -> Result<ExitCode> {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        self.colours = wanted && std::io::stdout().is_terminal();
        let mut editor: rustyline::Editor<Editing<'_>, rustyline::history::FileHistory> =
            rustyline::Editor::new().context("preparing the terminal")?;
        // The editor has a handler of its own, which would take the place of one that was there before.
        self.catch_interrupts()?;
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
        self.interrupted.store(false, Ordering::Relaxed);
        let line = line.trim();
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let done = match command {
            "" => Ok(()),
            ":q" | ":quit" => return Ok(Next::Quit),
            ":?" | ":help" => self.say(HELP),
            ":t" | ":type" => self.type_of(rest),
            ":p" | ":print" => self.print_deep(rest),
            ":b" | ":build" => self.build(rest, false),
            ":bl" => self.build(rest, true),
            ":log" => self.log(rest),
            ":i" => self.install(rest),
            ":sh" => self.shell(rest),
            ":u" => self.shell_with(rest),
            ":lf" | ":load-flake" => self.load_flake(rest),
            ":doc" => self.doc(rest),
            ":e" | ":edit" => self.edit(rest),
            ":l" | ":load" => self.load(Path::new(rest)),
            ":ll" | ":last-loaded" => self.say(&self.last.join("\n")),
            ":a" | ":add" => self.add(rest),
            ":r" | ":reload" => self.reload(),
            ":env" => self.say(&self.variables().join(" ")),
            ":te" | ":trace-enable" => self.trace(rest),
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

    /// A value as it is printed; nothing if that was interrupted, since half a value says little.
    fn printed(&mut self, value: Handle<'a>, depth: usize) -> Result<String> {
        let printed = self.evaluator.print_pretty(value, depth, self.colours);
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    /// What a word may go on as: commands, files, variables, or the attributes of the value before the last dot. An error
    /// while finding out is no reason to disturb who is typing.
    fn completions(&mut self, word: &str) -> Vec<String> {
        self.interrupted.store(false, Ordering::Relaxed);
        if word.starts_with(':') {
            return COMMANDS
                .iter()
                .filter(|name| name.starts_with(word))
                .map(|&name| name.to_owned())
                .collect();
        }
        if word.contains('/') {
            return editing::files(word, &self.directory);
        }
        let (before, start) = word.rsplit_once('.').unwrap_or(("", word));
        let names = if before.is_empty() {
            let mut names = self.variables();
            names.extend(self.evaluator.global_names());
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
        if editing::is_bindings(line) {
            // A set's attributes wait until they are needed, and do not see each other.
            let value = self.evaluate(&format!("{{{};}}", line.trim_end().trim_end_matches(';')))?;
            return self.define(value);
        }
        let value = self.evaluate(line)?;
        let printed = self.printed(value, 1)?;
        self.say(&printed)
    }

    fn define(&mut self, attrs: Handle<'a>) -> Result<()> {
        let result = self.evaluator.update_attrs(self.scope, attrs);
        self.scope = self.explained(result)?;
        Ok(())
    }

    fn print_deep(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        let printed = match self.evaluator.as_string(value) {
            Some(text) => String::from_utf8_lossy(text).into_owned(),
            None => self.printed(value, usize::MAX)?,
        };
        self.say(&printed)
    }

    fn type_of(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        self.say(self.evaluator.describe_type(value))
    }

    fn trace(&mut self, wanted: &str) -> Result<()> {
        self.request.show_trace = match wanted {
            "" => !self.request.show_trace,
            "true" => true,
            "false" => false,
            _ => bail!("':te' takes true or false"),
        };
        self.say(if self.request.show_trace { "showing error traces" } else { "not showing error traces" })
    }

    fn doc(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        let Some(found) = self.evaluator.documentation(value) else {
            bail!("value does not have documentation");
        };
        let name = found.name.unwrap_or_default();
        match found.place {
            None => self.say(&found.text),
            Some(place) => self.say(&format!("Function {name}\n… defined at {place}\n\n{}", found.text)),
        }
    }

    fn edit(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        let result = self.evaluator.place_of(value);
        let (file, line) =
            self.explained(result)?.with_context(|| format!("it is not known in which file '{text}' is"))?;
        editing::open_editor(&file, line)?;
        self.reload()
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let path = self.directory.join(path);
        let result = self.evaluator.eval_file(path.as_os_str().as_bytes());
        let value = self.explained(result)?;
        let arguments = self.request.auto_arguments(&mut self.evaluator)?;
        let result = self.evaluator.auto_call(value, arguments);
        let value = self.explained(result)?;
        self.add_attributes(value)?;
        if !self.loaded.contains(&path) {
            self.loaded.push(path);
        }
        Ok(())
    }

    /// What a flake provides, and what is known of it; the flake of the current directory if none is named.
    fn load_flake(&mut self, text: &str) -> Result<()> {
        let text = if text.is_empty() { "." } else { text };
        let reference = crate::flakes::words::flake(text, &self.directory)?;
        let locked = Locking::default().lock(&mut self.evaluator, &reference)?;
        let result = self.evaluator.call_flake(&locked);
        let value = self.explained(result)?;
        self.add_attributes(value)?;
        if !self.flakes.iter().any(|known| known == text) {
            self.flakes.push(text.to_owned());
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let value = self.evaluate(text)?;
        self.add_attributes(value)
    }

    fn add_attributes(&mut self, value: Handle<'a>) -> Result<()> {
        self.define(value)?;
        self.last = self.evaluator.attribute_names(value).unwrap_or_default();
        let count = self.last.len();
        let shown = self.last.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = match count.saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            more => format!(", and {more} more; :ll lists them"),
        };
        let plural = if count == 1 { "" } else { "s" };
        self.say(&format!("Added {count} variable{plural}.\n{shown}{more}"))
    }

    fn reload(&mut self) -> Result<()> {
        self.evaluator.forget_files();
        for path in self.loaded.clone() {
            self.load(&path)?;
        }
        for flake in self.flakes.clone() {
            self.load_flake(&flake)?;
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

    fn session(arena: &Arena) -> Session<'_> {
        let evaluator = Evaluator::new(arena, read_only_io(), evaluator::Options::default());
        let workshop = Err(anyhow::anyhow!("there is no store in this test"));
        Session::new(evaluator, workshop, PathBuf::from("/"), Request::default())
    }

    #[test]
    fn a_definition_waits_until_it_is_needed() {
        let arena = Arena::new();
        let mut session = session(&arena);
        session.expression("a = throw \"too early\"").unwrap();
        session.expression("b = { inner = 1; other = a; }").unwrap();
        assert!(session.evaluate("b.inner").is_ok());
        assert!(session.evaluate("b.other").unwrap_err().to_string().starts_with("too early"));
        assert!(session.expression("c = (").is_err());
    }

    #[test]
    fn tab_knows_variables_and_attributes() {
        let arena = Arena::new();
        let mut session = session(&arena);
        session
            .expression("pkgs = { hello = { version = 1; }; help = 2; \"a b\" = 3; bad = throw \"no\"; }")
            .unwrap();
        assert_eq!(session.completions("pk"), ["pkgs"]);
        assert_eq!(session.completions("pkgs.hel"), ["pkgs.hello", "pkgs.help"]);
        assert_eq!(session.completions("pkgs.hello."), ["pkgs.hello.version"]);
        assert_eq!(session.completions("pkgs.a"), ["pkgs.\"a b\""]);
        assert_eq!(session.completions("pkgs.bad.x"), Vec::<String>::new());
        assert!(session.completions("builtins.attr").contains(&"builtins.attrNames".to_owned()));
        assert_eq!(session.completions("toStr"), ["toString"]);
        assert_eq!(session.completions(":lo"), [":load", ":load-flake", ":log"]);
        assert!(session.completions("/etc/pass").contains(&"/etc/passwd".to_owned()));
    }

    #[test]
    fn several_variables_at_once() {
        let arena = Arena::new();
        let mut session = session(&arena);
        session.expression("a = 1").unwrap();
        session.expression("b = a + 1; c.d = 3; \"e f\" = throw \"late\";").unwrap();
        session.expression("inherit (builtins) length; inherit ({ g = 4; }) g").unwrap();
        session.expression("a = a + 10").unwrap();
        let value = session.evaluate("[ a b c.d (length [ g ]) ]").unwrap();
        assert_eq!(session.printed(value, 1).unwrap(), "[\n  11\n  2\n  3\n  1\n]");
        assert!(session.expression("b = 1; c = (").is_err());
    }

    #[test]
    fn what_was_interrupted_can_be_asked_for_again() {
        let arena = Arena::new();
        let mut session = session(&arena);
        session.line("a = builtins.foldl' (sum: n: sum + n) 0 [ 1 2 3 ]").unwrap();
        session.interrupted.store(true, Ordering::Relaxed);
        assert!(session.evaluate("a").unwrap_err().to_string().starts_with("interrupted"));
        session.line("").unwrap();
        let value = session.evaluate("a").unwrap();
        assert_eq!(session.printed(value, 1).unwrap(), "6");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let arena = Arena::new();
        let mut session = session(&arena);
        assert_eq!(session.doc("1").unwrap_err().to_string(), "value does not have documentation");
        assert!(session.build("1", false).unwrap_err().to_string().contains("not evaluate to a derivation"));
        assert!(session.edit("1").unwrap_err().to_string().contains("which file"));
        assert!(session.trace("perhaps").is_err());
        assert!(session.shell("1").unwrap_err().to_string().contains("not evaluate to a derivation"));
        assert!(session.shell_with("1").unwrap_err().to_string().contains("nixpkgs"));
        assert!(session.doc("/** Adds. */ x: x").is_ok());
        let package = "derivation { name = \"x\"; builder = \"b\"; system = \"s\"; }";
        assert_eq!(session.build(package, false).unwrap_err().to_string(), "there is no store in this test");
    }
}
