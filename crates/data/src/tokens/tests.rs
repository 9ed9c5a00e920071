//! Tests of `tokenize` on sentences whose words NLTK or a person determined.

use super::*;

/// From NLTK 3.10.4, `NLTKWordTokenizer().tokenize(sentence.lower())`.
const GOLDEN: &[(&str, &[&str])] = &[
    (
        "A brown owl , a red kite and two herons sit by the lake .",
        &[
            "a", "brown", "owl", ",", "a", "red", "kite", "and", "two", "herons", "sit", "by",
            "the", "lake", ".",
        ],
    ),
    (
        "The owl's chick isn't asleep.",
        &["the", "owl", "'s", "chick", "is", "n't", "asleep", "."],
    ),
    (
        "They're gonna fly; we'll watch, won't we?",
        &[
            "they", "'re", "gon", "na", "fly", ";", "we", "'ll", "watch", ",", "wo", "n't", "we",
            "?",
        ],
    ),
    (
        "\"Look,\" says the keeper, \"it cannot see us.\"",
        &[
            "``", "look", ",", "''", "says", "the", "keeper", ",", "``", "it", "can", "not", "see",
            "us", ".", "''",
        ],
    ),
    (
        "The keeper's gloves (old and worn) lie on the fence...",
        &[
            "the", "keeper", "'s", "gloves", "(", "old", "and", "worn", ")", "lie", "on", "the",
            "fence", "...",
        ],
    ),
    (
        "A sign reads \"NO ENTRY\" & \"Tickets: $3.50\".",
        &[
            "a", "sign", "reads", "``", "no", "entry", "''", "&", "``", "tickets", ":", "$",
            "3.50", "''", ".",
        ],
    ),
    (
        "Three kites--all red--circle at 10:30, 1,200 feet up!",
        &[
            "three", "kites", "--", "all", "red", "--", "circle", "at", "10:30", ",", "1,200",
            "feet", "up", "!",
        ],
    ),
    (
        "The boys' kites can't reach the tower's top",
        &[
            "the", "boys", "'", "kites", "ca", "n't", "reach", "the", "tower", "'s", "top",
        ],
    ),
    (
        "'Tis the last kite , 'twas blue .",
        &[
            "'", "tis", "the", "last", "kite", ",", "'", "twas", "blue", ".",
        ],
    ),
    (
        "An all-white heron w/ a #12 tag @ the pond",
        &[
            "an",
            "all-white",
            "heron",
            "w/",
            "a",
            "#",
            "12",
            "tag",
            "@",
            "the",
            "pond",
        ],
    ),
    (
        "“Curly” quotes, ‘single’ ones – and a dash",
        &[
            "“", "curly", "”", "quotes", ",", "‘", "single", "’", "ones", "–", "and", "a", "dash",
        ],
    ),
    (
        "a man in a t-shirt and his dog 's ball",
        &[
            "a", "man", "in", "a", "t-shirt", "and", "his", "dog", "'s", "ball",
        ],
    ),
    (
        "he said ''wait'' and ``go'' twice.",
        &[
            "he", "said", "``", "wait", "''", "and", "``", "go", "''", "twice", ".",
        ],
    ),
    (
        "I'd've gone; lemme see, gimme that, d'ye hear more'n one? wanna go",
        &[
            "i'd", "'ve", "gone", ";", "lem", "me", "see", ",", "gim", "me", "that", ",", "d",
            "'ye", "hear", "more", "'n", "one", "?", "wan", "na", "go",
        ],
    ),
    (
        "rock 'n' roll band plays at 'The Owl'",
        &[
            "rock", "'n", "'", "roll", "band", "plays", "at", "'", "the", "owl", "'",
        ],
    ),
    (
        "a,b ,c,, d: e:1 ,,",
        &["a", ",", "b", ",", "c", ",", ",", "d", ":", "e:1", ",", ","],
    ),
    (
        "wait.. what?! [no] {maybe} <yes> * end *.",
        &[
            "wait", "..", "what", "?", "!", "[", "no", "]", "{", "maybe", "}", "<", "yes", ">",
            "*", "end", "*", ".",
        ],
    ),
];

#[test]
fn every_rule_is_a_pattern() {
    assert_eq!(PATTERNS.len(), RULES.len());
}

#[test]
fn words_are_those_of_nltk() {
    for (sentence, words) in GOLDEN {
        assert_eq!(tokenize(sentence), *words, "{sentence}");
    }
}

#[test]
fn full_stop_inside_a_caption_ends_a_sentence() {
    let text = "A kite flies. It's red. \"Look.\" Mr. Owl of St. Ives has no. 4. here, i.e. five a.m. J. runs";
    let words = tokenize(text);
    let expected = "a kite flies . it 's red . `` look . '' mr. owl of st. ives has no . 4. here , \
        i.e. five a.m. j. runs";
    assert_eq!(words, expected.split(' ').collect::<Vec<_>>());
}

#[test]
fn text_without_visible_characters_has_no_words() {
    for text in ["", " ", "\t \u{a0}"] {
        assert!(tokenize(text).is_empty());
    }
}

proptest::proptest! {
    #[test]
    fn no_visible_character_but_quotes_is_lost(text in "[a-z'\"`.,:!? ()<>*-]{0,24}") {
        let kept = |text: &str| -> String {
            text.chars().filter(|c| !c.is_whitespace() && !"'\"`".contains(*c)).collect()
        };
        proptest::prop_assert_eq!(kept(&tokenize(&text).concat()), kept(&text));
    }
}
