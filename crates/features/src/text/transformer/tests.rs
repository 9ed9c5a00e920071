//! Tests of text transformers against golden states of tiny models, which
//! `tests/goldens/transformers/bert/write.py` and `tests/goldens/transformers/write.py` write.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::safetensors::{load, save};
use candle_core::{DType, Device, Var};
use uard_testkit::{
    assert_close, assert_finite_nonzero, assert_gradients, assert_same_bytes, worst_difference,
};

use super::*;
use crate::transformer::Activation;

/// The tolerance against PyTorch: two layers of sums over up to 48 numbers, each with errors of a
/// few 1e-7.
const PARITY: f64 = 1e-5;
/// The tolerance of the same products, computed in other blocks.
const SINGLE: f64 = 3e-6;
/// Ragged lengths with a caption of one piece.
const RAGGED: [usize; 4] = [3, 1, 7, 2];

pub(in crate::text) const ALL: [&str; 3] = ["bert", "clip", "siglip"];

pub(in crate::text) fn folder(family: &str) -> PathBuf {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/transformers");
    goldens.join(family)
}

/// The value of `text.encoder` for a family.
fn encoder_of(family: &str) -> &'static str {
    match family {
        "bert" => "bert",
        _ => "tower",
    }
}

pub(in crate::text) fn golden_config(family: &str) -> TransformerConfig {
    let path = folder(family).join("config.json");
    TransformerConfig::read(&path, encoder_of(family))
        .unwrap()
        .0
}

/// The beginning of the names of a family's parameters.
fn prefix(family: &str) -> String {
    format!("text.{}.", encoder_of(family))
}

/// A folder without weights.
fn empty() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn stored(config: &TransformerConfig, folder: &Path) -> Result<TextTransformer> {
    let weights = Weights::open_folder(folder)?;
    let mut parameters = Parameters::new(&Device::Cpu);
    let initial = InitialWeights {
        stored: Some(&weights),
        draws: &Draws::new(1),
    };
    TextTransformer::new(&mut parameters, config, 9, initial)
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

/// The golden batch, and the tensor `states` of the golden file: states that the published code
/// computed.
fn expected(family: &str, states: &str) -> (CaptionBatch, Tensor) {
    let tensors = load(folder(family).join("expected.safetensors"), &Device::Cpu).unwrap();
    let ids = tensors["ids"].to_dtype(DType::U32).unwrap();
    let counts: Vec<i64> = tensors["counts"].to_vec1().unwrap();
    let counts = counts.into_iter().map(|count| count as usize).collect();
    let states = tensors[states].clone();
    (CaptionBatch::new(ids, counts).unwrap(), states)
}

fn expected_of(family: &str) -> (CaptionBatch, Tensor) {
    match family {
        "bert" => expected(family, "states_gelu"),
        _ => expected(family, "states"),
    }
}

fn tiny(family: &str) -> TransformerConfig {
    TransformerConfig {
        vocab_size: 11,
        hidden_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 20,
        max_position_embeddings: 8,
        initializer_range: 0.3,
        ..golden_config(family)
    }
}

fn encoder(config: &TransformerConfig) -> (Parameters, TextTransformer) {
    let mut parameters = Parameters::new(&Device::Cpu);
    let initial = InitialWeights {
        stored: None,
        draws: &Draws::new(1),
    };
    let encoder = TextTransformer::new(&mut parameters, config, 9, initial);
    (parameters, encoder.unwrap())
}

/// A scalar loss in which every number has its own weight.
fn loss(rows: &Tensor) -> candle_core::Result<Tensor> {
    let count = rows.elem_count();
    let target: Vec<f64> = (0..count).map(|at| (at as f64 * 0.7).cos()).collect();
    let target = Tensor::from_vec(target, rows.dims(), &Device::Cpu)?;
    (rows * target.to_dtype(rows.dtype())?)?.sum_all()
}

#[test]
fn states_equal_those_of_the_published_code() {
    for family in ALL {
        let (batch, expected) = expected_of(family);
        let found = stored(&golden_config(family), &folder(family)).unwrap();
        let found = found.states(&batch, None).unwrap();
        assert_eq!(found.dims(), expected.dims());
        let (difference, place) = worst_difference(&found, &expected);
        assert!(difference < PARITY, "{family}, {place}: {difference:e}");
    }
}

#[test]
fn states_of_every_activation_equal_those_of_the_published_code() {
    for (name, activation) in [
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluNew),
        ("relu", Activation::Relu),
    ] {
        let config = TransformerConfig {
            hidden_act: activation,
            ..golden_config("bert")
        };
        let (batch, expected) = expected("bert", &format!("states_{name}"));
        let found = stored(&config, &folder("bert")).unwrap();
        let (difference, place) = worst_difference(&found.states(&batch, None).unwrap(), &expected);
        assert!(
            difference < PARITY,
            "{name}, number {place}: {difference:e}"
        );
    }
}

