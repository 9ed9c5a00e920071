//! Are the states those of the published code, and does every parameter learn?

use std::path::PathBuf;

use candle_core::safetensors::{load, save};
use candle_core::{DType, Device, Tensor, Var};
use uard_core::random::uniform;
use uard_testkit::{
    assert_close, assert_finite_nonzero, assert_gradients, assert_same_bytes, worst_difference,
};

use super::*;
use uard_hub::weights::Weights;

/// Two layers of sums over up to 48 numbers, each with errors of a few 1e-7, against PyTorch's.
const PARITY: f64 = 1e-5;
/// The same numbers in other blocks of a product.
const SINGLE: f64 = 3e-6;
/// Ragged lengths with a caption of one word.
const RAGGED: [usize; 4] = [3, 1, 7, 2];

pub(super) fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/text/bert/goldens")
}

/// A folder with the golden configuration and no weights.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        goldens().join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    folder
}

pub(super) fn golden_config() -> BertConfig {
    BertConfig::read_json(&goldens().join("config.json")).unwrap()
}

fn stored(config: &BertConfig, folder: &std::path::Path) -> Result<Bert> {
    let weights = Weights::open_folder(folder)?;
    let mut parameters = Parameters::new(&Device::Cpu);
    Bert::new(&mut parameters, PREFIX, config, Initial::Stored(&weights))
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

/// The golden batch and the states that the published code gives with some activation.
fn expected(activation: &str) -> (CaptionBatch, Tensor) {
    let tensors = load(goldens().join("expected.safetensors"), &Device::Cpu).unwrap();
    let ids = tensors["ids"].to_dtype(DType::U32).unwrap();
    let counts: Vec<i64> = tensors["counts"].to_vec1().unwrap();
    let counts = counts.into_iter().map(|count| count as usize).collect();
    let states = tensors[&format!("states_{activation}")].clone();
    (CaptionBatch::new(ids, counts).unwrap(), states)
}

fn tiny() -> BertConfig {
    BertConfig {
        vocab_size: 11,
        hidden_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 20,
        max_position_embeddings: 8,
        initializer_range: 0.3,
        ..BertConfig::base()
    }
}

fn encoder() -> (Parameters, BertEncoder) {
    let mut parameters = Parameters::new(&Device::Cpu);
    let draws = Draws::new(1);
    let sizes = (&tiny(), 9);
    let encoder = BertEncoder::new(&mut parameters, sizes, Initial::Drawn(&draws), &draws);
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
fn states_equal_those_of_the_published_code_for_every_activation() {
    for (name, activation) in [
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluNew),
        ("relu", Activation::Relu),
    ] {
        let config = BertConfig {
            hidden_act: activation,
            ..golden_config()
        };
        let (batch, expected) = expected(name);
        let bert = stored(&config, &goldens()).unwrap();
        let found = bert.states(&batch, None).unwrap();
        let (difference, place) = worst_difference(&found, &expected);
        assert!(
            difference < PARITY,
            "{name}, number {place}: {difference:e}"
        );
    }
}

#[test]
fn names_of_2018_and_with_a_prefix_and_half_precision_are_read() {
    let tensors = load(goldens().join("model.safetensors"), &Device::Cpu).unwrap();
    let renamed = tensors.iter().map(|(name, tensor)| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        let name = name.replace("LayerNorm.bias", "LayerNorm.beta");
        (format!("bert.{name}"), tensor.to_dtype(DType::F16).unwrap())
    });
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    save(&renamed.collect(), path).unwrap();
    let (batch, expected) = expected("gelu");
    let found = stored(&golden_config(), folder.path()).unwrap();
    let found = found.states(&batch, None).unwrap();
    // f16 keeps 11 bits of each weight.
    assert_close(&found, &expected, 5e-3);
}

