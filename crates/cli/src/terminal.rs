//! Printing: results go to stdout, notes and progress bars to stderr.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Prints a result. A closed pipe is not an error, so `uard … | head` succeeds.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("writing the result to stdout"),
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("writing JSON")?)
}

/// Prints a line to stderr, with control characters escaped. An error of stderr is ignored.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// A text with its control characters escaped. Parts of it come from files, and a terminal would execute
/// them.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => printable.push(character),
            control if control.is_control() => printable.extend(control.escape_default()),
            other => printable.push(other),
        }
    }
    printable
}

/// The path of a file, as a link if results are printed on a terminal.
pub fn link(path: &Path) -> String {
    let text = printable(&path.display().to_string());
    match url::Url::from_file_path(path) {
        Ok(url) if io::stdout().is_terminal() => {
            format!("\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\")
        }
        _ => text,
    }
}

/// The command line of this process, quoted for a shell.
pub fn command_line() -> String {
    let quoted = std::env::args_os()
        .skip(1)
        .map(|argument| quoted(&argument));
    std::iter::once("uard".to_owned())
        .chain(quoted)
        .collect::<Vec<String>>()
        .join(" ")
}

/// An argument quoted for a shell where it needs quotes.
fn quoted(argument: &OsStr) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+".contains(c);
    match argument.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', "'\\''")),
        // Bytes that are not UTF-8, in the $'…' quotes of bash and zsh.
        None => format!("$'{}'", argument.as_encoded_bytes().escape_ascii()),
    }
}

/// A bar on stderr, shown on a terminal only.
pub fn bar(total: usize, what: &'static str) -> ProgressBar {
    let template = "{prefix:>12} {wide_bar:.cyan/dim} {percent:>3} %  {eta} left";
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
    bar.set_style(style(template));
    bar.set_prefix(what);
    bar
}

/// A bar with a message between the bar and the remaining time.
pub fn bar_with_message(total: usize) -> ProgressBar {
    let template = "{prefix} {bar:8.cyan/dim} {pos}/{len} {wide_msg} {eta} left";
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
    bar.set_style(style(template));
    bar
}

/// A bar that counts photos, with a message for the speed.
pub fn bar_of_photos(total: usize, what: &str) -> ProgressBar {
    let template = "{prefix:>12} {wide_bar:.cyan/dim} {pos}/{len}  {msg}  {eta} left";
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
    bar.set_style(style(template));
    bar.set_prefix(what.to_owned());
    bar
}

/// The speed of work on photos, for a bar or a note.
pub fn photos_a_second(photos: usize, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    format!("{:.1} photos a second", photos as f64 / seconds)
}

/// Moves a bar to `done` of `total`.
pub fn advance(bar: &ProgressBar, done: usize, total: usize) {
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        for (argument, expected) in [("a/b=1", "a/b=1"), ("", "''"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(OsStr::new(argument)), expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_not_utf8_keeps_its_bytes() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(
            quoted(OsStr::from_bytes(b"lat\xe9 'x'")),
            r"$'lat\xe9 \'x\''"
        );
    }
}
