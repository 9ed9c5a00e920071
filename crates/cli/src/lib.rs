//! The `uard` command: reads arguments, calls the libraries, prints. No library prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that a person reads"
)]

mod arrays;
mod commands;
mod exit;
mod hub;
mod interrupt;
mod records;
mod self_test;
mod study;
mod tables;
mod terminal;
mod threads;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use commands::{Arguments, Outcome};

/// How a call of `uard` has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `uard --help` lists them.
    pub code: u8,
    /// What went wrong, as a person reads it.
    pub error: Option<String>,
}

impl Ended {
    fn new(outcome: &anyhow::Result<Outcome>) -> Self {
        match outcome {
            Ok(Outcome::Done) => Self {
                code: 0,
                error: None,
            },
            Ok(Outcome::Stopped) => Self {
                code: exit::STOPPED,
                error: None,
            },
            Err(error) => Self {
                code: exit::code(error),
                error: Some(exit::sentence(error)),
            },
        }
    }
}

/// The whole program: reads the arguments of this process, starts its threads, watches for Ctrl-C
/// and runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = threads::settle(arguments.threads)
        .and_then(|()| interrupt::handle())
        .and_then(|()| commands::run(&arguments.command));
    let ended = Ended::new(&outcome);
    if let Some(error) = &ended.error {
        terminal::note(&format!("error: {error}"));
    }
    ExitCode::from(ended.code)
}

/// Runs one command within this process, whose threads and signals stay as they are: what the
/// fuzzer calls. The first argument is the program's name.
pub fn call(arguments: impl IntoIterator<Item = OsString>) -> Ended {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => Ended::new(&commands::run(&arguments.command)),
        // Help and version are answers, and no error.
        Err(stop) => Ended {
            code: u8::try_from(stop.exit_code()).unwrap_or(exit::WRONG),
            error: stop.use_stderr().then(|| stop.to_string()),
        },
    }
}
