//! systemd-boot's `loader/loader.conf`, loader.conf(5). It stays the same from generation to generation: the default is a
//! pattern over all entries of this installation and the entries' order says which is first, so that a generation that used
//! up its tries gives way to the next (`default` naming one entry boots it for ever, bad or not).

use formats::bootloader::{Bootloader, SystemdBoot};

/// The file's place.
pub const PATH: &str = "loader/loader.conf";

/// The file's text.
pub fn render(loader: &Bootloader, settings: &SystemdBoot, token: &str) -> String {
    let timeout = loader.timeout.map_or_else(|| "menu-force".to_owned(), |seconds| seconds.to_string());
    let editor = if settings.editor { "yes" } else { "no" };
    format!("timeout {timeout}\ndefault {token}-*\nconsole-mode {}\neditor {editor}\n", settings.console_mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text() {
        let loader = Bootloader::parse(
            br#"{"version":1,"timeout":5,"systemdBoot":{"efi":"/x","editor":false,"consoleMode":"max"}}"#,
        )
        .unwrap();
        let settings = loader.systemd_boot.clone().unwrap();
        assert_eq!(
            render(&loader, &settings, "firn-0a1b2c3d"),
            "timeout 5\ndefault firn-0a1b2c3d-*\nconsole-mode max\neditor no\n"
        );
        let forever = Bootloader { timeout: None, ..loader };
        assert!(render(&forever, &settings, "t").starts_with("timeout menu-force\n"));
    }
}
