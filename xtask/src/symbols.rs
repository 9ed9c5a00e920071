//! Does the code have what the tables of the documents say it has?
//!
//! A row that names Rust files by their paths names symbols too: each must be a word of one of these
//! files. A file after the first may be named from the first one's folder.

use std::path::Path;

use crate::sources::Source;

/// Every file and symbol of a document's tables that the code does not have, as `path:line: sentence`.
pub fn check(document: &Source, code: &[Source]) -> Vec<String> {
    let rows = document.prose().filter(|(_, line)| line.starts_with('|'));
    rows.flat_map(|(number, row)| {
        let place = format!("{}:{number}", document.path);
        let complaints = complaints(row, code).into_iter();
        complaints.map(move |complaint| format!("{place}: {complaint}"))
    })
    .collect()
}

fn complaints(row: &str, code: &[Source]) -> Vec<String> {
    let (mut files, mut found) = (Vec::new(), Vec::new());
    let spans = || row.split('`').skip(1).step_by(2);
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

/// The file of a path, from the root or from the folder of the row's first file.
fn file<'a>(path: &str, first: Option<&Source>, code: &'a [Source]) -> Option<&'a Source> {
    let beside = first.map(|first| Path::new(&first.path).with_file_name(path));
    code.iter().find(|source| {
        let found = Path::new(&source.path);
        found == Path::new(path) || Some(found) == beside.as_deref()
    })
}

/// A name as Rust has them, with or without the path to it.
fn is_symbol(span: &str) -> bool {
    span.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && span.split("::").all(|part| !part.is_empty())
        && span.chars().all(|c| is_of_word(c) || c == ':')
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !is_of_word(c))
        .any(|found| found == word)
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

    /// The complaints about one line, where two files have a function each.
    fn complaints_about(line: &str) -> Vec<String> {
        let code = [
            source("crates/a/src/one.rs", "fn find_one() {}"),
            source("crates/a/src/sub/two.rs", "fn find_two() {}"),
        ];
        check(&source("docs/a.md", &format!("# A\n{line}\n")), &code)
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
    fn prose_code_and_rows_without_a_path_from_the_root_are_left_alone() {
        for line in [
            "`find` is in `crates/a/src/one.rs`",
            "| a | `find` | `one.rs` |",
            "| a | `find` |",
            "```text\n| a | `find` | `crates/a/src/one.rs` |\n```",
        ] {
            assert_eq!(complaints_about(line), Vec::<String>::new(), "{line}");
        }
    }
}
