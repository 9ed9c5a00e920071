//! Made-up but plausible records of three runs and three retrieval examples.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use uard_eval::{RecallPercent, RetrievalReport};
use uard_report::record::{
    AlignmentRecord, CaptionExample, EpochRecord, ExampleImage, ExampleWord, Fit, FoundImage,
    Hills, Histogram, KeptFractions, PictureSize, RunRecord, SplitRecord,
};

/// The runs `learned`, `zero` and `scan` with test results; the first two with alignment.
pub fn runs() -> Vec<RunRecord> {
    vec![
        run(&Kind {
            name: "learned",
            rule: "masked",
            threshold: 0.254,
            cells: 0.026,
            rsum: 417.1,
        }),
        run(&Kind {
            name: "zero",
            rule: "zero",
            threshold: 0.0,
            cells: 0.39,
            rsum: 419.3,
        }),
        run(&Kind {
            name: "scan",
            rule: "scan",
            threshold: 0.0,
            cells: 1.0,
            rsum: 404.6,
        }),
    ]
}

struct Kind {
    name: &'static str,
    rule: &'static str,
    threshold: f64,
    cells: f64,
    rsum: f64,
}

const EPOCHS: usize = 10;

fn run(kind: &Kind) -> RunRecord {
    let epochs: Vec<EpochRecord> = (1..=EPOCHS).map(|number| epoch(kind, number)).collect();
    let test = split(kind, "test", kind.threshold, kind.rsum);
    RunRecord {
        name: kind.name.to_owned(),
        config: format!(
            "seed = 0\n\n[matcher]\nrule = \"{}\"\nsides = \"both\"\n",
            kind.rule
        ),
        seed: 0,
        device: "CPU, 2 threads".to_owned(),
        data_hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        train_images: 1_000,
        train_captions: 5_000,
        parameters: 1_482_240,
        epochs,
        best_epoch: 9,
        test: Some(test),
        seconds: 71.4 + kind.cells * 20.0,
    }
}

fn epoch(kind: &Kind, number: usize) -> EpochRecord {
    let progress = 1.0 - (-(number as f64) / 2.6).exp();
    let threshold = kind.threshold * (0.55 + 0.45 * progress) * if number == 1 { 0.3 } else { 1.0 };
    let (apart, narrow) = (0.12 + 0.26 * progress, 0.16 - 0.06 * progress);
    let fit = |mean, std| Fit { mean, std };
    let (relevant, irrelevant) = (fit(0.08 + apart, narrow * 1.1), fit(0.06, narrow * 0.75));
    let dip = if number == EPOCHS { 1.5 } else { 0.0 };
    let rsum = 90.0 + (kind.rsum - 95.0) * progress - dip;
    EpochRecord {
        epoch: number,
        step: number * 78,
        loss: 3.0 + 42.0 * (1.0 - progress) + kind.cells,
        threshold,
        learning_rate: if number > 6 { 5e-5 } else { 5e-4 },
        hills: hills(relevant, irrelevant),
        dev: split(kind, "dev", threshold, rsum),
        seconds: 6.9,
    }
}

fn hills(relevant: Fit, irrelevant: Fit) -> Hills {
    Hills {
        relevant: histogram(relevant),
        irrelevant: histogram(irrelevant),
        relevant_fit: Some(relevant),
        irrelevant_fit: Some(irrelevant),
    }
}

/// A normal distribution with a heavier right side and small regular deviations.
fn histogram(Fit { mean, std }: Fit) -> Histogram {
    let count = |bin: usize| {
        let x = (-1.0 + (bin as f64 + 0.5) * 0.02 - mean) / std;
        let shoulder = 0.25 * (-0.5 * ((x - 1.4) / 0.6).powi(2)).exp();
        let ripple = 1.0 + 0.05 * (bin as f64 * 1.9).sin();
        ((-0.5 * x * x).exp() + shoulder) * ripple * 900.0
    };
    Histogram {
        counts: (0..Histogram::BINS).map(|bin| count(bin) as u64).collect(),
    }
}

fn split(kind: &Kind, split: &str, threshold: f64, rsum: f64) -> SplitRecord {
    let recall = |share: f64| RecallPercent {
        r1: rsum * 0.11 * share,
        r5: rsum * 0.175 * share,
        r10: (rsum * 0.215 * share).min(100.0),
        median_rank: 2.0,
        mean_rank: 7.4,
    };
    let aligned = kind.name != "scan";
    SplitRecord {
        split: split.to_owned(),
        threshold,
        retrieval: RetrievalReport {
            protocol: "all 200 images at once, single model".to_owned(),
            images: 200,
            captions: 1_000,
            image_to_text: recall(1.04),
            text_to_image: recall(0.96),
            rsum,
        },
        kept: KeptFractions {
            word_queries: kind.cells.powf(0.38),
            region_queries: kind.cells.powf(0.55),
            cells: kind.cells,
        },
        alignment: aligned.then_some(AlignmentRecord {
            precision: 0.7 - kind.cells,
            recall: 0.55 + 0.9 * kind.cells,
            best_region_accuracy: 0.81,
        }),
    }
}