#[test]
fn pickle_gives_the_states_of_safetensors() {
    let folder = folder();
    let name = "pytorch_model.bin";
    std::fs::copy(goldens().join(name), folder.path().join(name)).unwrap();
    let (batch, _) = expected("gelu");
    let config = golden_config();
    let found = stored(&config, folder.path()).unwrap();
    let expected = stored(&config, &goldens()).unwrap();
    assert_same_bytes(
        &found.states(&batch, None).unwrap(),
        &expected.states(&batch, None).unwrap(),
    );
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let refused = |tensors: std::collections::HashMap<String, Tensor>| {
        let folder = folder();
        save(&tensors, folder.path().join("model.safetensors")).unwrap();
        stored(&golden_config(), folder.path())
            .unwrap_err()
            .to_string()
    };
    let whole = load(goldens().join("model.safetensors"), &Device::Cpu).unwrap();
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
            message.contains(name) && message.contains("model.safetensors"),
            "{message}"
        );
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn damaged_and_absent_files_are_refused() {
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let folder = folder();
        let bytes = std::fs::read(goldens().join(name)).unwrap();
        std::fs::write(folder.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        let message = stored(&golden_config(), folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(name) && message.contains("truncated"),
            "{message}"
        );
    }
    let message = stored(&golden_config(), folder().path())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("neither model.safetensors nor pytorch_model.bin"),
        "{message}"
    );
}

#[test]
fn padding_changes_nothing() {
    let (_, encoder) = encoder();
    let captions = captions(&RAGGED);
    let short = encoder.bert().states(&batch(&captions), None).unwrap();
    let mut long = captions.clone();
    long.iter_mut()
        .for_each(|caption| caption.resize(13, 4_000_000));
    let long = CaptionBatch::new(batch(&long).ids().clone(), RAGGED.to_vec()).unwrap();
    let long = encoder.bert().states(&long, None).unwrap();
    assert_same_bytes(&long.narrow(1, 0, 7).unwrap(), &short);
    let rest = long.narrow(1, 7, 6).unwrap();
    assert_same_bytes(&rest, &rest.zeros_like().unwrap());
    let shortest = long.narrow(0, 1, 1).unwrap().narrow(1, 1, 12).unwrap();
    assert_same_bytes(&shortest, &shortest.zeros_like().unwrap());
}

#[test]
fn a_caption_alone_equals_the_caption_in_a_batch() {
    let (_, encoder) = encoder();
    let captions = captions(&RAGGED);
    let together = encoder.forward(&batch(&captions), None).unwrap();
    for (index, caption) in captions.iter().enumerate() {
        let alone = encoder
            .forward(&batch(std::slice::from_ref(caption)), None)
            .unwrap();
        let expected = together.narrow(index, 1).unwrap();
        assert_close(alone.rows(), expected.rows(), SINGLE);
    }
}

#[test]
fn rows_are_unit_and_padding_rows_zero() {
    let (_, encoder) = encoder();
    let words = encoder.forward(&batch(&captions(&[2, 1])), None).unwrap();
    assert_eq!(words.width(), 9);
    let norms = words.rows().sqr().unwrap().sum(2).unwrap();
    let expected = Tensor::new(&[[1f32, 1.0], [1.0, 0.0]], &Device::Cpu).unwrap();
    assert_close(&norms, &expected, SINGLE);
}

