//! Which directives systemd has in which section, honoured here or not, from `systemd.txt`: what is none of them is a misspelling, and
//! what is one of them and not honoured is refused by name.

/// The list.
const LIST: &str = include_str!("systemd.txt");

/// The groups of the list that a section's directives are in.
fn groups(section: &str) -> &'static [&'static str] {
    match section {
        "Unit" => &["Unit"],
        "Install" => &["Install"],
        "Service" => &["Service", "exec", "kill", "cgroup"],
        "Socket" => &["Socket", "exec", "kill", "cgroup"],
        "Mount" => &["Mount", "exec", "kill", "cgroup"],
        "Swap" => &["Swap", "exec", "kill", "cgroup"],
        "Slice" => &["Slice", "cgroup"],
        "Timer" => &["Timer"],
        "Path" => &["Path"],
        _ => &[],
    }
}

/// All of a section.
pub fn known(section: &str) -> impl Iterator<Item = &'static str> + use<> {
    let groups = groups(section);
    let mut is_in = false;
    LIST.lines().filter(|line| !line.starts_with('#')).flat_map(move |line| {
        let head = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        if let Some(group) = head {
            is_in = groups.contains(&group);
        }
        let names = if is_in && head.is_none() { line } else { "" };
        names.split_whitespace()
    })
}

/// Whether systemd has the directive in that section.
pub fn is_known(section: &str, directive: &str) -> bool {
    known(section).any(|name| name == directive)
}