#[test]
fn old_names_prefixes_and_f16_are_read() {
    let tensors = load(folder("bert").join("model.safetensors"), &Device::Cpu).unwrap();
    let renamed = tensors.iter().map(|(name, tensor)| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        let name = name.replace("LayerNorm.bias", "LayerNorm.beta");
        (format!("bert.{name}"), tensor.to_dtype(DType::F16).unwrap())
    });
    let copy = empty();
    save(&renamed.collect(), copy.path().join("model.safetensors")).unwrap();
    let (batch, expected) = expected_of("bert");
    let found = stored(&golden_config("bert"), copy.path()).unwrap();
    let found = found.states(&batch, None).unwrap();
    // f16 keeps 11 bits of each weight.
    assert_close(&found, &expected, 5e-3);
}

#[test]
fn a_text_half_alone_without_the_prefix_is_read() {
    let all = load(folder("clip").join("model.safetensors"), &Device::Cpu).unwrap();
    let half = all.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("text_model.")?.to_owned();
        Some((name, tensor))
    });
    let copy = empty();
    save(&half.collect(), copy.path().join("model.safetensors")).unwrap();
    let path = folder("clip").join("config.json");
    let (config, written) = TransformerConfig::read(&path, "tower").unwrap();
    let path = copy.path().join("config.json");
    std::fs::write(&path, &written).unwrap();
    let (_, again) = TransformerConfig::read(&path, "tower").unwrap();
    assert_eq!(again, written);
    let (batch, expected) = expected_of("clip");
    let found = stored(&config, copy.path()).unwrap();
    assert_close(&found.states(&batch, None).unwrap(), &expected, PARITY);
}

#[test]
fn a_pickle_gives_the_states_of_safetensors() {
    let copy = empty();
    let name = "pytorch_model.bin";
    std::fs::copy(folder("bert").join(name), copy.path().join(name)).unwrap();
    let (batch, _) = expected_of("bert");
    let config = golden_config("bert");
    let found = stored(&config, copy.path()).unwrap();
    let expected = stored(&config, &folder("bert")).unwrap();
    assert_same_bytes(
        &found.states(&batch, None).unwrap(),
        &expected.states(&batch, None).unwrap(),
    );
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let refused = |tensors: HashMap<String, Tensor>| {
        let copy = empty();
        save(&tensors, copy.path().join("model.safetensors")).unwrap();
        let opened = stored(&golden_config("bert"), copy.path());
        opened.unwrap_err().to_string()
    };
    let whole = load(folder("bert").join("model.safetensors"), &Device::Cpu).unwrap();
    let name = "encoder.layer.1.output.dense.weight";
    let with = |tensor: Tensor| {
        let mut tensors = whole.clone();
        tensors.insert(name.to_owned(), tensor);
        refused(tensors)
    };

    let mut without = whole.clone();
    without.remove(name);
    let missing = refused(without);
    let turned = with(whole[name].t().unwrap().contiguous().unwrap());
    let integers = with(whole[name].to_dtype(DType::I64).unwrap());
    let infinite = with((&whole[name] / 0.0).unwrap());
    for (message, part) in [
        (missing, "is missing, expected it with shape (32, 48)"),
        (turned, "expected shape (32, 48), found (48, 32)"),
        (
            integers,
            "expected numbers of f16, bf16, f32 or f64, found i64",
        ),
        (infinite, "expected finite numbers"),
    ] {
        assert!(
            message.contains(&format!("`{name}`")) && message.contains("model.safetensors"),
            "{message}"
        );
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn damaged_and_absent_files_are_refused() {
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let copy = empty();
        let bytes = std::fs::read(folder("bert").join(name)).unwrap();
        std::fs::write(copy.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        let message = stored(&golden_config("bert"), copy.path())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(name) && message.contains("truncated"),
            "{message}"
        );
    }
    let message = stored(&golden_config("bert"), empty().path())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("neither model.safetensors nor pytorch_model.bin"),
        "{message}"
    );
}

