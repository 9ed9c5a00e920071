//! `uard completions`: prints the completion script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::terminal::print;

/// Arguments of `uard completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    uard completions bash > ~/.local/share/bash-completion/completions/uard\n  \
    uard completions zsh  > ~/.zfunc/_uard")]
pub struct Arguments {
    /// The shell that the script is for.
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "uard", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())
}
