//! `firn-init`: process 1 in the initrd and on the machine, and the supervisor, by where and how it is called.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("on-console") => {
            let error = init::stage1::failure::become_shell(arguments.get(2).map_or("", String::as_str));
            init::console::show(&format!("{error}\n"));
            ExitCode::FAILURE
        }
        _ if std::process::id() == 1 && Path::new(init::stage1::DESCRIPTION).exists() => init::stage1::run(),
        _ => ExitCode::FAILURE,
    }
}
