//! Which files of a package are taken: all but those that a machine without readers does not need.
//!
//! A rule is the absolute path of a file or directory in the package; `*` stands for one name or a part of it. The
//! longest rule that covers a file decides; `keep` beats `drop` where both are equally long.

use std::path::Path;

/// What is left out unless a derivation says otherwise: manuals, translations, the checkers' notes, and all but the
/// few character sets of glibc's `gconv` that are met in practice.
pub const DEFAULT_DROP: &[&str] = &[
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/i18n",
    "/usr/share/lintian",
    "/usr/share/linda",
    "/usr/share/bug",
    "/usr/share/doc-base",
    "/usr/share/menu",
    "/usr/share/gnome/help",
    "/usr/share/gtk-doc",
    "/usr/share/help",
    "/usr/local",
    "/usr/lib/x86_64-linux-gnu/gconv",
];

/// What stays of the above: the licences, for whoever passes the machine on, and the character sets.
pub const DEFAULT_KEEP: &[&str] = &[
    "/usr/share/doc/*/copyright",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules*",
    "/usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so",
    "/usr/lib/x86_64-linux-gnu/gconv/ISO8859-15.so",
    "/usr/lib/x86_64-linux-gnu/gconv/CP1252.so",
    "/usr/lib/x86_64-linux-gnu/gconv/UNICODE.so",
    "/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
    "/usr/lib/x86_64-linux-gnu/gconv/UTF-32.so",
    "/usr/lib/x86_64-linux-gnu/gconv/UTF-7.so",
];

/// The rules for one derivation.
#[derive(Debug, Clone)]
pub struct Selection {
    rules: Vec<(Vec<String>, bool)>,
}

impl Selection {
    /// Rules from the derivation's attributes; what it does not say is as above.
    pub fn new(drop: Option<&[String]>, keep: Option<&[String]>) -> Self {
        let or_default = |given: Option<&[String]>, default: &[&str]| -> Vec<String> {
            given.map_or_else(|| default.iter().map(|&rule| rule.to_owned()).collect(), <[String]>::to_vec)
        };
        let split = |rule: &str| rule.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let mut rules = Vec::new();
        rules.extend(or_default(drop, DEFAULT_DROP).iter().map(|rule| (split(rule), false)));
        rules.extend(or_default(keep, DEFAULT_KEEP).iter().map(|rule| (split(rule), true)));
        Self { rules }
    }

    /// Whether a file with this absolute path is taken.
    pub fn takes(&self, origin: &Path) -> bool {
        let names: Vec<&str> =
            origin.to_str().unwrap_or_default().split('/').filter(|name| !name.is_empty()).collect();
        let mut longest = 0;
        let mut taken = true;
        for (rule, keep) in &self.rules {
            let covers =
                rule.len() <= names.len() && rule.iter().zip(&names).all(|(rule, name)| matches(rule, name));
            if covers && (rule.len() > longest || rule.len() == longest && *keep) {
                longest = rule.len();
                taken = *keep;
            }
        }
        taken
    }
}

/// Whether a name fits a pattern in which `*` stands for any part of a name.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            tail.is_empty()
                || (0..=rest.len()).any(|start| rest.get(start..).is_some_and(|rest| matches(tail, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let selection = Selection::new(None, None);
        for (path, taken) in [
            ("/usr/bin/bash", true),
            ("/usr/share/doc/bash/changelog.gz", false),
            ("/usr/share/doc/bash/copyright", true),
            ("/usr/share/documents", true),
            ("/usr/share/man/man1/bash.1.gz", false),
            ("/usr/lib/x86_64-linux-gnu/gconv/EUC-JP.so", false),
            ("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/x.conf", true),
            ("/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", true),
            ("/usr/lib/locale/C.utf8/LC_CTYPE", true),
        ] {
            assert_eq!(selection.takes(Path::new(path)), taken, "{path}");
        }
    }

    #[test]
    fn own_rules() {
        let drop = ["/usr/lib/modules/*/kernel/sound".to_owned(), "/etc".to_owned()];
        let selection = Selection::new(Some(&drop), Some(&["/etc/x*z".to_owned()]));
        for (path, taken) in [
            ("/usr/lib/modules/6.1/kernel/sound/a.ko", false),
            ("/usr/lib/modules/6.1/kernel/net/a.ko", true),
            ("/usr/share/doc/x", true),
            ("/etc/passwd", false),
            ("/etc/xyz/a", true),
        ] {
            assert_eq!(selection.takes(Path::new(path)), taken, "{path}");
        }
    }
}
