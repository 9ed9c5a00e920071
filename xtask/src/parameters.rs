//! Finds functions that take more than five values, or a tuple as a parameter.
//!
//! Clippy counts parameters; this check also counts the members of tuples.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{FnArg, ItemImpl, Signature, Type};

use crate::sources::Source;

/// Largest number of values of a call, `self` included.
const MOST_VALUES: usize = 5;

/// Every function of the file with a tuple as a parameter or with too many values, as
/// `path:line: sentence`. A file that is not valid Rust gives none; the style rules report it.
pub fn check(source: &Source) -> Vec<String> {
    let Ok(file) = syn::parse_file(&source.text) else {
        return Vec::new();
    };
    let mut found = Found {
        path: &source.path,
        sentences: Vec::new(),
    };
    found.visit_file(&file);
    found.sentences
}

struct Found<'a> {
    path: &'a str,
    sentences: Vec<String>,
}

impl<'ast> Visit<'ast> for Found<'_> {
    /// Skips implementations of traits: a trait fixes the parameters of its methods, and traits of this
    /// workspace are checked where they are declared.
    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        if block.trait_.is_none() {
            visit::visit_item_impl(self, block);
        }
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        let values: usize = signature.inputs.iter().map(values_of).sum();
        let line = signature.ident.span().start().line;
        let name = &signature.ident;
        if values > MOST_VALUES {
            self.sentences.push(format!(
                "{}:{line}: `{name}` takes {values} values: at most {MOST_VALUES}, beyond that a \
                 struct with documented fields",
                self.path
            ));
        }
        for input in &signature.inputs {
            if values_of(input) > 1 {
                self.sentences.push(format!(
                    "{}:{}: `{name}` takes a tuple: a struct names what its members are",
                    self.path,
                    input.span().start().line
                ));
            }
        }
        visit::visit_signature(self, signature);
    }
}

fn values_of(input: &FnArg) -> usize {
    match input {
        FnArg::Receiver(_) => 1,
        FnArg::Typed(parameter) => values_in(&parameter.ty),
    }
}

/// The members of a tuple, through references and nested tuples; every other type is one value.
fn values_in(kind: &Type) -> usize {
    match kind {
        Type::Tuple(tuple) => tuple.elems.iter().map(values_in).sum::<usize>().max(1),
        Type::Reference(reference) => values_in(&reference.elem),
        Type::Paren(inner) => values_in(&inner.elem),
        Type::Group(inner) => values_in(&inner.elem),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        check(&Source {
            path: "a.rs".to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn five_values_and_lists_of_pairs_pass() {
        let text = "fn f(a: u8, b: u8, c: u8, d: &[(u8, u8)], e: impl Fn((u8, u8))) {}";
        assert_eq!(complaints(text), Vec::<String>::new());
    }

    #[test]
    fn methods_that_a_trait_declares_elsewhere_pass() {
        let text = "impl T for S { fn f(&self, a: (u8, u8)) {} }";
        assert_eq!(complaints(text), Vec::<String>::new());
        assert_eq!(
            complaints("impl S { fn f(&self, a: (u8, u8)) {} }").len(),
            1
        );
    }

    #[test]
    fn members_of_tuples_count_as_values() {
        let found =
            complaints("//! A\ntrait T {\n fn f(&self, a: &(u8, (u8, u8)), b: u8, c: u8); }");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("a.rs:3: `f` takes 6 values"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("a.rs:3: `f` takes a tuple"),
            "{found:?}"
        );
    }
}
