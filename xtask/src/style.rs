//! Does a Rust file keep the rules of the house that a machine can check?
//!
//! The files are read as tokens, not as items: code inside macros counts as well.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::sources::Source;

/// A function never has more lines, from `fn` to its closing brace, tests included.
const LONGEST_FUNCTION: usize = 70;

/// Files and folders that may say `unsafe`: kernels and memory mapping.
const UNSAFE_ALLOWED: &[&str] = &[
    "crates/attention/src/kernel/",
    "crates/core/src/gpu/",
    "crates/linalg/src/panels/",
    "crates/linalg/src/product.rs",
    "crates/files/src/mapped.rs",
    "crates/features/src/text/gru/kernel.rs",
    "crates/ptx/src/machine.rs",
    "crates/training/src/kernel.rs",
];

/// Product code that may open and write files by the standard library: the crate for it, crates for
/// tests, and scenes, which are drawn into a folder that is renamed as a whole.
const FILE_CALLS_ALLOWED: &[&str] = &[
    "crates/fuzz/",
    "crates/scenes/src/write.rs",
    "crates/files/",
    "crates/ptx/",
    "crates/testkit/",
];

/// File and folder names that say nothing about what is inside.
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
            found.extend(long_functions(&facts));
            found.extend(stray_unsafe(&facts, &source.path));
            found.extend(stray_file_calls(&facts, &source.path));
        }
        Err(error) => found.push((error.span().start().line, format!("not Rust: {error}"))),
    }
    found
        .into_iter()
        .map(|(line, sentence)| format!("{}:{line}: {sentence}", source.path))
        .collect()
}

/// What the rules need to know of a file.
#[derive(Default)]
struct Facts {
    functions: Vec<Function>,
    /// Lines that say `unsafe`.
    unsafe_lines: Vec<usize>,
    /// Lines before the tests that open or write a file by the standard library.
    file_call_lines: Vec<usize>,
    /// Whether `#[cfg(test)]` has been read.
    in_tests: bool,
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

impl Facts {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            if !self.in_tests && is_file_call(&tokens[at..]) {
                self.file_call_lines.push(token.span().start().line);
            }
            match token {
                TokenTree::Group(group) => {
                    self.in_tests |= group.stream().to_string() == "cfg (test)";
                    self.read(group.stream());
                }
                TokenTree::Ident(word) if word == "unsafe" => {
                    self.unsafe_lines.push(word.span().start().line);
                }
                TokenTree::Ident(word) if word == "fn" => {
                    self.functions.extend(function_at(&tokens[at..]));
                }
                _ => {}
            }
        }
    }
}

/// Whether a call such as `fs::write` or `File::open` comes first.
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

/// The function whose `fn` comes first; none for a pointer type or a declaration without a body.
fn function_at(tokens: &[TokenTree]) -> Option<Function> {
    let line = tokens.first()?.span().start().line;
    let dollar = matches!(tokens.get(1), Some(TokenTree::Punct(mark)) if mark.as_char() == '$');
    let TokenTree::Ident(name) = tokens.get(1 + usize::from(dollar))? else {
        return None;
    };
    let body = tokens
        .iter()
        .take_while(|token| !matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';'))
        .find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
            _ => None,
        })?;
    Some(Function {
        name: name.to_string(),
        line,
        lines: body.span_close().end().line - line + 1,
    })
}

fn long_functions(facts: &Facts) -> impl Iterator<Item = (usize, String)> {
    facts
        .functions
        .iter()
        .filter(|function| function.lines > LONGEST_FUNCTION)
        .map(|function| {
            let Function { name, line, lines } = function;
            let sentence = format!(
                "`{name}` has {lines} lines, and a function has at most {LONGEST_FUNCTION}: \
                 name its parts and split it"
            );
            (*line, sentence)
        })
}

fn stray_unsafe(facts: &Facts, path: &str) -> Vec<(usize, String)> {
    if UNSAFE_ALLOWED
        .iter()
        .any(|allowed| path.starts_with(allowed))
    {
        return Vec::new();
    }
    let sentence = "`unsafe` is for kernels and memory mapping only, \
                    in the files that xtask/src/style.rs lists";
    facts
        .unsafe_lines
        .iter()
        .map(|line| (*line, sentence.to_owned()))
        .collect()
}

/// Product code reaches files through `uard-files`; tests, benches and tools need not.
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

/// Files of integration tests that the `main.rs` of their crate does not name: they would never run.
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

    /// A function of exactly so many lines.
    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_of_the_house_passes() {
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
    fn seventy_lines_pass_and_one_more_fails() {
        assert!(in_core(&function(70)).is_empty());
        let found = in_core(&function(71));
        assert!(
            found[0].contains("x.rs:2: `long` has 71 lines"),
            "{found:?}"
        );
    }

    #[test]
    fn attributes_and_docs_above_a_function_do_not_count() {
        let body = format!("{}#[test]\n{}", "/// Text.\n".repeat(30), function(70));
        assert!(in_core(&body).is_empty());
    }

    #[test]
    fn functions_in_tests_methods_and_macros_count() {
        for (before, after) in [
            ("#[cfg(test)]\nmod tests {\n", "}"),
            ("impl X {\n", "}"),
            ("proptest! {\n", "}"),
            ("macro_rules! m { ($name:ident) => {\n", "} }"),
        ] {
            let found = in_core(&format!("{before}{}{after}", function(71)));
            assert_eq!(found.len(), 1, "{before}");
        }
        let named = function(71).replace("fn long", "fn $long");
        assert_eq!(
            in_core(&format!("macro_rules! m {{ () => {{ {named} }} }}")).len(),
            1
        );
    }

    #[test]
    fn unsafe_fails_outside_its_list_in_every_form() {
        for form in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for X {}",
            "m! { unsafe { g() } }",
        ] {
            let found = in_core(form);
            assert!(
                found[0].contains("x.rs:2: `unsafe` is for"),
                "{form}: {found:?}"
            );
        }
    }

    #[test]
    fn unsafe_passes_in_its_list_and_in_words() {
        let text = "//! What?\nfn f() { unsafe { g() } }";
        assert!(complaints("crates/files/src/mapped.rs", text).is_empty());
        assert!(complaints("crates/attention/src/kernel/avx2.rs", text).is_empty());
        assert!(in_core("// unsafe\n/// unsafe\nconst X: &str = \"unsafe\";").is_empty());
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
