//! What captions are read with, and what their encoder starts from.

use std::path::{Path, PathBuf};

use uard_data::dataset::Split;
use uard_features::text::encoder::{TextEncoderKind, TextStart};
use uard_features::text::gru::TextEncoderConfig;
use uard_features::text::tokenizer::CaptionTokenizer;
use uard_features::text::vocabulary::Vocabulary;
use uard_features::text::word_vectors::WordVectors;
use uard_features::text::{bert, tower};
use uard_hub::Hub;
use uard_hub::weights::Weights;

use crate::config::{TextConfig, TrainConfig};
use crate::{Error, Result};

/// The folder of the trained model, downloaded where it is named by `hf:`; none for a GRU.
///
/// # Errors
/// The configuration names none, or it cannot be had.
pub fn model_folder(config: &TextConfig, hub: &Hub) -> Result<Option<PathBuf>> {
    match (config.encoder, &config.model) {
        (TextEncoderKind::Gru, _) => Ok(None),
        (TextEncoderKind::Bert, Some(model)) => Ok(Some(model.folder(hub, bert::FILES)?)),
        (TextEncoderKind::Tower, Some(model)) => Ok(Some(model.folder(hub, tower::FILES)?)),
        (_, None) => Err(no_model()),
    }
}

/// The tokenizer of a run: the words of its training captions, or the pieces of the trained model
/// whose folder is given.
///
/// # Errors
/// When a file of the trained model is missing or of another form.
pub fn tokenizer<'a>(
    config: &TrainConfig,
    model: Option<&Path>,
    captions: impl IntoIterator<Item = &'a str>,
) -> Result<CaptionTokenizer> {
    match model {
        None => {
            let vocabulary = Vocabulary::build(captions, config.data.minimum_word_count);
            Ok(CaptionTokenizer::Vocabulary {
                vocabulary,
                longest: config.text.longest,
            })
        }
        Some(folder) => {
            let longest = config.text.longest;
            Ok(match config.text.encoder {
                TextEncoderKind::Tower => CaptionTokenizer::open_tower(folder, longest)?,
                _ => CaptionTokenizer::open_bert(folder, longest)?,
            })
        }
    }
}

/// Names the first caption of a split that is cut, and says how many are; `None` where none is.
///
/// # Errors
/// When a tokenizer's own rules cannot be applied to a caption.
pub fn cut_captions(split: &Split, tokenizer: &CaptionTokenizer) -> Result<Option<String>> {
    let longest = tokenizer.longest();
    // Two marks, and at least a byte for each word or piece: most captions need not be read again.
    let may_be_cut = |text: &str| text.len() + 2 > longest;
    let long = split.captions.iter().enumerate();
    let long = long.filter(|(_, text)| may_be_cut(text));
    let mut first = None;
    let mut count = 0;
    for (at, text) in long {
        let cut = tokenizer.cut(text)?;
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

/// What the encoder begins with.
///
/// # Errors
/// When the word vectors or the weights cannot be read, or no word has a vector.
pub fn start(
    config: &TextConfig,
    model: Option<&Path>,
    tokenizer: &CaptionTokenizer,
) -> Result<TextStart> {
    Ok(match (tokenizer, &config.word_vectors) {
        (CaptionTokenizer::Vocabulary { vocabulary, .. }, Some(path)) => {
            let vectors = WordVectors::read(path, vocabulary, config.word_width)?;
            if vectors.found() == 0 {
                return Err(Error::NoKnownWord {
                    path: path.clone(),
                    words: vectors.words(),
                });
            }
            TextStart::Vectors(vectors)
        }
        (CaptionTokenizer::Vocabulary { .. }, None) => TextStart::Drawn,
        (_, _) => TextStart::Trained(Weights::open_folder(model.ok_or_else(no_model)?)?),
    })
}

/// The sizes of the encoder.
pub fn sizes(config: &TrainConfig) -> TextEncoderConfig {
    TextEncoderConfig {
        word_width: config.text.word_width,
        joint_width: config.model.joint_width,
    }
}

fn no_model() -> Error {
    Error::Setting {
        key: "text.model",
        found: "nothing".to_owned(),
        expected: "the folder of a trained BERT or its hf: name, for text.encoder is \"bert\"",
    }
}
