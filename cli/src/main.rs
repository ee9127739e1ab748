//! The `firn` command. Parses the command line, hands over to one module per family of subcommands, and is the one
//! place that turns an error into text and an exit code.
//!
//! Called under the name of a Nix tool (`nix-instantiate`, `nix-store`, …) it behaves as that tool.

mod bootmenu;
mod build;
mod channel;
mod enter;
mod eval;
mod eval_cache;
mod eval_io;
mod family;
mod fetch;
mod flakes;
mod flame_graph;
mod fronts;
mod generate_config;
mod generation;
mod image;
mod install;
mod instantiate;
mod json;
mod logs;
mod machine;
mod nix_build;
mod nix_channel;
mod nix_collect_garbage;
mod nix_command;
mod nix_conf;
mod nix_env;
mod nix_front;
mod nix_hash;
mod nix_shell;
mod nix_store;
mod parse;
mod profile;
mod progress;
mod repl;
mod secure_boot;
mod service;
mod settings;
mod status;
mod store;
mod system;
mod vm;

use std::io::Write as _;
use std::process::ExitCode;

/// Parses, runs, reports: stdout is data, stderr is talk, a broken pipe is success.
fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("FIRN_LOG", "warn"))
        .target(env_logger::Target::Pipe(Box::new(progress::StandardError::default())))
        .format(|out, record| match record.level() {
            log::Level::Warn => writeln!(out, "warning: {}", record.args()),
            level => writeln!(out, "[{level} {}] {}", record.target(), record.args()),
        })
        .init();
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let result = match family::nix_tool(&name) {
        Some(tool) => tool(&arguments.collect::<Vec<_>>()),
        None => family::run(std::env::args_os()),
    };
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Prints the error with its causes and chooses the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        let code = u8::try_from(usage.exit_code()).unwrap_or(2);
        return if usage.print().is_ok() { ExitCode::from(code) } else { ExitCode::FAILURE };
    }
    let code = error.downcast_ref::<family::Failure>().map_or(1, |failure| failure.code);
    if progress::error(&format!("error: {error:#}")) { ExitCode::from(code) } else { ExitCode::FAILURE }
}

/// Whether the reader of our output went away, which is its right.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
