//! `firn-init`: process 1 in the initrd and on the machine, and the supervisor, by where and how it is called.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.first().is_some_and(|name| name == "firn-supervisor") {
        return init::supervisor::run(arguments.get(1..).unwrap_or_default());
    }
    let is_first = std::process::id() == 1;
    if is_first && arguments.first().is_some_and(|name| name == init::pid1::again::NAME) {
        init::pid1::resume(arguments.get(1..).unwrap_or_default());
    }
    match arguments.get(1).map(String::as_str) {
        Some("on-console") => {
            let error = init::stage1::failure::become_shell(arguments.get(2).map_or("", String::as_str));
            init::console::show(&format!("{error}\n"));
            ExitCode::FAILURE
        }
        Some("takes-over") if !is_first => {
            let takes_over = init::pid1::again::takes_over(arguments.get(2).map_or("", String::as_str));
            if takes_over { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some("power-button") if !is_first => {
            let code = init::power_button::run(arguments.get(2).map_or("", String::as_str));
            ExitCode::from(code as u8)
        }
        _ if is_first && init::stage1::is_ours(arguments.first().map_or("", String::as_str)) => {
            init::stage1::run()
        }
        _ if is_first => init::pid1::run(arguments.first().map_or("", String::as_str)),
        _ => ExitCode::FAILURE,
    }
}
