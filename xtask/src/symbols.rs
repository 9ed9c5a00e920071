//! Finds files, symbols and crates that the documents name and the code does not have.
//!
//! Everywhere it checks Rust files, paths such as `Matcher::new`, and our crates. A table row with
//! the path of a Rust file is checked further: each Rust name between backticks in the row must
//! occur as a word in one of the row's files. The first path begins at the root; later ones may
//! begin at the folder of the first file.

use std::collections::HashSet;
use std::path::Path;

use crate::sources::Source;

/// Documents on earlier versions, which may name what no longer exists.
const HISTORY: [&str; 2] = ["CHANGELOG.md", "docs/decisions/"];

/// Programs of ours that are not named after a crate.
const PROGRAMS: [&str; 1] = ["uard-bench"];

/// The Rust files of the workspace with every word in them.
pub struct Code<'a> {
    files: &'a [Source],
    words: HashSet<&'a str>,
}

impl<'a> Code<'a> {
    pub fn new(files: &'a [Source]) -> Self {
        let words = files.iter().flat_map(|file| words(&file.text));
        Self {
            files,
            words: words.collect(),
        }
    }
}

/// Everything that a document names and the code does not have, as `path:line: sentence`.
pub fn check(document: &Source, code: &Code<'_>) -> Vec<String> {
    let is_history = HISTORY.iter().any(|path| document.path.starts_with(path));
    let lines = document.prose();
    let found = lines.flat_map(|(number, line)| {
        let mut found = match line.starts_with('|') {
            true => missing_in_row(line, code.files),
            false => Vec::new(),
        };
        if !is_history {
            found.extend(spans(line).filter_map(|span| missing(span, code)));
        }
        found.sort();
        found.dedup();
        let place = format!("{}:{number}", document.path);
        let found = found.into_iter();
        found.map(move |sentence| format!("{place}: {sentence}"))
    });
    found.collect()
}

/// The texts between backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// What is wrong with a span of prose: a Rust file, a path or a crate of ours that is not there.
fn missing(span: &str, code: &Code<'_>) -> Option<String> {
    let there = match span.strip_prefix("uard-") {
        _ if span.ends_with(".rs") && !span.contains([' ', '{', '*']) => {
            let mut files = code.files.iter();
            files.any(|file| Path::new(&file.path).ends_with(span))
        }
        Some(name) if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()) => {
            let folders = [format!("crates/{name}/"), format!("{name}/")];
            let mut files = code.files.iter();
            files.any(|file| folders.iter().any(|folder| file.path.starts_with(folder)))
                || PROGRAMS.contains(&span)
        }
        _ if span.contains("::") && is_symbol(span) => {
            span.split("::").all(|part| code.words.contains(part))
        }
        _ => true,
    };
    (!there).then(|| format!("there is no `{span}`"))
}

fn missing_in_row(row: &str, code: &[Source]) -> Vec<String> {
    let (mut files, mut found) = (Vec::new(), Vec::new());
    let spans = || spans(row);
    for path in spans().filter(|span| span.ends_with(".rs")) {
        match file(path, files.first().copied(), code) {
            Some(file) => files.push(file),
            None if !files.is_empty() || path.starts_with("crates/") => {
                found.push(format!("there is no `{path}`"));
            }
            None => {}
        }
    }
    for symbol in spans().filter(|span| !files.is_empty() && is_symbol(span)) {
        let name = symbol.rsplit("::").next().unwrap_or(symbol);
        if !files.iter().any(|file| has_word(&file.text, name)) {
            let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
            found.push(format!("there is no `{symbol}` in {}", paths.join(", ")));
        }
    }
    found
}

/// The file of a path, relative to the root or to the folder of the row's first file.
fn file<'a>(path: &str, first: Option<&Source>, code: &'a [Source]) -> Option<&'a Source> {
    let beside = first.map(|first| Path::new(&first.path).with_file_name(path));
    code.iter().find(|source| {
        let found = Path::new(&source.path);
        found == Path::new(path) || Some(found) == beside.as_deref()
    })
}

/// Whether the text is a Rust name, with or without a path.
fn is_symbol(span: &str) -> bool {
    span.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && span.split("::").all(|part| !part.is_empty())
        && span.chars().all(|c| is_of_word(c) || c == ':')
}

fn has_word(text: &str, word: &str) -> bool {
    words(text).any(|found| found == word)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_of_word(c))
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The complaints about one line, with two files that have a function each.
    fn complaints_about(line: &str) -> Vec<String> {
        let code = [
            source("crates/a/src/one.rs", "impl One { fn find_one() {} }"),
            source("crates/a/src/sub/two.rs", "fn find_two() {}"),
        ];
        check(
            &source("docs/a.md", &format!("# A\n{line}\n")),
            &Code::new(&code),
        )
    }

    #[test]
    fn what_the_code_has_passes() {
        for line in [
            "| a | `find_one` [I, C] | `crates/a/src/one.rs` |",
            "| a | `One::find_one`, `find_two` | `crates/a/src/one.rs`, `sub/two.rs` |",
            "| a | `find_two` in `crates/a/src/sub/two.rs`, as `x -> y` and `--flag` |",
        ] {
            assert_eq!(complaints_about(line), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn what_was_renamed_is_found_with_its_line() {
        let found = complaints_about("| a | `find` | `crates/a/src/one.rs` |");
        assert_eq!(
            found,
            ["docs/a.md:2: there is no `find` in crates/a/src/one.rs"]
        );
        let found = complaints_about("| a | `find_one` | `crates/a/src/gone.rs` |");
        assert_eq!(found, ["docs/a.md:2: there is no `crates/a/src/gone.rs`"]);
        let found = complaints_about("| a | `crates/a/src/one.rs`, `sub/gone.rs` |");
        assert_eq!(found, ["docs/a.md:2: there is no `sub/gone.rs`"]);
    }

    #[test]
    fn prose_names_files_paths_and_crates_that_exist() {
        for line in [
            "`find_one` is in `one.rs`, `sub/two.rs` and `crates/a/src/one.rs` of `uard-a`",
            "`find` is any word, `uard train` a command, `a b.rs` no file",
            "```text\n| a | `find` | `crates/a/src/one.rs` |\n```",
        ] {
            assert_eq!(complaints_about(line), Vec::<String>::new(), "{line}");
        }
        for (line, missing) in [
            ("see `side.rs`", "`side.rs`"),
            ("`find_one::two`", "`find_one::two`"),
            ("`uard-serve` does not exist", "`uard-serve`"),
            ("| a | `gone.rs` |", "`gone.rs`"),
        ] {
            let found = complaints_about(line);
            assert_eq!(found, [format!("docs/a.md:2: there is no {missing}")]);
        }
    }

    #[test]
    fn history_may_name_what_is_gone() {
        let change = source("CHANGELOG.md", "`side.rs` became `uard-gone`");
        assert!(check(&change, &Code::new(&[])).is_empty());
    }
}
