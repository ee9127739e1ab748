//! The words of /proc/cmdline that Firn looks at: `init=`, `root=`, `firn.rescue`, `firn.log=`, `single`, `emergency`, `rescue`.

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelCommandLine {
    /// `init=`: the program of stage 2, unresolved.
    pub init: Option<String>,
    /// `root=`: overrides the source of `/`.
    pub root: Option<String>,
    /// `rootfstype=`, with `root=`.
    pub root_type: Option<String>,
    /// `rootflags=`, with `root=`.
    pub root_options: Option<String>,
    /// `firn.rescue`: a shell in stage 1 instead of booting.
    pub rescue_stage1: bool,
    /// `single`, `rescue`, `emergency`: the target to start instead of the default.
    pub target: Option<&'static str>,
    /// `firn.watchdog=`, `systemd.watchdog_sec=`: seconds after which a hardware watchdog resets a machine that hangs.
    pub watchdog: Option<u64>,
    /// `quiet`: no line for each service.
    pub quiet: bool,
}

impl KernelCommandLine {
    /// Reads the text of /proc/cmdline. The last word of a kind wins, as with the kernel.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for word in words(text) {
            let (name, value) = word.split_once('=').unwrap_or((&word, ""));
            match name {
                "init" if !value.is_empty() => found.init = Some(value.to_owned()),
                "root" if !value.is_empty() => found.root = Some(value.to_owned()),
                "rootfstype" => found.root_type = Some(value.to_owned()),
                "rootflags" => found.root_options = Some(value.to_owned()),
                "firn.rescue" => found.rescue_stage1 = value != "0",
                "single" | "rescue" | "1" if value.is_empty() => found.target = Some("rescue.target"),
                "emergency" if value.is_empty() => found.target = Some("emergency.target"),
                "systemd.unit" | "firn.target" => {
                    found.target = match value {
                        "rescue.target" => Some("rescue.target"),
                        "emergency.target" => Some("emergency.target"),
                        "multi-user.target" => Some("multi-user.target"),
                        "graphical.target" => Some("graphical.target"),
                        _ => found.target,
                    }
                }
                "firn.watchdog" | "systemd.watchdog_sec" => {
                    found.watchdog = value.trim_end_matches('s').parse().ok();
                }
                "quiet" => found.quiet = true,
                _ => {}
            }
        }
        found
    }

    /// Reads the running kernel's.
    pub fn of_this_machine() -> Self {
        std::fs::read_to_string("/proc/cmdline").map(|text| Self::parse(&text)).unwrap_or_default()
    }
}

/// Words at blanks; double quotes keep blanks together, as the kernel has it.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            character if character.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            character => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_matter() {
        let line = KernelCommandLine::parse(
            "BOOT_IMAGE=x root=\"LABEL=my disk\" init=/a init=/nix/store/x/init quiet firn.rescue console=ttyS0\n",
        );
        assert_eq!(line.init.as_deref(), Some("/nix/store/x/init"));
        assert_eq!(line.root.as_deref(), Some("LABEL=my disk"));
        assert!(line.rescue_stage1 && line.quiet);
        assert_eq!(KernelCommandLine::parse("single").target, Some("rescue.target"));
        assert_eq!(KernelCommandLine::parse("init= firn.rescue=0"), KernelCommandLine::default());
    }
}
