//! `stage1.conf`: what stage 1 loads and mounts, written into the initrd at build time and read by `firn-init`.
//!
//! Line-oriented text in the manner of fstab(5): fields separated by blanks, octal escapes (`\040`) in fields, `#` comments.
//! The first line that is neither blank nor comment is `firn-stage1 1`. Then, in any number:
//!
//! ```text
//! module PATH [PARAMETERS]           insmod order; an absent device or an already loaded module is no error
//! mount SOURCE TARGET FSTYPE OPTIONS in mount order, `/` first, below /sysroot
//! timeout SECONDS                    how long to wait for a device
//! rescue PATH                        a static busybox in the image
//! end                                the last line: without it the file, and the image that it ends, was cut short
//! ```

use std::fmt::{self, Write as _};

/// The version that this module writes and the only one it reads.
pub const VERSION: u32 = 1;

/// How long stage 1 waits for a device when the file does not say.
pub const DEFAULT_TIMEOUT: u32 = 10;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage1 {
    /// Kernel modules in the order in which they are loaded.
    pub modules: Vec<Module>,
    /// File systems in the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// Seconds to wait for a device to appear.
    pub timeout: u32,
    /// Path of a static busybox in the image, for the rescue shell.
    pub rescue: Option<String>,
}

impl Default for Stage1 {
    fn default() -> Self {
        Self { modules: Vec::new(), mounts: Vec::new(), timeout: DEFAULT_TIMEOUT, rescue: None }
    }
}

/// One kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Path in the image, relative to its root.
    pub path: String,
    /// Parameters as `init_module(2)` takes them, empty for none.
    pub parameters: String,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it comes from.
    pub source: Source,
    /// Where it goes, as the booted system will see it: `/`, `/nix/store`, …
    pub target: String,
    /// Its type, or `auto`.
    pub fs_type: String,
    /// Mount options, comma-separated; `defaults` for none.
    pub options: String,
}

/// How a device is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A device node, `/dev/…`.
    Device(String),
    /// `UUID=`: the file system's own id.
    Uuid(String),
    /// `LABEL=`: the file system's label.
    Label(String),
    /// `PARTUUID=`: the partition's id in the partition table.
    PartUuid(String),
    /// `PARTLABEL=`: the partition's name in a GPT.
    PartLabel(String),
    /// No device: `tmpfs`, `overlay`, a path to bind, ….
    Other(String),
}

impl Source {
    /// Reads a source as fstab and `root=` spell it. Also takes the `/dev/disk/by-*` links, which exist only under udev.
    pub fn parse(text: &str) -> Self {
        type Tag = (&'static str, &'static str, fn(String) -> Source);
        let tags: [Tag; 4] = [
            ("UUID=", "/dev/disk/by-uuid/", Self::Uuid),
            ("LABEL=", "/dev/disk/by-label/", Self::Label),
            ("PARTUUID=", "/dev/disk/by-partuuid/", Self::PartUuid),
            ("PARTLABEL=", "/dev/disk/by-partlabel/", Self::PartLabel),
        ];
        for (tag, link, make) in tags {
            if let Some(rest) = text.strip_prefix(tag) {
                return make(rest.trim_matches('"').to_owned());
            }
            if let Some(rest) = text.strip_prefix(link) {
                return make(unescape_udev(rest));
            }
        }
        if text.starts_with("/dev/") { Self::Device(text.to_owned()) } else { Self::Other(text.to_owned()) }
    }

    /// Whether a block device has to appear before this can be mounted.
    pub fn needs_device(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) | Self::Other(path) => formatter.write_str(path),
            Self::Uuid(id) => write!(formatter, "UUID={id}"),
            Self::Label(label) => write!(formatter, "LABEL={label}"),
            Self::PartUuid(id) => write!(formatter, "PARTUUID={id}"),
            Self::PartLabel(label) => write!(formatter, "PARTLABEL={label}"),
        }
    }
}

