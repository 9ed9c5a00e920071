//! The race of the text encoder, forward and backward: our operator and candle's operations.

use candle_core::{Device, Tensor};
use uard_benches::workload;
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_features::text::gru::{CaptionBatch, TextEncoder, TextEncoderConfig, composed, operator};

use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::{BenchContext, SuiteResults};

/// Number of captions and joint width, of Flickr30K's settings and of a small run.
const SIZES: [(usize, usize); 2] = [(128, 1024), (64, 512)];

/// The number of words in the vocabulary, about that of Flickr30K.
const VOCABULARY: usize = 8000;

const WORD_WIDTH: usize = 300;

const OURS: &str = "operator";

type EncodeFunction = fn(&TextEncoder, &CaptionBatch) -> uard_features::Result<Tensor>;
const FORMS: [(&str, EncodeFunction); 2] = [
    (OURS, operator::average),
    ("composed form, candle", composed::average),
];

/// Races our operator against the composed form in candle, once for each of two sizes.
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
        let mut contestants =
            FORMS.map(|(name, form)| Contestant::new(name, move || round(form)).ours(name == OURS));
        let timings = race::run(&title, &mut contestants, context.rounds())?;
        drop(contestants);
        let rows = FORMS.iter().zip(&timings).map(|((name, _), seconds)| {
            Row {
                name: (*name).to_owned(),
                precision: "f32".to_owned(),
                ours: *name == OURS,
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
