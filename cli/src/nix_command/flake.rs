//! `nix flake`: what a flake is and has, its lock file, flakes from templates. nix3-flake(1) and its sisters.

mod archive;
mod check;
mod metadata;
mod show;
mod template;

use crate::eval::Request;
use crate::eval_io::StoreIo;
use crate::flakes::locking::Locking;
use crate::flakes::words;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use evaluator::flake::LockedFlake;
use evaluator::{Arena, EvalIo, Evaluator, Options};
use formats::flake::{FlakeRef, lock};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;

pub(super) use archive::{archive, clone, prefetch};
pub(super) use check::check;
pub(super) use metadata::{info, metadata};
pub(super) use show::show;
pub(super) use template::{init, new};

/// A call of one of the subcommands.
struct Call {
    words: Vec<String>,
    flags: BTreeSet<String>,
    locking: Locking,
    request: Request,
    impure: bool,
}

impl Call {
    /// Takes the flags that all have, and those of the subcommand.
    fn read(front: &mut Front, arguments: &mut Arguments, own: &[&str]) -> Result<Self> {
        Self::read_with(front, arguments, own, &mut |_, _| Ok(false))
    }

    /// The same where some take a value.
    fn read_with(
        front: &mut Front,
        arguments: &mut Arguments,
        own: &[&str],
        valued: &mut dyn FnMut(&str, &mut Arguments) -> Result<bool>,
    ) -> Result<Self> {
        let mut call = Self {
            words: Vec::new(),
            flags: BTreeSet::new(),
            locking: Locking::default(),
            request: Request::default(),
            impure: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--impure" => call.impure = true,
                _ if own.contains(&argument.as_str()) => {
                    call.flags.insert(argument);
                }
                _ if valued(&argument, arguments)? => {}
                _ if call.locking.take(&argument, arguments)? => {}
                _ if front.take(&argument, arguments)? || call.request.take(&argument, arguments)? => {}
                flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
                _ => call.words.push(argument),
            }
        }
        Ok(call)
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// The flake that is named; that of the current directory if none is.
    fn reference(&self) -> Result<FlakeRef> {
        let text = match self.words.as_slice() {
            [] => ".",
            [one] => one,
            [_, other, ..] => bail!("unexpected argument '{other}'"),
        };
        words::flake(text, &crate::eval::current_directory()?)
    }

    /// The evaluator's options.
    fn options(&mut self, front: &Front) -> Result<Options> {
        if !self.impure {
            self.request.options.push(("pure-eval".to_owned(), "true".to_owned()));
        }
        self.request.options.push(("extra-experimental-features".to_owned(), "flakes".to_owned()));
        self.request.take_settings(front);
        self.request.evaluator_options()
    }

    /// Opens the store, and hands the locked flake to `use_it`.
    fn with_flake<T>(
        &mut self,
        front: &Front,
        use_it: impl for<'a> FnOnce(&mut Self, &mut Evaluator<'a>, LockedFlake, &Rc<Store>) -> Result<T>,
    ) -> Result<T> {
        let reference = self.reference()?;
        let store = Rc::new(front.open()?);
        let io = Rc::new(StoreIo::new(Rc::clone(&store), front.build_options(&store)));
        let options = self.options(front)?;
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, options);
        let locked = self.locking.lock(&mut evaluator, &reference)?;
        let result = use_it(self, &mut evaluator, locked, &store)?;
        io.flush()?;
        Ok(result)
    }
}

/// `nix flake lock`: adds what the lock file lacks.
pub(super) fn lock(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut call = Call::read(front, arguments, &[])?;
    call.locking.write = true;
    call.locking.strict = true;
    call.with_flake(front, |_, _, _, _| Ok(ExitCode::SUCCESS))
}

/// `nix flake update [INPUT…]`: looks for all inputs, or these, anew.
pub(super) fn update(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut flake = None;
    let mut call = Call::read_with(front, arguments, &[], &mut |flag, arguments| {
        if flag == "--flake" {
            flake = Some(arguments.value(flag)?);
        }
        Ok(flag == "--flake")
    })?;
    for word in std::mem::take(&mut call.words) {
        let path = lock::parse_input_path(&word).with_context(|| {
            format!(
                "'{word}' is the name of no input. To update a specific flake, use 'nix flake update --flake {word}'"
            )
        })?;
        if !call.locking.flags.updates.insert(path) {
            log::warn!("Input '{word}' was specified multiple times. You may have done this by accident.");
        }
    }
    call.words.extend(flake);
    // What is asked for is what there is now.
    crate::nix_conf::NixConf::override_with("tarball-ttl", "0");
    call.locking.flags.recreate = call.locking.flags.updates.is_empty();
    call.locking.write = true;
    call.with_flake(front, |_, _, _, _| Ok(ExitCode::SUCCESS))
}