/// Why a file is not a `stage1.conf`, with the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line number, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(formatter, "stage1.conf: {}", self.problem)
        } else {
            write!(formatter, "stage1.conf:{}: {}", self.line, self.problem)
        }
    }
}

impl std::error::Error for ParseError {}

impl Stage1 {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut result = Self::default();
        let mut seen_header = false;
        let mut seen_end = false;
        for (index, line) in text.lines().enumerate() {
            let error = |problem: String| ParseError { line: index + 1, problem };
            let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
            let Some(keyword) = fields.next().filter(|keyword| !keyword.starts_with('#')) else { continue };
            let mut fields =
                fields.map(|field| unescape(field).ok_or_else(|| error(format!("bad escape in `{field}`"))));
            if !seen_header {
                let version = fields.next().transpose()?.unwrap_or_default();
                if keyword != "firn-stage1" || version != VERSION.to_string() {
                    return Err(error(format!(
                        "expected `firn-stage1 {VERSION}`, found `{keyword} {version}`"
                    )));
                }
                seen_header = true;
                continue;
            }
            if seen_end {
                return Err(error(format!("`{keyword}` after `end`")));
            }
            let mut need = |name: &str| match fields.next() {
                Some(field) => field,
                None => Err(error(format!("`{keyword}` lacks its {name}"))),
            };
            match keyword {
                "module" => {
                    let path = need("path")?;
                    let parameters = fields.collect::<Result<Vec<_>, _>>()?.join(" ");
                    result.modules.push(Module { path, parameters });
                    continue;
                }
                "mount" => {
                    let source = Source::parse(&need("source")?);
                    let (target, fs_type, options) =
                        (need("target")?, need("file system type")?, need("options")?);
                    if !target.starts_with('/') {
                        return Err(error(format!("target `{target}` is not an absolute path")));
                    }
                    result.mounts.push(Mount { source, target, fs_type, options });
                }
                "timeout" => {
                    let seconds = need("seconds")?;
                    result.timeout = seconds
                        .parse()
                        .map_err(|_| error(format!("`{seconds}` is not a number of seconds")))?;
                }
                "rescue" => result.rescue = Some(need("path")?),
                "end" => seen_end = true,
                _ => {
                    return Err(error(format!(
                        "unknown keyword `{keyword}` (module, mount, timeout, rescue, end)"
                    )));
                }
            }
            if let Some(extra) = fields.next() {
                return Err(error(format!("`{}` is one field too many", extra?)));
            }
        }
        if !seen_header {
            return Err(ParseError { line: 0, problem: "empty".into() });
        }
        if !seen_end {
            return Err(ParseError {
                line: 0,
                problem: "cut short: its last line, `end`, is missing".into(),
            });
        }
        Ok(result)
    }
}

impl fmt::Display for Stage1 {
    /// Prints the file; what is printed parses to an equal value.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "firn-stage1 {VERSION}")?;
        for module in &self.modules {
            write!(formatter, "module {}", escape(&module.path))?;
            for parameter in module.parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
                write!(formatter, " {}", escape(parameter))?;
            }
            writeln!(formatter)?;
        }
        for mount in &self.mounts {
            writeln!(
                formatter,
                "mount {} {} {} {}",
                escape(&mount.source.to_string()),
                escape(&mount.target),
                escape(&mount.fs_type),
                escape(if mount.options.is_empty() { "defaults" } else { &mount.options }),
            )?;
        }
        writeln!(formatter, "timeout {}", self.timeout)?;
        if let Some(path) = &self.rescue {
            writeln!(formatter, "rescue {}", escape(path))?;
        }
        writeln!(formatter, "end")
    }
}

