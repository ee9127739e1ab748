//! `nix repl`: Firn's own under that name, over the store that Nix's flags name. nix3-repl(1).

use crate::eval::Request;
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use std::process::ExitCode;

/// `nix repl [FILE…]`, `nix repl -f FILE`, `nix repl --expr TEXT`.
pub(super) fn repl(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut request = Request::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-f" | "--file" => request.sources.push(arguments.value(&argument)?.into()),
            "--expr" => {
                request.sources.push(arguments.value(&argument)?.into());
                request.expressions = true;
            }
            _ if front.take(&argument, arguments)? || request.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            source => request.sources.push(source.into()),
        }
    }
    request.take_settings(front);
    let store = front.open();
    let options = match &store {
        Ok(store) => front.build_options(store),
        Err(_) => front.conf.build_options(),
    };
    crate::repl::run_over(&request, store, options)
}
