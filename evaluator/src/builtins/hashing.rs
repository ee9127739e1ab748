//! Builtins that hash.

use super::{Builtin, builtin};
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::Known;
use crate::value::Value;
use formats::hash::{Algorithm, Hash};

pub(super) const TABLE: &[Builtin] = &[
    builtin("__hashString", 2, 3, hash_string, "algorithm s: the hash of a string, in base 16"),
    builtin("__hashFile", 2, 3, hash_file, "algorithm path: the hash of a file, in base 16"),
    builtin(
        "__convertHash",
        1,
        1,
        convert_hash,
        "{ hash, hashAlgo, toHashFormat }: a hash in another notation",
    ),
    builtin(
        "placeholder",
        1,
        1,
        placeholder,
        "output: stands for the path of an output in its own derivation",
    ),
];

pub(super) fn algorithm<'a>(e: &mut Evaluator<'a>, name: &[u8], pos: Pos) -> Eval<'a, Algorithm> {
    let name = String::from_utf8_lossy(name);
    name.parse().or_else(|error: formats::hash::HashError| e.fail(ErrorKind::Other, pos, &error.to_string()))
}

fn hash_string<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_plain(args[0], pos)?;
    let algorithm = algorithm(e, name, pos)?;
    let text = e.expect_string(args[1], pos)?;
    Ok(e.new_string(Hash::of(algorithm, text.bytes()).digits16().as_bytes()))
}

fn hash_file<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_plain(args[0], pos)?;
    let algorithm = algorithm(e, name, pos)?;
    let path = e.realised_path(args[1], pos)?;
    let contents = e.read_file(&path, pos)?;
    Ok(e.new_string(Hash::of(algorithm, &contents).digits16().as_bytes()))
}

fn convert_hash<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let slot = e.required(attrs, Known::HASH, pos)?;
    let value = e.force(slot)?;
    let text = String::from_utf8_lossy(e.expect_plain(value, pos)?).into_owned();
    let wanted = match attrs.get(Known::HASH_ALGO) {
        Some(slot) => {
            let value = e.force(slot)?;
            let name = e.expect_plain(value, pos)?;
            Some(algorithm(e, name, pos)?)
        }
        None => None,
    };
    let slot = e.required(attrs, Known::TO_HASH_FORMAT, pos)?;
    let value = e.force(slot)?;
    let format = e.expect_plain(value, pos)?;
    let hash = match Hash::parse_any(&text, wanted) {
        Ok(hash) => hash,
        Err(error) => return e.fail(ErrorKind::Other, pos, &error.to_string()),
    };
    let printed = match format {
        b"base16" => hash.digits16(),
        b"nix32" => hash.digits32(),
        b"base32" => {
            e.io.message("warning: \"base32\" is a deprecated alias for hash format \"nix32\".");
            hash.digits32()
        }
        b"base64" => hash.digits64(),
        b"sri" => hash.sri(),
        other => {
            let message = format!(
                "unknown hash format '{}', expect 'base16', 'base32', 'base64', or 'sri'",
                String::from_utf8_lossy(other)
            );
            return e.fail(ErrorKind::Other, pos, &message);
        }
    };
    Ok(e.new_string(printed.as_bytes()))
}

fn placeholder<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let output = e.expect_plain(args[0], pos)?;
    let text = formats::store_path::placeholder(&String::from_utf8_lossy(output));
    Ok(e.new_string(text.as_bytes()))
}
