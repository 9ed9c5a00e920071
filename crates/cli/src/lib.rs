//! The `uard` command as a library: reads arguments, calls the other crates and prints results. No
//! other crate prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that a person reads"
)]

mod arrays;
mod coco;
mod commands;
mod drawing;
mod exit;
mod hub;
mod index;
mod interrupt;
mod records;
mod self_test;
mod study;
mod tables;
mod terminal;
mod threads;
mod thumbnails;
mod train;
mod weights;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;

pub use commands::matmul;
use commands::{Arguments, Outcome};
pub use index::adopting::adopt;
pub use index::model::{EncoderChoice, IndexModel, IndexOptions, LoadedEncoder};
pub use index::photos::{LazyEncoder, PhotoFolders};
pub use index::report::{Changes, Updated};

/// The exit code and error message of a finished call of `uard`.
#[derive(Debug)]
pub struct CallResult {
    /// The exit code; `uard --help` lists them.
    pub code: u8,
    /// The error message, if the call failed.
    pub error: Option<String>,
}

impl CallResult {
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
                error: Some(exit::message(error)),
            },
        }
    }
}

/// The whole program: reads the arguments of this process, starts its threads, installs the handler
/// of Ctrl-C and runs the command.
pub fn main() -> ExitCode {
    ExitCode::from(start(&Arguments::parse(), threads::configure))
}

/// The whole program inside of another executable, such as Python's, which cannot restart itself with
/// `RAYON_NUM_THREADS`: the caller sets that before. The first argument is the program's name; returns
/// the exit code.
pub fn embedded(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => start(&arguments, threads::configure_without_restart),
        Err(stop) => {
            // Nobody may be reading any more.
            let _closed = stop.print();
            u8::try_from(stop.exit_code()).unwrap_or(exit::WRONG)
        }
    }
}

fn start(
    arguments: &Arguments,
    start_threads: impl FnOnce(Option<NonZeroUsize>) -> anyhow::Result<()>,
) -> u8 {
    let outcome = start_threads(arguments.threads)
        .and_then(|()| interrupt::handle())
        .and_then(|()| commands::run(&arguments.command));
    let result = CallResult::new(&outcome);
    if let Some(error) = &result.error {
        terminal::note(&format!("error: {error}"));
    }
    result.code
}

/// Runs one command in this process without changing its thread pool or signal handlers, for the
/// fuzzer. The first argument is the program's name.
pub fn call(arguments: impl IntoIterator<Item = OsString>) -> CallResult {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => CallResult::new(&commands::run(&arguments.command)),
        // clap returns the texts of --help and --version as errors that do not go to stderr.
        Err(stop) => CallResult {
            code: u8::try_from(stop.exit_code()).unwrap_or(exit::WRONG),
            error: stop.use_stderr().then(|| stop.to_string()),
        },
    }
}
