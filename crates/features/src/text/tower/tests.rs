//! Are the states those of the published code, and does every parameter learn? Golden states of tiny
//! models, written by `tests/goldens/transformers/write.py`.

use std::path::PathBuf;

use candle_core::safetensors::{load, save};
use candle_core::{DType, Device, Tensor, Var};
use uard_core::random::uniform;
use uard_testkit::{
    assert_close, assert_finite_nonzero, assert_gradients, assert_same_bytes, worst_difference,
};

use super::*;
use uard_hub::weights::Weights;

/// Two layers of sums over up to 24 numbers, each with errors of a few 1e-7, against PyTorch's.
const PARITY: f64 = 1e-5;
/// The same numbers in other blocks of a product.
const SINGLE: f64 = 3e-6;
/// Ragged lengths with a caption of one piece.
const RAGGED: [usize; 4] = [3, 1, 7, 2];

const FAMILIES: [TowerFamily; 2] = [TowerFamily::Clip, TowerFamily::Siglip];

pub(super) fn folder(family: TowerFamily) -> PathBuf {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/transformers");
    goldens.join(match family {
        TowerFamily::Clip => "clip",
        TowerFamily::Siglip => "siglip",
    })
}

fn stored(folder: &std::path::Path) -> Tower {
    let config = TowerConfig::open(folder).unwrap();
    let weights = Weights::open_folder(folder).unwrap();
    let mut parameters = Parameters::new(&Device::Cpu);
    Tower::new(&mut parameters, PREFIX, &config, Initial::Stored(&weights)).unwrap()
}

fn batch(captions: &[Vec<u32>]) -> CaptionBatch {
    CaptionBatch::pad(captions, 0, &Device::Cpu).unwrap()
}

/// Captions of these lengths, of ids below 11.
fn captions(counts: &[usize]) -> Vec<Vec<u32>> {
    let id = |caption: usize, word: usize| ((caption * 7 + word * 3) % 11) as u32;
    let words = |(caption, &count)| (0..count).map(|word| id(caption, word)).collect();
    counts.iter().enumerate().map(words).collect()
}

/// The golden batch and its states.
fn expected(family: TowerFamily) -> (CaptionBatch, Tensor) {
    let tensors = load(folder(family).join("expected.safetensors"), &Device::Cpu).unwrap();
    let ids = tensors["ids"].to_dtype(DType::U32).unwrap();
    let counts: Vec<i64> = tensors["counts"].to_vec1().unwrap();
    let counts = counts.into_iter().map(|count| count as usize).collect();
    let states = tensors["states"].clone();
    (CaptionBatch::new(ids, counts).unwrap(), states)
}

fn tiny(family: TowerFamily) -> TowerConfig {
    let published = match family {
        TowerFamily::Clip => TowerConfig::clip(),
        TowerFamily::Siglip => TowerConfig::siglip(),
    };
    TowerConfig {
        vocab_size: 11,
        hidden_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 20,
        max_position_embeddings: 8,
        initializer_range: 0.3,
        ..published
    }
}

fn encoder(config: &TowerConfig) -> (Parameters, TowerEncoder) {
    let mut parameters = Parameters::new(&Device::Cpu);
    let draws = Draws::new(1);
    let encoder = TowerEncoder::new(&mut parameters, (config, 9), Initial::Drawn(&draws), &draws);
    (parameters, encoder.unwrap())
}

/// A scalar in which every number has its own weight.
fn loss(rows: &Tensor) -> candle_core::Result<Tensor> {
    let count = rows.elem_count();
    let target: Vec<f64> = (0..count).map(|at| (at as f64 * 0.7).cos()).collect();
    let target = Tensor::from_vec(target, rows.dims(), &Device::Cpu)?;
    (rows * target.to_dtype(rows.dtype())?)?.sum_all()
}

