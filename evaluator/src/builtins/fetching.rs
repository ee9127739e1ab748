//! Builtins that download. What really downloads is behind [`crate::io::EvalIo::fetch`].

mod tree;

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::context::Element;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::io::{Fetch, IoError};
use crate::position::{Origin, Pos};
use crate::symbol::Known;
use crate::value::Value;
use formats::hash::{Algorithm, Hash};
use std::rc::Rc;

pub(super) const TABLE: &[Builtin] = &[
    builtin("__fetchurl", 1, 1, |e, args, pos| download(e, args[0], false, pos), "url: downloads a file"),
    builtin(
        "fetchTarball",
        1,
        1,
        |e, args, pos| download(e, args[0], true, pos),
        "url: downloads and unpacks an archive",
    ),
    builtin(
        "fetchGit",
        1,
        1,
        |e, args, pos| tree::fetch_git(e, args[0], pos),
        "args: a git repository's tree",
    ),
    builtin(
        "fetchMercurial",
        1,
        1,
        |e, _, pos| later(e, "fetchMercurial", pos),
        "args: a Mercurial repository's tree",
    ),
    builtin("__getFlake", 1, 1, |e, args, pos| e.get_flake(args[0], pos), "reference: a flake's outputs"),
];

/// What fetches the inputs that a lock file names; only the code that calls flakes has it.
pub(crate) static FETCH_LOCKED: Builtin = builtin(
    "fetchLockedTree",
    1,
    1,
    |e, args, pos| tree::fetch_locked(e, args[0], pos),
    "input: a locked tree",
);

/// `fetchTree`, which is there when one of the experimental features `flakes` and `fetch-tree` is on.
pub(super) static FETCH_TREE: Builtin =
    builtin("fetchTree", 1, 1, |e, args, pos| tree::fetch_tree(e, args[0], pos), "input: a source tree");

/// Where `<nix/fetchurl.nix>` is found.
pub(super) const FETCHURL_PATH: &[u8] = b"/__corepkgs__/fetchurl.nix";

/// The function behind `<nix/fetchurl.nix>`.
const FETCHURL: &str = include_str!("fetchurl.nix");

/// Evaluates `<nix/fetchurl.nix>`.
pub(super) fn fetchurl_function<'a>(e: &mut Evaluator<'a>) -> Eval<'a, Value<'a>> {
    e.eval_text(FETCHURL.as_bytes(), Origin::Internal("fetchurl.nix"), b"/")
}

/// Whether an entry of the search path is to be downloaded.
pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("channel:") || text.contains("://")
}

/// `channel:NAME` as an address.
fn channel_url(url: &str) -> String {
    match url.strip_prefix("channel:") {
        Some(channel) => format!("https://channels.nixos.org/{channel}/nixexprs.tar.xz"),
        None => url.to_owned(),
    }
}

fn later<'a>(e: &mut Evaluator<'a>, name: &str, pos: Pos) -> Eval<'a, Value<'a>> {
    e.fail(
        ErrorKind::Other,
        pos,
        &format!("'builtins.{name}' is not there yet: Firn does not fetch Mercurial repositories"),
    )
}

fn download<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, unpack: bool, pos: Pos) -> Eval<'a, Value<'a>> {
    let mut url = String::new();
    let mut name = String::new();
    let mut hash = None;
    match argument {
        Value::Attrs(attrs) => {
            for attr in attrs.iter() {
                let value = e.force(attr.slot)?;
                let text = String::from_utf8_lossy(e.expect_plain(value, attr.pos)?).into_owned();
                match attr.name {
                    Known::URL => url = text,
                    Known::NAME => name = text,
                    Known::SHA256 => match Hash::parse_any(&text, Some(Algorithm::Sha256)) {
                        Ok(parsed) => hash = Some(parsed),
                        Err(error) => return e.fail(ErrorKind::Other, attr.pos, &error.to_string()),
                    },
                    other => {
                        let what = if unpack { "fetchTarball" } else { "fetchurl" };
                        let message = format!("unsupported argument '{}' to '{what}'", e.symbols.show(other));
                        return e.fail(ErrorKind::Other, attr.pos, &message);
                    }
                }
            }
            if url.is_empty() {
                return e.fail(ErrorKind::Other, pos, "'url' argument required");
            }
        }
        other => url = String::from_utf8_lossy(e.expect_plain(other, pos)?).into_owned(),
    }
    if name.is_empty() {
        name =
            if unpack { "source".to_owned() } else { url.rsplit('/').next().unwrap_or_default().to_owned() };
    }
    if e.options.pure && hash.is_none() {
        let message = format!("in pure evaluation mode, fetching '{url}' requires a 'sha256' argument");
        return e.fail(ErrorKind::Restricted, pos, &message);
    }
    let path = e.fetch_path(&url, &name, unpack, hash, pos)?;
    Ok(e.string_needing(&path, Element::Opaque(&path)))
}

impl<'a> Evaluator<'a> {
    fn fetch_path(
        &mut self,
        url: &str,
        name: &str,
        unpack: bool,
        hash: Option<Hash>,
        pos: Pos,
    ) -> Eval<'a, Vec<u8>> {
        let io = Rc::clone(&self.io);
        let fetch = Fetch { url: channel_url(url), name: name.to_owned(), unpack, hash };
        let path = io.fetch(&fetch).map_err(|error| self.io_error(&error, pos))?;
        Ok(format!("{}/{}", io.store_dir(), path.base_name()).into_bytes())
    }

    /// Downloads and unpacks an archive of the search path.
    pub(super) fn fetch_tarball(&mut self, url: &str) -> Result<Vec<u8>, IoError> {
        let io = Rc::clone(&self.io);
        let path =
            io.fetch(&Fetch { url: channel_url(url), name: "source".to_owned(), unpack: true, hash: None })?;
        Ok(format!("{}/{}", io.store_dir(), path.base_name()).into_bytes())
    }

    /// A set with nothing in it.
    pub(crate) fn empty_attrs(&self) -> Value<'a> {
        Value::Attrs(Attrs::from_sorted(&self.shapes, &[]))
    }
}
