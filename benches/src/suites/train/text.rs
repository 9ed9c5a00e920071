//! The race of the text encoder, forward and backward: our operator and candle's operations, and the
//! whole encoder.

use candle_core::{Device, Tensor};
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_features::text::gru::{CaptionBatch, TextEncoder, TextEncoderConfig, composed, operator};

use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::{BenchContext, SuiteResults};
use crate::workload;

/// Number of captions and joint width, of Flickr30K's settings and of a small run.
const SIZES: [(usize, usize); 2] = [(128, 1024), (64, 512)];

/// The number of words in the vocabulary, about that of Flickr30K.
const VOCABULARY: usize = 8000;

const WORD_WIDTH: usize = 300;

const THEIRS: &str = "composed form, candle";

type EncodeFunction = fn(&TextEncoder, &CaptionBatch) -> uard_features::Result<Tensor>;
const FORMS: [(&str, EncodeFunction); 3] = [
    ("operator", operator::average),
    (THEIRS, composed::average),
    ("whole encoder", unit_vectors),
];

/// The encoder as the model calls it: the operator, and words as unit vectors.
fn unit_vectors(encoder: &TextEncoder, batch: &CaptionBatch) -> uard_features::Result<Tensor> {
    Ok(encoder.forward(batch)?.rows().clone())
}

/// Races our operator against the composed form in candle, and times the whole encoder, once for each
/// of two sizes.
///
/// # Errors
/// If candle fails.
pub fn race(context: &BenchContext, results: &mut SuiteResults) -> anyhow::Result<()> {
    for (captions, joint_width) in SIZES {
        let title =
            format!("text encoder, forward and backward, {captions} captions, width {joint_width}");
        let draws = Draws::new(0);
        let mut parameters = Parameters::new(&Device::Cpu);
        let config = TextEncoderConfig {
            word_width: WORD_WIDTH,
            joint_width,
        };
        let encoder = TextEncoder::new(&mut parameters, config, VOCABULARY, &draws)?;
        let ids = workload::word_ids(captions, VOCABULARY, &draws);
        let batch = CaptionBatch::pad(&ids, 0, &Device::Cpu)?;
        let round = |form: EncodeFunction| -> anyhow::Result<()> {
            let average = form(&encoder, &batch)?;
            std::hint::black_box(average.sqr()?.sum_all()?.backward()?);
            Ok(())
        };
        let mut contestants = FORMS
            .map(|(name, form)| Contestant::new(name, move || round(form)).ours(name != THEIRS));
        let timings = race::run(&title, &mut contestants, context.rounds())?;
        drop(contestants);
        let rows = FORMS.iter().zip(&timings).map(|((name, _), seconds)| {
            Row {
                name: (*name).to_owned(),
                precision: "f32".to_owned(),
                ours: *name != THEIRS,
                threads: context.threads,
                units: captions as f64,
                ..Row::default()
            }
            .timed(seconds)
        });
        let rows = rows.collect();
        results.race(Race { title, rows });
    }
    Ok(())
}
