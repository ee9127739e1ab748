//! The page that `:doc` shows of a builtin: its arguments and what it does, from the builtins' tables, then what else one
//! should know, and an example.
//!
//! `pages.txt` has the second part. A page begins with the builtin's name; text follows; then an example, a line that
//! begins with `> ` and what that gives behind `= `, which the tests evaluate, or one that only shows how it looks,
//! behind `% `, where it takes the network or a store. An empty line ends the page.

use crate::builtins::Builtin;

const PAGES: &str = include_str!("pages.txt");

/// What stands in `pages.txt` about a builtin: the text, the example, what that gives.
struct Page {
    text: &'static str,
    example: &'static str,
    result: Option<&'static str>,
}

/// The page of that name.
fn find(name: &str) -> Option<Page> {
    let page = PAGES.split("\n\n").find_map(|page| page.trim_end().strip_prefix(name)?.strip_prefix('\n'))?;
    let start = page.find("> ").filter(|&start| start == 0 || page[..start].ends_with('\n'));
    let Some(start) = start.or_else(|| page.find("\n> ").map(|newline| newline + 1)) else {
        let (text, example) = page.split_once("% ")?;
        return Some(Page { text: text.trim_end(), example, result: None });
    };
    let (text, rest) = page.split_at(start);
    let (example, result) = rest[2..].split_once("\n= ")?;
    Some(Page { text: text.trim_end(), example, result: Some(result) })
}

/// What `:doc` shows.
pub(super) fn page(builtin: &Builtin) -> String {
    let (arguments, does) = builtin.doc.split_once(": ").unwrap_or(("", builtin.doc));
    let mut shown = format!("builtins.{} {arguments}\n    {does}", builtin.shown_name());
    let Some(page) = find(builtin.shown_name()) else { return shown };
    if !page.text.is_empty() {
        shown.push_str("\n\n");
        shown.push_str(page.text);
    }
    shown.push_str("\n\n    ");
    shown.push_str(&page.example.replace('\n', "\n    "));
    if let Some(result) = page.result {
        shown.push_str("\n    => ");
        shown.push_str(result);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{PAGES, find};
    use crate::io::MemoryIo;
    use crate::{Arena, Evaluator, Options, Style, builtin_names};
    use std::rc::Rc;

    /// What cannot be shown without a network or a store.
    const NOT_EVALUATED: [&str; 7] =
        ["fetchGit", "fetchMercurial", "fetchTarball", "fetchTree", "fetchurl", "getFlake", "storePath"];

    fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = builtin_names().chain(["fetchTree"]).collect();
        names.sort_by_key(|name| name.to_ascii_lowercase());
        names
    }

    #[test]
    fn every_builtin_has_a_page_and_the_other_way_round() {
        let pages: Vec<&str> = PAGES.split("\n\n").filter_map(|page| page.lines().next()).collect();
        assert_eq!(pages, names());
    }

    #[test]
    fn every_example_gives_what_the_page_says() {
        let world = || {
            MemoryIo::default()
                .with_file("/example/a.txt", "some text\n")
                .with_file("/example/one.nix", "1")
                .with_file("/example/scoped.nix", "given + 1")
                .with_file("/example/set.nix", "{\n  a = 1;\n}\n")
                .with_file("/example/sub/x", "x")
        };
        for name in names() {
            let page = find(name).unwrap_or_else(|| panic!("{name} has no example"));
            assert_eq!(page.result.is_none(), NOT_EVALUATED.contains(&name), "{name}");
            let Some(expected) = page.result else { continue };
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, Rc::new(world()), Options::default());
            let value =
                evaluator.eval_str(page.example, b"/").unwrap_or_else(|error| panic!("{name}: {error:?}"));
            evaluator.force_deep_value(value).unwrap();
            assert_eq!(String::from_utf8_lossy(&evaluator.print(value, Style::Plain)), expected, "{name}");
            assert!(page.example.contains(name), "{name}: its example does not show it");
        }
    }
}