#[test]
fn padding_of_the_batch_changes_nothing() {
    for family in ALL {
        let (_, encoder) = encoder(&tiny(family));
        let captions = captions(&RAGGED);
        let short = encoder.states(&batch(&captions), None).unwrap();
        let mut long = captions.clone();
        let longer = |caption: &mut Vec<u32>| caption.resize(13, 4_000_000);
        long.iter_mut().for_each(longer);
        let long = CaptionBatch::new(batch(&long).ids().clone(), RAGGED.to_vec()).unwrap();
        let long = encoder.states(&long, None).unwrap();
        assert_same_bytes(&long.narrow(1, 0, 7).unwrap(), &short);
        let rest = long.narrow(1, 7, 6).unwrap();
        assert_same_bytes(&rest, &rest.zeros_like().unwrap());
        let shortest = long.narrow(0, 1, 1).unwrap().narrow(1, 1, 12).unwrap();
        assert_same_bytes(&shortest, &shortest.zeros_like().unwrap());
    }
}

#[test]
fn a_caption_alone_equals_the_caption_in_a_batch() {
    for family in ALL {
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
fn rows_are_unit_and_padding_rows_zero() {
    for family in ALL {
        let (_, encoder) = encoder(&tiny(family));
        let words = encoder.forward(&batch(&captions(&[2, 1])), None).unwrap();
        assert_eq!(words.width(), 9);
        let norms = words.rows().sqr().unwrap().sum(2).unwrap();
        let expected = Tensor::new(&[[1f32, 1.0], [1.0, 0.0]], &Device::Cpu).unwrap();
        assert_close(&norms, &expected, SINGLE);
    }
}

#[test]
fn later_words_change_states_in_all_families_but_clip() {
    for (family, changes) in [("clip", false), ("siglip", true), ("bert", true)] {
        let (_, encoder) = encoder(&tiny(family));
        let first = |caption: Vec<u32>| {
            let states = encoder.states(&batch(&[caption]), None).unwrap();
            states.narrow(1, 0, 2).unwrap()
        };
        let (one, other) = (first(vec![4, 7, 2]), first(vec![4, 7, 9, 1]));
        let difference = worst_difference(&one, &other).0;
        assert_eq!(difference > 1e-3, changes, "{family}: {difference:e}");
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
    for (family, others) in [("bert", 5), ("clip", 4), ("siglip", 4)] {
        let dropping = TransformerConfig {
            attention_dropout: 0.2,
            ..tiny(family)
        };
        for (config, drops) in [(tiny(family), None), (dropping, Some(training))] {
            let (parameters, encoder) = encoder(&config);
            // The longest caption reaches the last position.
            let counts = [3, 1, 8, 2];
            let words = encoder.forward(&batch(&captions(&counts)), drops).unwrap();
            let gradients = loss(words.rows()).unwrap().backward().unwrap();
            assert_eq!(parameters.iter().count(), others + 2 * 16 + 2);
            for (name, var) in parameters.iter() {
                let gradient = gradients.get(var).expect("every parameter is used");
                // A bias of keys adds one number to all logits of a query, so that its gradient is
                // zero but for rounding.
                if name.ends_with("key.bias") || name.ends_with("k_proj.bias") {
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
    let step = Drops {
        draws: &draws,
        step: &[1],
    };
    for family in ALL {
        let config = TransformerConfig {
            vocab_size: 5,
            hidden_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 3,
            max_position_embeddings: 4,
            ..tiny(family)
        };
        let mut vars = Vec::new();
        TextTransformer::make(&config, 3, &mut |name, shape| {
            let drawn = drawn(name, shape)?;
            if !name.starts_with(PROJECTION) {
                vars.push(Var::from_tensor(&drawn)?);
                return Ok(vars[vars.len() - 1].as_tensor().clone());
            }
            Ok(drawn)
        })
        .unwrap();
        let batch = batch(&[vec![1, 4, 2], vec![3]]);
        for drops in [None, Some(step)] {
            let run = |tensors: &[Tensor]| {
                let mut tensors = tensors.iter().cloned();
                let encoder = TextTransformer::make(&config, 3, &mut |name, shape| match name
                    .starts_with(PROJECTION)
                {
                    true => Ok(drawn(name, shape)?),
                    false => Ok(tensors.next().unwrap()),
                });
                let states = encoder.and_then(|encoder| encoder.states(&batch, drops));
                loss(&states.map_err(candle_core::Error::wrap)?)
            };
            assert_gradients(run, &vars, 1e-6);
        }
    }
}

#[test]
fn dropout_depends_on_the_step_and_a_rate_of_zero_drops_nothing() {
    let draws = Draws::new(4);
    let run = |config: &TransformerConfig, step: Option<&[u64]>| {
        let (_, encoder) = encoder(config);
        let drops = step.map(|step| Drops {
            draws: &draws,
            step,
        });
        let batch = batch(&captions(&RAGGED));
        encoder.states(&batch, drops).unwrap()
    };
    for (family, attention_dropout) in [("bert", 0.1), ("clip", 0.5)] {
        let config = TransformerConfig {
            attention_dropout,
            ..tiny(family)
        };
        let dropped = run(&config, Some(&[1, 2]));
        assert_same_bytes(&dropped, &run(&config, Some(&[1, 2])));
        for other in [run(&config, Some(&[1, 3])), run(&config, None)] {
            assert!(worst_difference(&dropped, &other).0 > 1e-2);
        }
    }
    let published = tiny("clip");
    assert_same_bytes(&run(&published, Some(&[1])), &run(&published, None));
}

#[test]
fn threads_change_no_byte() {
    let counts: Vec<usize> = (0..40).map(|caption| 1 + caption * 5 % 8).collect();
    let draws = Draws::new(4);
    for family in ALL {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let (parameters, encoder) = encoder(&tiny(family));
                let drops = Some(Drops {
                    draws: &draws,
                    step: &[0],
                });
                let words = encoder.forward(&batch(&captions(&counts)), drops).unwrap();
                let gradients = loss(words.rows()).unwrap().backward().unwrap();
                let gradients = parameters
                    .iter()
                    .map(|(_, var)| gradients.get(var).unwrap().clone());
                (words, gradients.collect::<Vec<_>>())
            })
        };
        let ((one, one_gradients), (three, three_gradients)) = (run(1), run(3));
        assert_same_bytes(three.rows(), one.rows());
        for (three, one) in three_gradients.iter().zip(&one_gradients) {
            assert_same_bytes(three, one);
        }
    }
}

#[test]
fn parameters_have_their_published_names_after_the_prefix_of_the_encoder() {
    for (family, known) in [
        (
            "bert",
            [
                "text.bert.encoder.layer.1.attention.self.query.weight",
                "text.bert.embeddings.LayerNorm.bias",
            ],
        ),
        (
            "clip",
            [
                "text.tower.encoder.layers.1.self_attn.q_proj.weight",
                "text.tower.final_layer_norm.bias",
            ],
        ),
    ] {
        let (parameters, _) = encoder(&tiny(family));
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
        assert!(known.iter().all(|name| names.contains(name)));
        let prefix = prefix(family);
        let others = names.iter().filter(|name| !name.starts_with(&prefix));
        assert_eq!(
            others.collect::<Vec<_>>(),
            [&"text.projection.bias", &"text.projection.weight"]
        );
        let weight = parameters.get("text.projection.weight").unwrap();
        assert_eq!(weight.dims(), [9, 12]);
    }
}

#[test]
fn captions_that_are_too_long_or_have_unknown_ids_are_refused_by_number() {
    for family in ALL {
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
fn products_of_bf16_differ_within_their_rounding() {
    for family in ALL {
        let (_, encoder) = encoder(&tiny(family));
        let batch = batch(&captions(&RAGGED));
        let exact = encoder.forward(&batch, None).unwrap();
        let encoder = encoder.with_matmul(Matmul::Bf16);
        let rounded = encoder.forward(&batch, None).unwrap();
        let (difference, _) = worst_difference(rounded.rows(), exact.rows());
        // Rounding to bf16 changes each number by up to 2^-9 of it, over a dozen products.
        assert!(difference > 1e-5 && difference < 5e-2, "{difference}");
    }
}

/// `bert-base-uncased` and the text half of `openai/clip-vit-base-patch32` with random weights: 110
/// and 63 million parameters.
#[test]
fn full_sizes_are_built_and_run() {
    let bert = r#"{"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512}"#;
    for (encoder, text, numbers, caption) in [
        // The published model has 109,482,240, with the pooler's 768 x 769, which the encoder
        // leaves out.
        (
            "bert",
            bert,
            109_482_240 - 768 * 769,
            [101, 1037, 3899, 102],
        ),
        // The published model has 63,428,096, with the 512 x 512 of the projection of whole
        // captions, which the encoder leaves out.
        (
            "tower",
            r#"{"model_type": "clip"}"#,
            63_428_096 - 512 * 512,
            [49_406, 320, 1929, 49_407],
        ),
    ] {
        let copy = empty();
        let path = copy.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let (config, _) = TransformerConfig::read(&path, encoder).unwrap();
        let (parameters, model) = self::encoder(&config);
        let width = config.hidden_size;
        assert_eq!(parameters.numbers(), numbers + 9 * width + 9);
        let states = model.states(&batch(&[caption.to_vec()]), None).unwrap();
        assert_eq!(states.dims(), [1, 4, width]);
        assert_finite_nonzero("states", &states);
    }
}
