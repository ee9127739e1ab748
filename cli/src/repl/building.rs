//! `:b`, `:bl` and `:log`: what the evaluation has made is written to the store and built there.

use super::Session;
use crate::eval_io::StoreIo;
use crate::nix_conf::NixConf;
use anyhow::{Context as _, Result, anyhow, bail};
use evaluator::DerivationInfo;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use store::Store;
use store::build::{BuildOptions, Wanted};

/// The store, and the door through which the evaluator sees it.
pub(super) struct Workshop {
    store: Rc<Store>,
    /// What the evaluator is given.
    pub(super) io: Rc<StoreIo>,
    options: BuildOptions,
}

impl Workshop {
    /// The store that the command line or the environment names.
    pub(super) fn open() -> Result<Self> {
        Ok(Self::over(crate::store::open()?, NixConf::load().build_options()))
    }

    /// This store.
    pub(super) fn over(store: Store, options: BuildOptions) -> Self {
        let store = Rc::new(store);
        Self { io: Rc::new(StoreIo::new(Rc::clone(&store), options.clone())), store, options }
    }
}

impl Session<'_> {
    /// The derivation that an expression gives.
    fn derivation(&mut self, text: &str) -> Result<DerivationInfo> {
        let value = self.evaluate(text)?;
        let result = self.evaluator.derivation_info(value);
        self.explained(result)?.context("expression does not evaluate to a derivation, so I can't build it")
    }

    /// The same, written to the store.
    pub(super) fn written_derivation(&mut self, text: &str) -> Result<DerivationInfo> {
        let info = self.derivation(text)?;
        self.workshop()?.io.flush()?;
        Ok(info)
    }

    fn workshop(&self) -> Result<&Workshop> {
        self.workshop.as_ref().map_err(|error| anyhow!("{error:#}"))
    }

    /// Builds a derivation and says where its outputs are; with `links`, links in the working directory keep them.
    pub(super) fn build(&mut self, text: &str, links: bool) -> Result<()> {
        let info = self.written_derivation(text)?;
        let workshop = self.workshop()?;
        let store = &workshop.store;
        let path = store.dir().parse(&info.drv_path)?;
        // A build does not look whether it should end: Ctrl-C ends all.
        self.interrupted.store(true, Ordering::Relaxed);
        let report = store.build(&[(path.clone(), Wanted::All)], &workshop.options)?;
        let mut answer = "\nThis derivation produced the following outputs:".to_owned();
        for (output, built) in report.outputs.get(&path).into_iter().flatten() {
            if links {
                let link = self.directory.join(format!("repl-result-{output}"));
                store.add_permanent_root(built, &link)?;
                write!(answer, "\n  ./repl-result-{output} -> {}", store.dir().print(built))?;
            } else {
                write!(answer, "\n  {output} -> {}", store.dir().print(built))?;
            }
        }
        self.say(&answer)
    }

    /// Prints what a derivation's build has printed.
    pub(super) fn log(&mut self, text: &str) -> Result<()> {
        let info = self.derivation(text)?;
        let workshop = self.workshop()?;
        let path = workshop.store.dir().parse(&info.drv_path)?;
        match workshop.store.build_log(&path)? {
            Some(log) => self.say(&String::from_utf8_lossy(&log)),
            None => bail!("the build log of '{}' is not available: it was not built here", info.drv_path),
        }
    }
}
