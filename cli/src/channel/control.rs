//! Debian's control format: stanzas of `Field: value` with continuation lines (deb822(5)). Borrowed from the text, which
//! for a suite's package list is 50 MB.

/// One stanza: fields in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stanza<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Stanza<'a> {
    /// A field's value, with its continuation lines as they are. Names are compared without case.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }

    /// A field's words, over all of its lines.
    pub(crate) fn words(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.get(name).unwrap_or_default().split_whitespace()
    }
}

/// The stanzas of a text. Lines that begin with `#` are comments.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let end = blank_line(rest);
        let (stanza, after) = rest.split_at(end);
        rest = after;
        Some(parse(stanza))
    })
}

/// Where the first line of nothing but blanks begins.
fn blank_line(text: &str) -> usize {
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            return position;
        }
        position += line.len();
    }
    text.len()
}

fn parse(text: &str) -> Stanza<'_> {
    let mut stanza = Stanza::default();
    // The field under construction: its name, and where its value begins and ends so far.
    let mut current: Option<(&str, usize, usize)> = None;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let start = position;
        position += line.len();
        if line.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(field) = &mut current {
                field.2 = position;
            }
            continue;
        }
        if let Some((name, from, to)) = current.take() {
            stanza.fields.push((name, text.get(from..to).unwrap_or_default().trim()));
        }
        if let Some((name, _)) = line.split_once(':') {
            current = Some((name.trim(), start + name.len() + 1, position));
        }
    }
    if let Some((name, from, to)) = current {
        stanza.fields.push((name, text.get(from..to).unwrap_or_default().trim()));
    }
    stanza
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_fields_and_continuations() {
        let text = "# head\nPackage: a\nDescription: short\n long 1\n long 2\nVersion: 1:2.0-3\n\n\nPackage: b\nDepends: x (>= 1),\n y\n";
        let all: Vec<_> = stanzas(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Description").map(|value| value.lines().count()), Some(3));
        assert_eq!(all[0].get("Version"), Some("1:2.0-3"));
        assert_eq!(all[1].words("Depends").collect::<Vec<_>>(), ["x", "(>=", "1),", "y"]);
        assert!(all[1].get("Nothing").is_none());
    }
}
