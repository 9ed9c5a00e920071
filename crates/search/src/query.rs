//! The query language: words, phrases, what must and must not be shown, and filters.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tantivy_query_grammar::{
    Delimiter, Occur, UserInputAst, UserInputLeaf, UserInputLiteral, parse_query_lenient,
};
use utoipa::ToSchema;

use crate::photo::Date;
use crate::{Error, Filter, Result};

/// The most bytes of a query; captions are shorter.
const LONGEST: usize = 500;

/// The most opening parentheses of a query: the parser is recursive.
const MOST_PARENTHESES: usize = 16;

/// A query, divided into what photos should show and conditions on the photos.
///
/// ```text
/// a dog jumps into water      words: photos that show all of them come first
/// "red ball"                  a phrase: one region shows all of its words
/// +dog                        only photos that show a dog
/// -cat   not cat              only photos that do not show a cat
/// date:2024-05..2024-07       taken from May to July; date:2024, date:2024-05.., date:..2023
/// folder:DIR  camera:NAME  has:place
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What photos should show, as one sentence: the query without what is excluded and without
    /// filters.
    pub sentence: String,
    /// Words and phrases in the order of the query.
    pub terms: Vec<Term>,
    /// The conditions.
    pub filter: Filter,
}

/// A word or a phrase of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The word, or the words of the phrase.
    pub text: String,
    /// What it asks of photos.
    pub role: Role,
    /// Whether it stood in quotes.
    pub is_phrase: bool,
}

/// What a term asks of photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Photos that show it come first.
    Wanted,
    /// Only photos that show it.
    Required,
    /// Only photos that do not show it.
    Excluded,
}

impl Query {
    /// Reads a query. `counts` says of a word whether it names something that a photo can show: in
    /// `not a cat`, the word after `not` that counts is excluded.
    ///
    /// # Errors
    /// When the syntax is wrong, a filter is unknown or its value cannot be read, or nothing is asked
    /// for.
    ///
    /// ```
    /// use uard_search::query::{Query, Role};
    ///
    /// let query = Query::parse("a dog -cat date:2024-05..2024-07", &|word| word != "a")?;
    /// assert_eq!(query.sentence, "a dog");
    /// assert_eq!(query.terms[2].role, Role::Excluded);
    /// assert_eq!(query.filter.to, Some("2024-07".parse()?));
    /// # Ok::<(), uard_search::Error>(())
    /// ```
    pub fn parse(text: &str, counts: &dyn Fn(&str) -> bool) -> Result<Self> {
        let refused = |cause: String| Error::Query {
            query: text.to_owned(),
            cause,
        };
        if text.len() > LONGEST {
            return Err(Error::Query {
                query: text.chars().take(60).chain("…".chars()).collect(),
                cause: format!("it has {} bytes, expected at most {LONGEST}", text.len()),
            });
        }
        if text.matches('(').count() > MOST_PARENTHESES {
            return Err(refused(format!(
                "it has more than {MOST_PARENTHESES} parentheses"
            )));
        }
        let (tree, errors) = parse_query_lenient(text);
        if let Some(error) = errors.first() {
            let at = text.get(..error.pos).map_or(0, |read| read.chars().count()) + 1;
            return Err(refused(format!("{} at character {at}", error.message)));
        }
        let mut reader = Reader {
            query: Self {
                sentence: String::new(),
                terms: Vec::new(),
                filter: Filter::default(),
            },
            counts,
            is_negated: false,
        };
        reader.read(tree, None).map_err(refused)?;
        if reader.is_negated {
            return Err(refused("expected a word after `not`".to_owned()));
        }
        let mut query = reader.query;
        // The parser drops the sign of a query of one term.
        if let ([term], true) = (&mut query.terms[..], text.trim_start().starts_with('+')) {
            term.role = Role::Required;
        }
        let kept = query
            .terms
            .iter()
            .filter(|term| term.role != Role::Excluded);
        let kept: Vec<&str> = kept.map(|term| term.text.as_str()).collect();
        query.sentence = kept.join(" ");
        Ok(query)
    }
}

/// Collects terms and conditions from the tree of a query.
struct Reader<'a> {
    query: Query,
    counts: &'a dyn Fn(&str) -> bool,
    /// Whether the next word that counts is excluded.
    is_negated: bool,
}

