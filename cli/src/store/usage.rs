//! `firn store usage`: what uses the disk.

use crate::json;
use anyhow::Result;
use clap::ArgMatches;
use std::io::Write as _;
use std::process::ExitCode;
use store::{Store, Usage};

pub(super) fn run(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let usage = store.usage()?;
    if matches.get_flag("json") {
        let roots: Vec<serde_json::Value> = usage
            .roots
            .iter()
            .map(|root| {
                serde_json::json!({ "root": root.link, "closureSize": root.closure, "ownSize": root.own })
            })
            .collect();
        let value = serde_json::json!({ "roots": roots, "size": usage.all, "deadSize": usage.dead });
        json::print(&value)?;
    } else {
        write!(std::io::stdout().lock(), "{}", table(&usage))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Megabytes, right in a column of ten.
fn mb(bytes: u64) -> String {
    format!("{:>10.1}", bytes as f64 / 1e6)
}

fn table(usage: &Usage) -> String {
    let head = format!("{:>10} {:>10}  root\n", "alone MB", "all MB");
    let row =
        |root: &store::RootUsage| format!("{} {}  {}\n", mb(root.own), mb(root.closure), root.link.display());
    let sum = |bytes: u64, of: &str| format!("{:>10} {}  {of}\n", "", mb(bytes));
    let sums =
        [sum(usage.all - usage.dead, "all roots together"), sum(usage.dead, "nothing keeps this: firn gc")];
    std::iter::once(head).chain(usage.roots.iter().map(row)).chain(sums).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::RootUsage;

    #[test]
    fn columns_stand_below_each_other() {
        let roots = vec![
            RootUsage { link: "/home/a/result".into(), closure: 2_500_000_000, own: 1_200_000 },
            RootUsage { link: "/nix/var/nix/profiles/system-1-link".into(), closure: 12_000_000, own: 0 },
        ];
        let usage = Usage { roots, all: 2_600_000_000, dead: 100_000_000 };
        assert_eq!(
            table(&usage),
            "  alone MB     all MB  root
       1.2     2500.0  /home/a/result
       0.0       12.0  /nix/var/nix/profiles/system-1-link
               2500.0  all roots together
                100.0  nothing keeps this: firn gc
"
        );
    }
}
