//! What are captions read with at the start of a run, and what does their encoder begin with?

use std::path::Path;

use uard_features::text::encoder::{TextEncoderKind, TextStart};
use uard_features::text::gru::TextEncoderConfig;
use uard_features::text::tokenizer::CaptionTokenizer;
use uard_features::text::vocabulary::Vocabulary;
use uard_features::text::word_vectors::WordVectors;
use uard_features::weights::Weights;

use crate::config::{TextConfig, TrainConfig};
use crate::{Error, Result};

/// The tokenizer of a run: the words of its training captions, or the pieces of its trained model.
///
/// # Errors
/// When a file of the trained model is missing or of another form.
pub fn tokenizer<'a>(
    config: &TrainConfig,
    captions: impl IntoIterator<Item = &'a str>,
) -> Result<CaptionTokenizer> {
    match config.text.encoder {
        TextEncoderKind::Gru => {
            let vocabulary = Vocabulary::build(captions, config.data.minimum_word_count);
            Ok(CaptionTokenizer::Vocabulary(vocabulary))
        }
        TextEncoderKind::Bert => {
            let folder = trained(&config.text)?;
            let longest = config.text.longest;
            Ok(CaptionTokenizer::open_bert(folder, longest)?)
        }
    }
}

/// What the encoder begins with.
///
/// # Errors
/// When the word vectors or the weights cannot be read.
pub fn start(config: &TextConfig, tokenizer: &CaptionTokenizer) -> Result<TextStart> {
    Ok(match (tokenizer, &config.word_vectors) {
        (CaptionTokenizer::Vocabulary(vocabulary), Some(path)) => {
            let vectors = WordVectors::read(path, vocabulary, config.word_width)?;
            TextStart::Vectors(vectors)
        }
        (CaptionTokenizer::Vocabulary(_), None) => TextStart::Drawn,
        (CaptionTokenizer::Bert { .. }, _) => {
            TextStart::Trained(Weights::open_folder(trained(config)?)?)
        }
    })
}

/// The sizes of the encoder.
pub fn sizes(config: &TrainConfig) -> TextEncoderConfig {
    TextEncoderConfig {
        word_width: config.text.word_width,
        joint_width: config.model.joint_width,
    }
}

fn trained(config: &TextConfig) -> Result<&Path> {
    config.model.as_deref().ok_or_else(|| Error::Setting {
        key: "text.model",
        found: "nothing".to_owned(),
        expected: "the folder of a trained BERT, for text.encoder is \"bert\"",
    })
}