/// The error is the cause in words.
type Read<T> = std::result::Result<T, String>;

impl Reader<'_> {
    fn read(&mut self, tree: UserInputAst, occur: Option<Occur>) -> Read<()> {
        match tree {
            UserInputAst::Clause(clauses) => {
                for (inner, clause) in clauses {
                    // What is excluded stays so within parentheses.
                    let occur = match occur {
                        Some(Occur::MustNot) => occur,
                        _ => inner.or(occur),
                    };
                    self.read(clause, occur)?;
                }
                Ok(())
            }
            UserInputAst::Leaf(leaf) => match *leaf {
                UserInputLeaf::Literal(literal) if literal.field_name.is_none() => {
                    self.term(&literal, occur)
                }
                UserInputLeaf::Literal(literal) => self.condition(literal, occur),
                _ => Err("ranges in brackets, sets and `*` are not supported; for dates write date:2024-05..2024-07".to_owned()),
            },
            UserInputAst::Boost(..) => Err("weights of words (`^`) are not supported".to_owned()),
        }
    }

    fn term(&mut self, literal: &UserInputLiteral, occur: Option<Occur>) -> Read<()> {
        let is_phrase = literal.delimiter != Delimiter::None;
        let text = literal.phrase.trim().to_owned();
        if text.is_empty() {
            return Err("expected words between the quotes".to_owned());
        }
        // The text model reads `/dog` as a word of its own, which it has not learned.
        let text = match text.trim_start_matches(|letter: char| !letter.is_alphanumeric()) {
            "" => text,
            word => word.to_owned(),
        };
        if !is_phrase && occur.is_none() && ["not", "without"].contains(&&*text.to_lowercase()) {
            self.is_negated = true;
            return Ok(());
        }
        let role = match occur {
            Some(Occur::Should) => {
                return Err("`OR` is not supported: ask one query for each alternative".to_owned());
            }
            Some(Occur::MustNot) => Role::Excluded,
            _ if self.is_negated => Role::Excluded,
            Some(Occur::Must) => Role::Required,
            None => Role::Wanted,
        };
        if self.is_negated && !is_phrase && !(self.counts)(&text) {
            return Ok(());
        }
        self.is_negated = false;
        self.query.terms.push(Term {
            text,
            role,
            is_phrase,
        });
        Ok(())
    }

    fn condition(&mut self, literal: UserInputLiteral, occur: Option<Occur>) -> Read<()> {
        let (name, value) = (literal.field_name.unwrap_or_default(), literal.phrase);
        if occur == Some(Occur::MustNot) {
            return Err(format!(
                "`-{name}:` is not supported: a filter names what is kept"
            ));
        }
        let filter = &mut self.query.filter;
        match (name.as_str(), value.as_str()) {
            ("date", value) => {
                let (from, to) = value.split_once("..").unwrap_or((value, value));
                [filter.from, filter.to] = [date(from)?, date(to)?];
                if filter.from.is_none() && filter.to.is_none() {
                    return Err("expected a date after `date:`".to_owned());
                }
            }
            ("folder", value) => filter.folder = Some(folder(value)?),
            ("camera", value) => filter.camera = Some(value.to_owned()),
            ("has", "place") => filter.has_coordinates = Some(true),
            ("has", other) => return Err(format!("expected has:place, found `has:{other}`")),
            (name, _) => {
                return Err(format!(
                    "`{name}:` is no filter; expected date, folder, camera or has. To search for text with a colon, put it in quotes"
                ));
            }
        }
        Ok(())
    }
}

/// A date, or none where the text is empty.
fn date(text: &str) -> Read<Option<Date>> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|error: Error| error.to_string()),
    }
}

