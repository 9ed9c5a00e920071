//! The `uard` command: arguments to actions. The only crate that prints.
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
mod study;
mod tables;
mod terminal;
mod threads;
mod train;

use std::process::ExitCode;

use clap::Parser;

use commands::{Arguments, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = threads::settle(arguments.threads)
        .and_then(|()| interrupt::handle())
        .and_then(|()| commands::run(&arguments.command));
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Stopped) => ExitCode::from(exit::STOPPED),
        Err(error) => {
            terminal::note(&format!("error: {}", exit::sentence(&error)));
            ExitCode::from(exit::code(&error))
        }
    }
}