#[test]
fn every_parameter_gets_a_finite_nonzero_gradient() {
    let (parameters, encoder) = encoder();
    let draws = Draws::new(4);
    let training = Drops {
        draws: &draws,
        step: &[0, 3],
    };
    for drops in [None, Some(training)] {
        let words = encoder.forward(&batch(&captions(&RAGGED)), drops).unwrap();
        let gradients = loss(words.rows()).unwrap().backward().unwrap();
        assert_eq!(parameters.iter().count(), 5 + 2 * 16 + 2);
        for (name, var) in parameters.iter() {
            let gradient = gradients
                .get(var)
                .expect("the encoder uses every parameter");
            // A bias of keys adds the same to all logits of a query: what is found is rounding.
            if name.ends_with("key.bias") {
                assert_close(gradient, &gradient.zeros_like().unwrap(), SINGLE);
            } else {
                assert_finite_nonzero(name, gradient);
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let config = BertConfig {
        vocab_size: 5,
        hidden_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 3,
        max_position_embeddings: 4,
        ..tiny()
    };
    let mut vars = Vec::new();
    let draws = Draws::new(8);
    let drawn = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        let numbers = uniform(&mut draws.stream(name, &[]), 0.2, 1.4, count);
        Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(DType::F64)
    };
    Bert::make(&config, &mut |name, shape| {
        vars.push(Var::from_tensor(&drawn(name, shape)?)?);
        Ok(vars[vars.len() - 1].as_tensor().clone())
    })
    .unwrap();
    let batch = batch(&[vec![1, 4, 2], vec![3]]);
    let step = Drops {
        draws: &draws,
        step: &[1],
    };
    for drops in [None, Some(step)] {
        let run = |tensors: &[Tensor]| {
            let mut tensors = tensors.iter().cloned();
            let bert = Bert::make(&config, &mut |_, _| Ok(tensors.next().unwrap()));
            let states = bert.and_then(|bert| bert.states(&batch, drops));
            loss(&states.map_err(candle_core::Error::wrap)?)
        };
        assert_gradients(run, &vars, 1e-6);
    }
}

#[test]
fn dropping_depends_on_the_step_alone() {
    let (_, encoder) = encoder();
    let draws = Draws::new(4);
    let run = |step: &[u64]| {
        let drops = Drops {
            draws: &draws,
            step,
        };
        encoder
            .bert()
            .states(&batch(&captions(&RAGGED)), Some(drops))
            .unwrap()
    };
    assert_same_bytes(&run(&[1, 2]), &run(&[1, 2]));
    let kept = encoder
        .bert()
        .states(&batch(&captions(&RAGGED)), None)
        .unwrap();
    for other in [run(&[1, 3]), kept] {
        assert!(worst_difference(&run(&[1, 2]), &other).0 > 1e-2);
    }
}

#[test]
fn threads_change_no_byte() {
    let counts: Vec<usize> = (0..40).map(|caption| 1 + caption * 5 % 8).collect();
    let draws = Draws::new(4);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (parameters, encoder) = encoder();
            let drops = Drops {
                draws: &draws,
                step: &[0],
            };
            let words = encoder
                .forward(&batch(&captions(&counts)), Some(drops))
                .unwrap();
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

#[test]
fn parameters_have_their_published_names_behind_the_prefix_of_a_group() {
    let (parameters, _) = encoder();
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"text.bert.encoder.layer.1.attention.self.query.weight"));
    assert!(names.contains(&"text.bert.embeddings.LayerNorm.bias"));
    let others = names.iter().filter(|name| !name.starts_with(PREFIX));
    assert_eq!(
        others.collect::<Vec<_>>(),
        [&"text.projection.bias", &"text.projection.weight"]
    );
    let weight = parameters.get("text.projection.weight").unwrap();
    assert_eq!(weight.dims(), [9, 12]);
}

#[test]
fn captions_that_the_model_cannot_read_are_named() {
    let (_, encoder) = encoder();
    let message = |captions: &[Vec<u32>]| {
        encoder
            .forward(&batch(captions), None)
            .unwrap_err()
            .to_string()
    };
    let long = message(&[vec![1], vec![1; 9]]);
    assert!(
        long.contains("caption 1") && long.contains("9 words, the model has 8"),
        "{long}"
    );
    let unknown = message(&[vec![1, 11]]);
    assert!(
        unknown.contains("id 11 is not in the vocabulary of 11"),
        "{unknown}"
    );
}

#[test]
fn rounded_products_change_little_and_something() {
    let (_, encoder) = encoder();
    let batch = batch(&captions(&RAGGED));
    let exact = encoder.forward(&batch, None).unwrap();
    let encoder = encoder.with_matmul(Matmul::Bf16);
    let rounded = encoder.forward(&batch, None).unwrap();
    let (difference, _) = worst_difference(rounded.rows(), exact.rows());
    // 2^-9 of each number, over a dozen products.
    assert!(difference > 1e-5 && difference < 5e-2, "{difference}");
}

/// `bert-base-uncased` with random weights: 110 million parameters.
#[test]
fn the_full_size_is_built_and_run() {
    let mut parameters = Parameters::new(&Device::Cpu);
    let draws = Draws::new(1);
    let config = BertConfig::base();
    let bert = Bert::new(&mut parameters, PREFIX, &config, Initial::Drawn(&draws)).unwrap();
    // 109,482,240 with the pooler's 768 x 769.
    assert_eq!(parameters.numbers(), 109_482_240 - 768 * 769);
    let states = bert
        .states(&batch(&[vec![101, 1037, 3899, 102]]), None)
        .unwrap();
    assert_eq!(states.dims(), [1, 4, 768]);
    assert_finite_nonzero("states", &states);
}