#[test]
fn states_equal_those_of_the_published_code() {
    for family in FAMILIES {
        let (batch, expected) = expected(family);
        let found = stored(&folder(family)).states(&batch, None).unwrap();
        assert_eq!(found.dims(), expected.dims());
        let (difference, place) = worst_difference(&found, &expected);
        assert!(difference < PARITY, "{family:?}, {place}: {difference:e}");
    }
}

#[test]
fn a_text_half_alone_without_the_prefix_is_read() {
    let family = TowerFamily::Clip;
    let all = load(folder(family).join("model.safetensors"), &Device::Cpu).unwrap();
    let half = all.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("text_model.")?.to_owned();
        Some((name, tensor))
    });
    let copy = tempfile::tempdir().unwrap();
    save(&half.collect(), copy.path().join("model.safetensors")).unwrap();
    let config = TowerConfig::open(&folder(family)).unwrap();
    let written = serde_json::to_string(&config).unwrap();
    std::fs::write(copy.path().join("config.json"), written).unwrap();
    assert_eq!(TowerConfig::open(copy.path()).unwrap(), config);
    let (batch, expected) = expected(family);
    let found = stored(copy.path()).states(&batch, None).unwrap();
    assert_close(&found, &expected, PARITY);
}

#[test]
fn padding_of_the_batch_changes_nothing() {
    for family in FAMILIES {
        let (_, encoder) = encoder(&tiny(family));
        let captions = captions(&RAGGED);
        let short = encoder.tower().states(&batch(&captions), None).unwrap();
        let mut long = captions.clone();
        let longer = |caption: &mut Vec<u32>| caption.resize(13, 4_000_000);
        long.iter_mut().for_each(longer);
        let long = CaptionBatch::new(batch(&long).ids().clone(), RAGGED.to_vec()).unwrap();
        let long = encoder.tower().states(&long, None).unwrap();
        assert_same_bytes(&long.narrow(1, 0, 7).unwrap(), &short);
        let rest = long.narrow(1, 7, 6).unwrap();
        assert_same_bytes(&rest, &rest.zeros_like().unwrap());
    }
}

#[test]
fn a_caption_alone_equals_the_caption_in_a_batch() {
    for family in FAMILIES {
        let (_, encoder) = encoder(&tiny(family));
        let captions = captions(&RAGGED);
        let together = encoder.forward(&batch(&captions), None).unwrap();
        for (index, caption) in captions.iter().enumerate() {
            let alone = batch(std::slice::from_ref(caption));
            let alone = encoder.forward(&alone, None).unwrap();
            let expected = together.narrow(index, 1).unwrap();
            assert_close(alone.rows(), expected.rows(), SINGLE);
        }
    }
}

#[test]
fn in_clip_what_comes_later_changes_nothing_and_in_siglip_it_does() {
    for (family, changes) in [(TowerFamily::Clip, false), (TowerFamily::Siglip, true)] {
        let (_, encoder) = encoder(&tiny(family));
        let first = |caption: Vec<u32>| {
            let states = encoder.tower().states(&batch(&[caption]), None).unwrap();
            states.narrow(1, 0, 2).unwrap()
        };
        let (one, other) = (first(vec![4, 7, 2]), first(vec![4, 7, 9, 1]));
        let difference = worst_difference(&one, &other).0;
        assert_eq!(difference > 1e-3, changes, "{family:?}: {difference:e}");
        assert!(changes || difference < SINGLE, "{difference:e}");
    }
}