/// Writes blanks, backslashes and control characters as `\ooo`, as fstab(5) does.
fn escape(field: &str) -> String {
    let mut escaped = String::with_capacity(field.len());
    for character in field.chars() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\\' | '#' => {
                // Writing to a string cannot fail.
                write!(escaped, "\\{:03o}", character as u32).unwrap_or_default();
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Undoes [`escape`]; `None` when a backslash is not followed by three octal digits or the bytes are not UTF-8.
fn unescape(field: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'\\' {
            let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            rest = tail.get(3..)?;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Undoes udev's `\xHH` in the names of links below /dev/disk.
fn unescape_udev(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = (byte == b'\\' && tail.first() == Some(&b'x'))
            .then(|| tail.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(hex.unwrap_or(byte));
        rest = if hex.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "\
# comment
firn-stage1 1
module lib/modules/6.1/virtio_blk.ko
module lib/modules/6.1/loop.ko max_loop=8 hw_queue_depth=64
mount LABEL=firn\\040root / ext4 defaults
mount tmpfs /tmp tmpfs mode=1777,size=50%
mount overlay /etc overlay lowerdir=/a:/b,upperdir=/c
timeout 20
rescue bin/busybox
end
";

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let parsed = Stage1::parse(EXAMPLE).unwrap();
        assert_eq!(parsed.mounts[0].source, Source::Label("firn root".into()));
        assert_eq!(parsed.modules[1].parameters, "max_loop=8 hw_queue_depth=64");
        assert_eq!(parsed.timeout, 20);
        assert_eq!(Stage1::parse(&parsed.to_string()).unwrap(), parsed);
    }

    #[test]
    fn errors_name_line_and_cause() {
        for (text, expected) in [
            ("", "stage1.conf: empty"),
            ("firn-stage1 1\ntimeout 1\n", "stage1.conf: cut short: its last line, `end`, is missing"),
            ("firn-stage1 1\nend\ntimeout 1\n", "stage1.conf:3: `timeout` after `end`"),
            ("module x\n", "stage1.conf:1: expected `firn-stage1 1`, found `module x`"),
            ("firn-stage1 2\n", "stage1.conf:1: expected `firn-stage1 1`, found `firn-stage1 2`"),
            ("firn-stage1 1\nmount a /\n", "stage1.conf:2: `mount` lacks its file system type"),
            ("firn-stage1 1\nmount a b c d\n", "stage1.conf:2: target `b` is not an absolute path"),
            ("firn-stage1 1\n\ntimeout soon\n", "stage1.conf:3: `soon` is not a number of seconds"),
            ("firn-stage1 1\nrescue a b\n", "stage1.conf:2: `b` is one field too many"),
            ("firn-stage1 1\nrescue a\\9\n", "stage1.conf:2: bad escape in `a\\9`"),
            (
                "firn-stage1 1\nshell x\n",
                "stage1.conf:2: unknown keyword `shell` (module, mount, timeout, rescue, end)",
            ),
        ] {
            assert_eq!(Stage1::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn sources_as_root_spells_them() {
        for (text, expected) in [
            ("/dev/vda1", Source::Device("/dev/vda1".into())),
            ("UUID=ab-cd", Source::Uuid("ab-cd".into())),
            ("PARTUUID=1", Source::PartUuid("1".into())),
            ("PARTLABEL=esp", Source::PartLabel("esp".into())),
            ("/dev/disk/by-label/my\\x20disk", Source::Label("my disk".into())),
            ("/dev/disk/by-uuid/AB12", Source::Uuid("AB12".into())),
            ("tmpfs", Source::Other("tmpfs".into())),
        ] {
            assert_eq!(Source::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic() {
        let mut seed = 0x9e37_79b9_u64;
        for _ in 0..2000 {
            let mut text = String::from("firn-stage1 1\n");
            for _ in 0..40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push(char::from(b"mount module\\04 \n#/x"[(seed >> 33) as usize % 20]));
            }
            text.push_str("\nend\n");
            if let Ok(parsed) = Stage1::parse(&text) {
                assert_eq!(Stage1::parse(&parsed.to_string()).unwrap(), parsed, "{text:?}");
            }
        }
    }
}