/// Three captions: the image of the first has rank 1, that of the second rank 3, and the third has
/// no picture or box.
pub fn examples() -> Vec<CaptionExample> {
    vec![found_first(), found_third(), features_only()]
}

/// Text, relevance, best box and correctness of a word.
type WordRow = (&'static str, f32, Option<[f32; 4]>, Option<bool>);

fn example_words(rows: &[WordRow]) -> Vec<ExampleWord> {
    let words = rows.iter();
    let words = words.map(|&(text, relevance, best_box, correct)| ExampleWord {
        text: text.to_owned(),
        relevance,
        answered: relevance > 0.254,
        best_box,
        correct,
    });
    words.collect()
}

const DISC: Option<[f32; 4]> = Some([40.0, 60.0, 130.0, 150.0]);
const SQUARE: Option<[f32; 4]> = Some([180.0, 110.0, 270.0, 200.0]);
const BOTH: Option<[f32; 4]> = Some([36.0, 56.0, 276.0, 206.0]);
const SKY: Option<[f32; 4]> = Some([0.0, 0.0, 320.0, 52.0]);

fn found_first() -> CaptionExample {
    let words = [
        ("a", 0.11, None, None),
        ("large", 0.38, DISC, Some(true)),
        ("red", 0.66, DISC, Some(true)),
        ("disc", 0.58, DISC, Some(true)),
        ("left", 0.31, BOTH, None),
        ("of", 0.14, None, None),
        ("a", 0.12, None, None),
        ("blue", 0.61, SQUARE, Some(true)),
        ("square", 0.52, SQUARE, Some(true)),
        (",", 0.05, None, None),
        ("under", 0.29, SKY, Some(false)),
        ("stripes", 0.21, None, Some(false)),
        (".", 0.02, None, None),
    ];
    CaptionExample {
        caption: "A large red disc left of a blue square, under stripes.".to_owned(),
        matched: scene(0),
        words: example_words(&words),
        found: found([0, 3, 1, 5, 2, 4], 0),
        rank: 1,
    }
}

fn found_third() -> CaptionExample {
    let words = [
        ("the", 0.13, None, None),
        ("tiny", 0.27, SKY, Some(false)),
        ("green", 0.47, DISC, Some(true)),
        ("ball", 0.44, DISC, Some(true)),
        ("is", 0.10, None, None),
        ("beside", 0.22, None, None),
        ("a", 0.12, None, None),
        ("yellow", 0.57, SQUARE, Some(true)),
        ("box", 0.49, SQUARE, Some(true)),
    ];
    CaptionExample {
        caption: "The tiny green ball is beside a yellow box".to_owned(),
        matched: scene(2),
        words: example_words(&words),
        found: found([4, 1, 2, 0, 5, 3], 2),
        rank: 3,
    }
}

fn features_only() -> CaptionExample {
    let image = |id: &str| ExampleImage {
        id: id.to_owned(),
        bytes: None,
        size: None,
    };
    CaptionExample {
        caption: "Two dogs run through the snow".to_owned(),
        matched: image("3187492926"),
        words: example_words(&[
            ("two", 0.3, None, None),
            ("dogs", 0.5, None, None),
            ("skateboard", 0.1, None, None),
        ]),
        found: vec![FoundImage {
            image: image("1000268201"),
            similarity: 0.31,
            matched: false,
        }],
        rank: 17,
    }
}

fn found(order: [usize; 6], own: usize) -> Vec<FoundImage> {
    let found = |(index, number): (usize, usize)| FoundImage {
        image: scene(number),
        similarity: 0.612 - 0.043 * index as f32,
        matched: number == own,
    };
    order.into_iter().enumerate().map(found).collect()
}

/// A disc and a square on a shaded background, in colours that depend on the number.
fn scene(number: usize) -> ExampleImage {
    const COLOURS: [[u8; 3]; 6] = [
        [198, 52, 46],
        [40, 92, 190],
        [58, 150, 84],
        [226, 184, 58],
        [140, 80, 160],
        [230, 130, 60],
    ];
    let (disc, square) = (COLOURS[number], COLOURS[(number + 1) % 6]);
    let picture = RgbImage::from_fn(320, 220, |x, y| {
        let (dx, dy) = (x as f64 - 85.0, y as f64 - 105.0);
        if dx.hypot(dy) < 45.0 {
            Rgb(disc)
        } else if (180..270).contains(&x) && (110..200).contains(&y) {
            Rgb(square)
        } else {
            let grain = (x * 3 + y * 5) % 4;
            let shade = 150 + (y / 4) as u8 + grain as u8 + number as u8 * 6;
            Rgb([shade, shade - 6, shade - 16])
        }
    });
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("encoding into memory");
    ExampleImage {
        id: format!("scene-{number:04}"),
        bytes: Some(bytes.into_inner()),
        size: Some(PictureSize {
            width: 320,
            height: 220,
        }),
    }
}