#[test]
fn every_parameter_gets_a_finite_nonzero_gradient() {
    let draws = Draws::new(4);
    let training = Drops {
        draws: &draws,
        step: &[0, 3],
    };
    for family in FAMILIES {
        let dropping = TowerConfig {
            attention_dropout: 0.2,
            ..tiny(family)
        };
        for (config, drops) in [(tiny(family), None), (dropping, Some(training))] {
            let (parameters, encoder) = encoder(&config);
            // The longest caption reaches the last position.
            let counts = [3, 1, 8, 2];
            let words = encoder.forward(&batch(&captions(&counts)), drops).unwrap();
            let gradients = loss(words.rows()).unwrap().backward().unwrap();
            assert_eq!(parameters.iter().count(), 2 + 2 * 16 + 2 + 2);
            for (name, var) in parameters.iter() {
                let gradient = gradients.get(var).expect("every parameter is used");
                // A bias of keys adds the same to all logits of a query: what is found is rounding.
                if name.ends_with("k_proj.bias") {
                    assert_close(gradient, &gradient.zeros_like().unwrap(), SINGLE);
                } else {
                    assert_finite_nonzero(name, gradient);
                }
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let draws = Draws::new(8);
    let drawn = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        let numbers = uniform(&mut draws.stream(name, &[]), 0.2, 1.4, count);
        Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(DType::F64)
    };
    for family in FAMILIES {
        let config = TowerConfig {
            vocab_size: 5,
            hidden_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 3,
            max_position_embeddings: 4,
            ..tiny(family)
        };
        let mut vars = Vec::new();
        Tower::make(&config, &mut |name, shape| {
            vars.push(Var::from_tensor(&drawn(name, shape)?)?);
            Ok(vars[vars.len() - 1].as_tensor().clone())
        })
        .unwrap();
        let batch = batch(&[vec![1, 4, 2], vec![3]]);
        let run = |tensors: &[Tensor]| {
            let mut tensors = tensors.iter().cloned();
            let tower = Tower::make(&config, &mut |_, _| Ok(tensors.next().unwrap()));
            let states = tower.and_then(|tower| tower.states(&batch, None));
            loss(&states.map_err(candle_core::Error::wrap)?)
        };
        assert_gradients(run, &vars, 1e-6);
    }
}

#[test]
fn a_frozen_tower_gives_the_same_words_and_learns_nothing() {
    for family in FAMILIES {
        let (parameters, encoder) = encoder(&tiny(family));
        let batch = batch(&captions(&RAGGED));
        let learning = encoder.forward(&batch, None).unwrap();
        let frozen = encoder.clone().frozen(&parameters).unwrap();
        assert!(!frozen.tower().states(&batch, None).unwrap().track_op());
        let words = frozen.forward(&batch, None).unwrap();
        assert_same_bytes(words.rows(), learning.rows());
        let gradients = loss(words.rows()).unwrap().backward().unwrap();
        for (name, var) in parameters.iter() {
            assert_eq!(
                gradients.get(var).is_some(),
                !name.starts_with(PREFIX),
                "{name}"
            );
        }
        let others = Parameters::new(&Device::Cpu);
        let message = encoder.frozen(&others).unwrap_err().to_string();
        assert!(message.contains("missing"), "{message}");
    }
}

#[test]
fn dropping_depends_on_the_step_alone_and_the_published_rate_drops_nothing() {
    let family = TowerFamily::Clip;
    let config = TowerConfig {
        attention_dropout: 0.5,
        ..tiny(family)
    };
    let draws = Draws::new(4);
    let run = |config: &TowerConfig, step: Option<&[u64]>| {
        let (_, encoder) = encoder(config);
        let drops = step.map(|step| Drops {
            draws: &draws,
            step,
        });
        let batch = batch(&captions(&RAGGED));
        encoder.tower().states(&batch, drops).unwrap()
    };
    let dropped = run(&config, Some(&[1, 2]));
    assert_same_bytes(&dropped, &run(&config, Some(&[1, 2])));
    for other in [run(&config, Some(&[1, 3])), run(&config, None)] {
        assert!(worst_difference(&dropped, &other).0 > 1e-2);
    }
    let published = tiny(family);
    assert_same_bytes(&run(&published, Some(&[1])), &run(&published, None));
}

#[test]
fn threads_change_no_byte() {
    let counts: Vec<usize> = (0..40).map(|caption| 1 + caption * 5 % 8).collect();
    for family in FAMILIES {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let (parameters, encoder) = encoder(&tiny(family));
                let words = encoder.forward(&batch(&captions(&counts)), None).unwrap();
                let gradients = loss(words.rows()).unwrap().backward().unwrap();
                let gradients = parameters
                    .iter()
                    .map(|(_, var)| gradients.get(var).unwrap().clone());
                (words, gradients.collect::<Vec<_>>())
            })
        };
        let ((one, of_one), (three, of_three)) = (run(1), run(3));
        assert_same_bytes(three.rows(), one.rows());
        for (three, one) in of_three.iter().zip(&of_one) {
            assert_same_bytes(three, one);
        }
    }
}

