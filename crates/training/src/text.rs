//! What captions are read with, and what their encoder starts from.

use uard_data::dataset::Split;
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_features::text::word_vectors::WordVectors;
use uard_hub::Hub;

use crate::config::TrainConfig;
use crate::{Error, Result};

/// The text model that a run begins with: a GRU over the words of its training captions, or a
/// published model, downloaded where it is named by `hf:`. A run that is resumed has it from its
/// checkpoint instead.
///
/// # Errors
/// The published model cannot be had; a file of it is missing or of another form;
/// the word vectors cannot be read, or no word has one.
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
    let vectors = text.word_vectors.as_ref().map(|path| {
        let vectors = WordVectors::read(path, &vocabulary, text.word_width)?;
        match vectors.found() {
            0 => Err(Error::NoKnownWord {
                path: path.clone(),
                words: vectors.words(),
            }),
            _ => Ok(vectors),
        }
    });
    let vectors = vectors.transpose()?;
    Ok(TextModel::of_words(vocabulary, vectors, text.longest))
}

/// Names the first caption of a split that is cut, and says how many are; `None` where none is.
///
/// # Errors
/// When a tokenizer's own rules cannot be applied to a caption.
pub fn cut_captions(split: &Split, text: &TextModel) -> Result<Option<String>> {
    let longest = text.longest();
    // Two marks, and at least a byte for each word or piece: most captions need not be read again.
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
            "{}_caps.txt line {line} is cut behind {longest} words or pieces (text.longest, or what \
             the model can read), {cut} more are not read; captions that are cut: {count}",
            split.name
        )
    }))
}
