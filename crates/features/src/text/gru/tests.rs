//! Tests of the GRU: operator, composed form and scalar reference agree, in values and gradients.

mod reference;

use candle_core::{DType, Device, Tensor, Var};
use uard_testkit::{assert_close, assert_finite_nonzero, assert_gradients, assert_same_bytes};

use super::*;
use crate::text::vocabulary::Vocabulary;

/// The tolerance of f32 against f64: a state goes through a dozen steps of sums over at most 9
/// numbers, each with errors of a few 1e-7.
const SINGLE: f64 = 3e-6;
/// The tolerance of the same sums in f64 in another order.
const DOUBLE: f64 = 1e-12;
/// The tolerance of central differences of a loss near 1 in f64.
const DIFFERENCES: f64 = 1e-7;
/// Ragged lengths with a caption of one word and equal neighbours.
const RAGGED: [usize; 6] = [3, 1, 7, 3, 12, 2];

fn values(label: &str, bound: f32, count: usize) -> Vec<f32> {
    uniform(&mut Draws::new(5).stream(label, &[]), -bound, bound, count)
}

fn tensor(label: &str, shape: &[usize], dtype: DType) -> Tensor {
    let values = values(label, 0.8, shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

/// An encoder over 11 words whose parameters are variables, so that they get gradients.
fn with_vars(width: usize, dtype: DType) -> (TextEncoder, [Var; 9]) {
    let shapes: [&[usize]; 9] = [
        &[11, 5],
        &[3 * width, 5],
        &[3 * width, width],
        &[3 * width],
        &[3 * width],
        &[3 * width, 5],
        &[3 * width, width],
        &[3 * width],
        &[3 * width],
    ];
    let mut at = 0;
    let vars = shapes.map(|shape| {
        at += 1;
        Var::from_tensor(&tensor(&format!("parameter {at}"), shape, dtype)).unwrap()
    });
    (
        with_tensors(&vars.each_ref().map(|var| var.as_tensor().clone())),
        vars,
    )
}

/// An encoder with these parameters, in the order of [`TextEncoder::parameters`].
fn with_tensors(tensors: &[Tensor]) -> TextEncoder {
    let direction = |first: usize| Direction {
        weight_ih: tensors[first].clone(),
        weight_hh: tensors[first + 1].clone(),
        bias_ih: tensors[first + 2].clone(),
        bias_hh: tensors[first + 3].clone(),
    };
    TextEncoder {
        embedding: tensors[0].clone(),
        directions: [direction(1), direction(5)],
        matmul: Matmul::F32,
        packed: None,
    }
}

#[test]
fn a_frozen_encoder_gives_the_same_bytes() {
    for matmul in [Matmul::F32, Matmul::Bf16] {
        let encoder = encoder(11).1.with_matmul(matmul);
        let frozen = encoder.clone().frozen().unwrap();
        assert!(frozen.packed.is_some());
        for counts in [&RAGGED[..], &[1], &[4]] {
            let batch = padded(counts, 12);
            let [expected, found] = [&encoder, &frozen].map(|it| it.forward(&batch).unwrap());
            assert_same_bytes(expected.rows(), found.rows());
        }
    }
}

/// Captions of these lengths, padded to `longest`.
fn padded(counts: &[usize], longest: usize) -> CaptionBatch {
    let mut ids = captions(counts);
    ids.iter_mut()
        .for_each(|caption| caption.resize(longest, 99));
    CaptionBatch::new(batch(&ids).ids().clone(), counts.to_vec()).unwrap()
}

/// A scalar loss in which every number of the states has its own weight.
fn loss(average: &Tensor) -> candle_core::Result<Tensor> {
    let target = tensor("target", average.dims(), average.dtype());
    (average * target)?.sum_all()
}

fn encoder(vocabulary: usize) -> (Parameters, TextEncoder) {
    let mut parameters = Parameters::new(&Device::Cpu);
    let config = TextEncoderConfig {
        word_width: 6,
        joint_width: 9,
    };
    let encoder = TextEncoder::new(&mut parameters, config, vocabulary, &Draws::new(1)).unwrap();
    (parameters, encoder)
}

fn captions(counts: &[usize]) -> Vec<Vec<u32>> {
    let id = |caption: usize, word: usize| ((caption * 7 + word * 3) % 11) as u32;
    let words = |(caption, &count)| (0..count).map(|word| id(caption, word)).collect();
    counts.iter().enumerate().map(words).collect()
}

fn batch(captions: &[Vec<u32>]) -> CaptionBatch {
    CaptionBatch::pad(captions, 0, &Device::Cpu).unwrap()
}

fn reference_direction(parameters: &Parameters, suffix: &str) -> reference::Direction {
    let get = |name: &str| parameters.get(&format!("text.gru.{name}{suffix}")).unwrap();
    let rows = |name| get(name).to_dtype(DType::F64).unwrap().to_vec2().unwrap();
    let row = |name| get(name).to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    reference::Direction {
        weight_ih: rows("weight_ih"),
        weight_hh: rows("weight_hh"),
        bias_ih: row("bias_ih"),
        bias_hh: row("bias_hh"),
    }
}

/// The mean of both directions' states [C, W, H], computed by the scalar reference.
fn by_reference(parameters: &Parameters, captions: &[Vec<u32>], longest: usize) -> Tensor {
    let embedding = parameters.get("text.embedding.weight").unwrap();
    let embedding = embedding
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec2::<f64>()
        .unwrap();
    let forward = reference_direction(parameters, "");
    let reverse = reference_direction(parameters, "_reverse");
    let all: Vec<Vec<Vec<f64>>> = captions
        .iter()
        .map(|ids| {
            let words: Vec<_> = ids
                .iter()
                .map(|&id| embedding[id as usize].clone())
                .collect();
            let mut states = reference::average(&words, &forward, &reverse);
            states.resize(longest, vec![0.0; 9]);
            states
        })
        .collect();
    Tensor::new(all, &Device::Cpu).unwrap()
}

#[test]
fn operator_and_composed_form_equal_the_scalar_reference() {
    let (parameters, encoder) = encoder(11);
    for counts in [&RAGGED[..], &[1], &[5], &[1, 1, 1], &[4, 4]] {
        let captions = captions(counts);
        let batch = batch(&captions);
        let expected = by_reference(&parameters, &captions, batch.ids().dims()[1]);
        for average in [operator::average, composed::average] {
            let found = average(&encoder, &batch).unwrap();
            assert_close(&found.to_dtype(DType::F64).unwrap(), &expected, SINGLE);
        }
    }
}

#[test]
fn operator_equals_the_composed_form_in_values_and_gradients() {
    for (dtype, tolerance) in [(DType::F32, SINGLE), (DType::F64, DOUBLE)] {
        for counts in [&RAGGED[..], &[1], &[6], &[2, 9]] {
            let batch = padded(counts, 13);
            // A width of more numbers than a vector holds, and no multiple of that.
            let (encoder, vars) = with_vars(21, dtype);
            let expected = composed::average(&encoder, &batch).unwrap();
            let gradients = loss(&expected).unwrap().backward().unwrap();
            let found = operator::average(&encoder, &batch).unwrap();
            assert_close(&found, &expected, tolerance);
            let found = loss(&found).unwrap().backward().unwrap();
            for var in &vars {
                let (found, expected) = (found.get(var).unwrap(), gradients.get(var).unwrap());
                assert_close(found, expected, tolerance);
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    for counts in [&[3, 1, 4][..], &[1], &[2]] {
        let batch = padded(counts, 5);
        let (_, vars) = with_vars(3, DType::F64);
        for average in [operator::average, composed::average] {
            let run = |tensors: &[Tensor]| {
                let average = average(&with_tensors(tensors), &batch);
                loss(&average.map_err(candle_core::Error::wrap)?)
            };
            assert_gradients(run, &vars, DIFFERENCES);
        }
    }
}

#[test]
fn strided_parameters_and_gradients_give_the_same_bytes() {
    let (plain, vars) = with_vars(4, DType::F64);
    let batch = padded(&RAGGED, 12);
    let strided = vars.each_ref().map(|var| match var.rank() {
        2 => var.t().unwrap().contiguous().unwrap().t().unwrap(),
        _ => var.as_tensor().clone(),
    });
    assert!(!strided[0].is_contiguous());
    let strided = with_tensors(&strided);
    let run = |encoder: &TextEncoder| {
        let average = operator::average(encoder, &batch)
            .unwrap()
            .transpose(0, 2)
            .unwrap();
        (
            loss(&average.exp().unwrap()).unwrap().backward().unwrap(),
            average,
        )
    };
    let ((found, states), (expected, expected_states)) = (run(&strided), run(&plain));
    assert_same_bytes(&states, &expected_states);
    for var in &vars {
        assert_same_bytes(found.get(var).unwrap(), expected.get(var).unwrap());
    }
}

#[test]
fn products_of_bf16_differ_within_their_rounding() {
    let (exact, _) = with_vars(40, DType::F32);
    let rounded = exact.clone().with_matmul(Matmul::Bf16);
    let batch = padded(&RAGGED, 12);
    let exact = operator::average(&exact, &batch).unwrap();
    let rounded = operator::average(&rounded, &batch).unwrap();
    // Rounding to bf16 changes each number by up to 2^-9 of it, over a dozen steps.
    assert_close(&rounded, &exact, 2e-2);
    let difference = (rounded - exact).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() > 1e-5);
}

#[test]
fn a_second_backward_pass_gives_the_same_bytes() {
    let (encoder, vars) = with_vars(9, DType::F32);
    let loss = loss(&operator::average(&encoder, &padded(&RAGGED, 12)).unwrap()).unwrap();
    let (first, second) = (loss.backward().unwrap(), loss.backward().unwrap());
    for var in &vars {
        assert_same_bytes(first.get(var).unwrap(), second.get(var).unwrap());
    }
}

#[test]
fn padding_changes_nothing() {
    let (_, encoder) = encoder(11);
    let captions = captions(&RAGGED);
    let short = encoder.forward(&batch(&captions)).unwrap();
    let mut long = captions.clone();
    long.iter_mut()
        .for_each(|caption| caption.resize(17, 4_000_000));
    let long = batch(&long);
    let long = CaptionBatch::new(long.ids().clone(), RAGGED.to_vec()).unwrap();
    let long = encoder.forward(&long).unwrap();
    assert_same_bytes(&long.rows().narrow(1, 0, 12).unwrap(), short.rows());
    let rest = long.rows().narrow(1, 12, 5).unwrap();
    assert_same_bytes(&rest, &rest.zeros_like().unwrap());
}

#[test]
fn a_caption_alone_equals_the_caption_in_a_batch() {
    let (_, encoder) = encoder(11);
    let captions = captions(&RAGGED);
    let together = encoder.forward(&batch(&captions)).unwrap();
    for (index, caption) in captions.iter().enumerate() {
        let alone = encoder
            .forward(&batch(std::slice::from_ref(caption)))
            .unwrap();
        let expected = together.narrow(index, 1).unwrap();
        assert_close(alone.rows(), expected.rows(), SINGLE);
    }
}

#[test]
fn order_of_captions_changes_nothing() {
    let (_, encoder) = encoder(11);
    let captions = captions(&RAGGED);
    let reversed: Vec<_> = captions.iter().rev().cloned().collect();
    let found = encoder.forward(&batch(&reversed)).unwrap();
    let back = Tensor::new(&[5u32, 4, 3, 2, 1, 0], &Device::Cpu).unwrap();
    let expected = encoder.forward(&batch(&captions)).unwrap();
    assert_close(
        &found.rows().index_select(&back, 0).unwrap(),
        expected.rows(),
        SINGLE,
    );
}

#[test]
fn threads_change_no_byte() {
    let counts: Vec<usize> = (0..40).map(|caption| 1 + caption * 5 % 19).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let (encoder, vars) = with_vars(70, DType::F32);
            let average = operator::average(&encoder, &padded(&counts, 20)).unwrap();
            let gradients = loss(&average).unwrap().backward().unwrap();
            (
                average,
                vars.map(|var| gradients.get(&var).unwrap().clone()),
            )
        })
    };
    let ((one, one_gradients), (two, two_gradients)) = (run(1), run(2));
    assert_same_bytes(&two, &one);
    for (two, one) in two_gradients.iter().zip(&one_gradients) {
        assert_same_bytes(two, one);
    }
}

#[test]
fn every_parameter_gets_a_finite_nonzero_gradient() {
    let (parameters, encoder) = encoder(11);
    let words = encoder.forward(&batch(&captions(&RAGGED))).unwrap();
    let gradients = loss(words.rows()).unwrap().backward().unwrap();
    assert_eq!(parameters.iter().count(), 9);
    for (name, var) in parameters.iter() {
        assert_finite_nonzero(
            name,
            gradients
                .get(var)
                .expect("the encoder uses every parameter"),
        );
    }
}

#[test]
fn rows_are_unit_and_padding_rows_zero() {
    let (_, encoder) = encoder(11);
    let words = encoder.forward(&batch(&captions(&[2, 1]))).unwrap();
    let norms = words.rows().sqr().unwrap().sum(2).unwrap();
    let expected = Tensor::new(&[[1f32, 1.0], [1.0, 0.0]], &Device::Cpu).unwrap();
    assert_close(&norms, &expected, SINGLE);
}

#[test]
fn parameters_have_the_names_and_bounds_of_pytorch() {
    let (parameters, _) = encoder(11);
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
    assert_eq!(names[0], "text.embedding.weight");
    assert_eq!(
        names[3..5],
        ["text.gru.bias_ih", "text.gru.bias_ih_reverse"]
    );
    assert_eq!(
        parameters.get("text.gru.weight_hh_reverse").unwrap().dims(),
        [27, 9]
    );
    for (name, var) in parameters.iter() {
        let bound = if name.contains("gru") { 1.0 / 3.0 } else { 0.1 };
        let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let largest = values
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        assert!(
            largest <= bound && largest > 0.8 * bound,
            "{name}: {largest}"
        );
    }
}

#[test]
fn words_with_a_vector_start_from_it_and_others_from_draws() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors.txt");
    std::fs::write(&path, "kite 1 2 3 4 5 6\n").unwrap();
    let vocabulary = Vocabulary::build(["red kite"], 1);
    let config = TextEncoderConfig {
        word_width: 6,
        joint_width: 9,
    };
    let draws = Draws::new(1);
    let [mut with, mut without] = [(); 2].map(|()| Parameters::new(&Device::Cpu));
    let vectors = WordVectors::read(&path, &vocabulary, 6).unwrap();
    TextEncoder::with_word_vectors(&mut with, config, &vectors, &draws).unwrap();
    TextEncoder::new(&mut without, config, vocabulary.len(), &draws).unwrap();
    let kite = vocabulary.id("kite") as usize;
    for ((name, with), (_, without)) in with.iter().zip(without.iter()) {
        if name != EMBEDDING {
            assert_same_bytes(with, without);
            continue;
        }
        let mut expected = without.to_vec2::<f32>().unwrap();
        expected[kite] = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(with.to_vec2::<f32>().unwrap(), expected);
    }
    let narrow = TextEncoderConfig {
        word_width: 5,
        ..config
    };
    let mut parameters = Parameters::new(&Device::Cpu);
    let error = TextEncoder::with_word_vectors(&mut parameters, narrow, &vectors, &draws);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("expected 5 along E, found 6"), "{message}");
}

#[test]
fn id_out_of_the_vocabulary_is_an_error() {
    let (_, encoder) = encoder(4);
    let error = encoder
        .forward(&batch(&[vec![1, 4]]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("word 1: id 4 is not in the vocabulary of 4"),
        "{error}"
    );
}