#[test]
fn parameters_have_their_published_names_behind_the_prefix_of_a_group() {
    let (parameters, _) = encoder(&tiny(TowerFamily::Clip));
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"text.tower.encoder.layers.1.self_attn.q_proj.weight"));
    assert!(names.contains(&"text.tower.final_layer_norm.bias"));
    let others = names.iter().filter(|name| !name.starts_with(PREFIX));
    assert_eq!(
        others.collect::<Vec<_>>(),
        [&"text.projection.bias", &"text.projection.weight"]
    );
}

#[test]
fn captions_that_the_model_cannot_read_are_named() {
    for family in FAMILIES {
        let (_, encoder) = encoder(&tiny(family));
        let message = |captions: &[Vec<u32>]| {
            let words = encoder.forward(&batch(captions), None);
            words.unwrap_err().to_string()
        };
        let long = message(&[vec![1], vec![1; 9]]);
        assert!(long.contains("caption 1"), "{long}");
        assert!(long.contains("9 words, the model has 8"), "{long}");
        let unknown = message(&[vec![1, 11]]);
        assert!(
            unknown.contains("id 11 is not in the vocabulary of 11"),
            "{unknown}"
        );
    }
}

#[test]
fn configurations_are_read_and_refused_by_name() {
    let read = |keys: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), format!("{{{keys}}}")).unwrap();
        TowerConfig::open(folder.path()).map_err(|error| error.to_string())
    };
    assert_eq!(
        read(r#""model_type": "clip""#).unwrap(),
        TowerConfig::clip()
    );
    let siglip = r#""model_type": "siglip", "text_config": {"model_type": "siglip_text_model"}"#;
    assert_eq!(read(siglip).unwrap(), TowerConfig::siglip());
    for (keys, part) in [
        (
            r#""model_type": "dinov2""#,
            "unknown variant `dinov2`, expected one of `clip`",
        ),
        (
            r#""model_type": "clip_text_model", "num_attention_heads": 7"#,
            "a divisor of hidden_size 512, found 7",
        ),
        (
            r#""model_type": "clip", "text_config": {"pad_token_id": 50000}"#,
            "below vocab_size 49408, found 50000",
        ),
        (
            r#""model_type": "siglip_text_model", "attention_dropout": 1.0"#,
            "below 1, found 1",
        ),
    ] {
        let message = read(keys).unwrap_err();
        assert!(message.contains(part), "`{part}` is not in: {message}");
        assert!(message.contains("config.json: "), "{message}");
    }
}

/// The text half of `openai/clip-vit-base-patch32` with random weights: 63 million parameters.
#[test]
fn the_full_size_is_built_and_run() {
    let mut parameters = Parameters::new(&Device::Cpu);
    let draws = Draws::new(1);
    let config = TowerConfig::clip();
    let tower = Tower::new(&mut parameters, PREFIX, &config, Initial::Drawn(&draws)).unwrap();
    // 63,428,096 with the projection of whole captions, 512 x 512.
    assert_eq!(parameters.numbers(), 63_428_096 - 512 * 512);
    let captions = [vec![49_406, 320, 1929, 49_407]];
    let states = tower.states(&batch(&captions), None).unwrap();
    assert_eq!(states.dims(), [1, 4, 512]);
    assert_finite_nonzero("states", &states);
}
