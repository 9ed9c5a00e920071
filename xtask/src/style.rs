//! Checks style rules for Rust files that no lint of rustc or clippy covers.
//!
//! The files are read as tokens, not as items, so that code inside macros is checked too.

use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};

use crate::sources::Source;

/// Code that may open and write files with the standard library: `uard-files`, crates for tests, and
/// scenes, which are written into a folder that is renamed as a whole. The database of a photo index
/// needs no entry: SQLite opens it itself.
const FILE_CALLS_ALLOWED: &[&str] = &[
    "crates/fuzz/",
    "crates/scenes/src/write.rs",
    "crates/files/",
    "crates/ptx/",
    "crates/testkit/",
];

/// File and folder names that do not describe their contents.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "prelude", "util", "utils"];

/// Every rule that the file breaks, as `path:line: sentence`.
pub fn check(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        found.push((
            1,
            "the file opens with `//!`, saying what it holds and why it is here".to_owned(),
        ));
    }
    if let Some(name) = empty_name(&source.path) {
        found.push((
            1,
            format!("`{name}` names no concept: name the file after what it holds"),
        ));
    }
    match TokenStream::from_str(&source.text) {
        Ok(tokens) => {
            let mut facts = Facts::default();
            facts.read(tokens);
            found.extend(stray_file_calls(&facts, &source.path));
        }
        Err(error) => found.push((error.span().start().line, format!("not Rust: {error}"))),
    }
    found
        .into_iter()
        .map(|(line, sentence)| format!("{}:{line}: {sentence}", source.path))
        .collect()
}

/// What the rules read from a file.
#[derive(Default)]
struct Facts {
    /// Lines before the tests that open or write a file by the standard library.
    file_call_lines: Vec<usize>,
    /// Whether `#[cfg(test)]` has been read.
    in_tests: bool,
}

impl Facts {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            if !self.in_tests && is_file_call(&tokens[at..]) {
                self.file_call_lines.push(token.span().start().line);
            }
            if let TokenTree::Group(group) = token {
                self.in_tests |= group.stream().to_string() == "cfg (test)";
                self.read(group.stream());
            }
        }
    }
}

/// Whether the tokens begin with a call such as `fs::write` or `File::open`.
fn is_file_call(tokens: &[TokenTree]) -> bool {
    let [
        TokenTree::Ident(owner),
        TokenTree::Punct(first),
        TokenTree::Punct(second),
        ..,
    ] = tokens
    else {
        return false;
    };
    let Some(TokenTree::Ident(call)) = tokens.get(3) else {
        return false;
    };
    let calls: &[&str] = match owner.to_string().as_str() {
        "fs" => &["read", "read_to_string", "write", "copy"],
        "File" => &["open", "create", "create_new"],
        _ => return false,
    };
    first.as_char() == ':' && second.as_char() == ':' && calls.iter().any(|known| call == known)
}

/// Calls of the standard library in product code, which must use `uard-files`; tests, benches and
/// tools need not.
fn stray_file_calls(facts: &Facts, path: &str) -> Vec<(usize, String)> {
    let is_product = path.starts_with("crates/") && path.contains("/src/");
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    if !is_product
        || is_test
        || FILE_CALLS_ALLOWED
            .iter()
            .any(|allowed| path.starts_with(allowed))
    {
        return Vec::new();
    }
    let sentence = "files are opened and written through `uard-files`, which follows links, waits for \
                    no pipe and leaves nothing half written";
    facts
        .file_call_lines
        .iter()
        .map(|line| (*line, sentence.to_owned()))
        .collect()
}

/// Files of integration tests that the `main.rs` of their crate does not name, so that they never
/// run.
pub fn tests_that_never_run(sources: &[Source]) -> Vec<String> {
    let in_tests = |path: &str| {
        let (folder, name) = path.rsplit_once('/')?;
        folder
            .ends_with("/tests")
            .then(|| (folder.to_owned(), name.to_owned()))
    };
    let mut found = Vec::new();
    for source in sources {
        let Some((folder, name)) = in_tests(&source.path) else {
            continue;
        };
        let main = sources
            .iter()
            .find(|main| main.path == format!("{folder}/main.rs"));
        let module = name.trim_end_matches(".rs");
        let is_named = main.is_none_or(|main| main.text.contains(&format!("mod {module};")));
        if module != "main" && !is_named {
            found.push(format!(
                "{}: {folder}/main.rs does not name it, so it never runs",
                source.path
            ));
        }
    }
    found
}

fn empty_name(path: &str) -> Option<&str> {
    path.split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .find(|part| EMPTY_NAMES.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_file_that_main_does_not_name_is_found() {
        let source = |path: &str, text: &str| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let sources = [
            source("crates/a/tests/main.rs", "mod named;\n"),
            source("crates/a/tests/named.rs", ""),
            source("crates/a/tests/forgotten.rs", ""),
            source("crates/b/tests/alone.rs", ""),
        ];
        let found = tests_that_never_run(&sources);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/a/tests/forgotten.rs"));
    }

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(&Source {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    fn in_core(body: &str) -> Vec<String> {
        complaints("crates/core/src/x.rs", &format!("//! What?\n{body}"))
    }

    #[test]
    fn a_file_that_follows_the_rules_passes() {
        let body =
            "/// Adds.\npub fn add(a: fn(u8) -> u8) -> u8 { a(1) }\ntrait T { fn t(&self); }";
        assert_eq!(in_core(body), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_module_doc_fails() {
        let found = complaints("crates/core/src/x.rs", "use std::fs;\n//! Late.\n");
        assert!(
            found[0].contains("x.rs:1: the file opens with `//!`"),
            "{found:?}"
        );
        assert_eq!(complaints("crates/core/src/x.rs", "").len(), 1);
    }

    #[test]
    fn files_are_opened_through_their_crate_but_in_tests() {
        let text = "//! X\nfn f() { std::fs::write(p, b); }\n#[cfg(test)]\nmod t { fs::read(p); }";
        let found = complaints("crates/core/src/x.rs", text);
        assert!(
            found.len() == 1 && found[0].starts_with("crates/core/src/x.rs:2:"),
            "{found:?}"
        );
        for path in [
            "crates/core/src/a/tests.rs",
            "crates/cli/tests/a.rs",
            "xtask/src/a.rs",
        ] {
            assert!(complaints(path, text).is_empty(), "{path}");
        }
        assert!(in_core("fn f() { File::options().open(p); fs::remove_file(p); }").is_empty());
    }

    #[test]
    fn names_without_a_concept_fail() {
        for path in ["crates/core/src/utils.rs", "crates/cli/tests/common/mod.rs"] {
            let found = complaints(path, "//! What?\n");
            assert!(found[0].contains("names no concept"), "{found:?}");
        }
        assert!(complaints("crates/core/src/common_ground.rs", "//! What?\n").is_empty());
    }

    #[test]
    fn a_file_that_is_not_rust_fails() {
        assert!(in_core("fn f( {")[0].contains("not Rust"));
    }
}