/// The path of a folder as an index names it: absolute, and without links if it exists.
fn folder(text: &str) -> Read<PathBuf> {
    let home = text.strip_prefix("~/").zip(std::env::home_dir());
    let path = home.map_or_else(|| PathBuf::from(text), |(inside, home)| home.join(inside));
    let found = path.canonicalize().or_else(|_| std::path::absolute(&path));
    found.map_err(|error| format!("folder {text}: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(word: &str) -> bool {
        !["a", "the", "on"].contains(&word)
    }

    fn query(text: &str) -> Query {
        Query::parse(text, &counts).unwrap()
    }

    fn refusal(text: &str) -> String {
        Query::parse(text, &counts).unwrap_err().to_string()
    }

    fn terms(text: &str, role: Role) -> Vec<String> {
        let terms = query(text).terms.into_iter();
        terms
            .filter(|term| term.role == role)
            .map(|term| term.text)
            .collect()
    }

    #[test]
    fn a_sentence_keeps_its_words_their_order_and_repetitions() {
        let asked = query("a dog on a mat, with the ball's shadow");
        assert_eq!(asked.sentence, "a dog on a mat, with the ball's shadow");
        assert!(asked.terms.iter().all(|term| term.role == Role::Wanted));
    }

    #[test]
    fn roles_of_terms() {
        assert_eq!(terms("a dog -cat", Role::Excluded), ["cat"]);
        assert_eq!(terms("dog -\"red ball\"", Role::Excluded), ["red ball"]);
        assert_eq!(terms("dog not cat bird", Role::Excluded), ["cat"]);
        assert_eq!(terms("dog without a cat", Role::Excluded), ["cat"]);
        assert_eq!(terms("dog NOT cat", Role::Excluded), ["cat"]);
        assert_eq!(terms("-(cat bird)", Role::Excluded), ["cat", "bird"]);
        assert_eq!(terms("dog +ball", Role::Required), ["ball"]);
        assert_eq!(terms("+\"red ball\"", Role::Required), ["red ball"]);
        assert_eq!(
            terms("+\"red ball\" date:2024", Role::Required),
            ["red ball"]
        );
        assert_eq!(terms("dog AND ball", Role::Required), ["dog", "ball"]);
        assert_eq!(query("dog without a cat").sentence, "dog");
        assert_eq!(terms("#dog /ball", Role::Wanted), ["dog", "ball"]);
        let quoted = query("\"not\"").terms;
        assert!(quoted[0].is_phrase && quoted[0].role == Role::Wanted);
    }

    #[test]
    fn filters() {
        let filter = query("dog date:2024-05..2024-07 camera:Canon has:place").filter;
        assert_eq!(filter.from, Some("2024-05".parse().unwrap()));
        assert_eq!(filter.to, Some("2024-07".parse().unwrap()));
        assert_eq!(filter.camera.as_deref(), Some("Canon"));
        assert_eq!(filter.has_coordinates, Some(true));
        let year = query("date:2024").filter;
        assert_eq!(year.from, year.to);
        assert_eq!(query("date:..2023").filter.from, None);
        assert_eq!(query("date:2024..").filter.to, None);
        let folder = query("folder:\"/photos of mine/2024\"").filter.folder;
        assert_eq!(folder, Some("/photos of mine/2024".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("dog OR cat", "`OR`"),
            ("dog not", "after `not`"),
            ("-", "character"),
            ("colour:red", "`colour:` is no filter"),
            ("date:yesterday", "2024-05-17"),
            ("has:dog", "has:place"),
            ("-date:2024", "`-date:`"),
            ("dog^3", "`^`"),
            ("[a TO b]", "brackets"),
            ("\"\"", "quotes"),
        ] {
            let error = refusal(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(refusal(&"dog ".repeat(600)).contains("2400 bytes"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"(?s)([a-c+\-()"':\[\]{}*~^\\/<>.0-9 ]|OR|AND|NOT|TO|IN|date:|\PC){0,60}"#) {
            let _ = Query::parse(&text, &counts);
        }
    }

    #[test]
    fn repeated_signs_are_read_or_refused() {
        assert!(refusal(&"(".repeat(LONGEST)).contains("parentheses"));
        let deepest = MOST_PARENTHESES;
        let _ = Query::parse(
            &format!("{}a{}", "(".repeat(deepest), ")".repeat(deepest)),
            &counts,
        );
        for sign in [
            "-", "+", "NOT ", "a:", "[", "{", "\"", "'", "\\", "^", "~", "*", "-(a) ",
        ] {
            let _ = Query::parse(&sign.repeat(LONGEST / sign.len()), &counts);
        }
    }
}
