//! The text model that a new run starts with, and a warning for captions that it cuts.

use uard_data::dataset::Split;
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_features::text::word_vectors::WordVectors;
use uard_hub::Hub;

use crate::config::TrainConfig;
use crate::{Error, Result};

/// The text model of a new run: a GRU over the words of the training captions, or a published
/// model, which is downloaded if its name begins with `hf:`. A resumed run reads it from its
/// checkpoint instead.
///
/// # Errors
/// When the published model cannot be downloaded, a file of it is missing or malformed, the word
/// vectors cannot be read, or no word has a vector.
pub fn text_model<'a>(
    config: &TrainConfig,
    hub: &Hub,
    captions: impl IntoIterator<Item = &'a str>,
) -> Result<TextModel> {
    let text = &config.text;
    if let Some(model) = &text.model {
        let folder = text.encoder.folder(model, hub)?;
        return Ok(TextModel::open(text.encoder, &folder, text.longest)?);
    }
    let vocabulary = Vocabulary::build(captions, config.data.minimum_word_count);
    let vectors = text.word_vectors.as_ref().map(|source| {
        let vectors = WordVectors::open(source, hub, &vocabulary, text.word_width)?;
        match vectors.found() {
            0 => Err(Error::NoKnownWord {
                vectors: source.to_string(),
                words: vectors.words(),
            }),
            _ => Ok(vectors),
        }
    });
    let vectors = vectors.transpose()?;
    Ok(TextModel::from_vocabulary(
        vocabulary,
        vectors,
        text.longest,
    ))
}

/// A warning that names the first caption of a split that is cut, and how many are; `None` where
/// none is cut.
///
/// # Errors
/// When the tokenizer fails on a caption.
pub fn cut_captions(split: &Split, text: &TextModel) -> Result<Option<String>> {
    let longest = text.longest();
    // A caption has at most one word or piece for each byte, and two marks. Most captions are too
    // short to be cut, so they are not tokenized.
    let may_be_cut = |caption: &str| caption.len() + 2 > longest;
    let long = split.captions.iter().enumerate();
    let long = long.filter(|(_, caption)| may_be_cut(caption));
    let mut first = None;
    let mut count = 0;
    for (at, caption) in long {
        let cut = text.cut(caption)?;
        if cut > 0 {
            count += 1;
            first.get_or_insert((at + 1, cut));
        }
    }
    Ok(first.map(|(line, cut)| {
        format!(
            "{}_caps.txt line {line} is cut after {longest} words or pieces (text.longest, or the \
             longest input of the model): {cut} more are not read; captions that are cut: {count}",
            split.name
        )
    }))
}
