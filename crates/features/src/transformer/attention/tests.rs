//! Tests of self-attention: operator and composed form agree, and gradients match finite differences.

use candle_core::Var;
use uard_core::dropout::Dropout;
use uard_core::random::{Draws, uniform};
use uard_testkit::{assert_close, assert_gradients, assert_same_bytes, worst_difference};

use super::*;

/// Ragged lengths with a caption of one word.
const RAGGED: [usize; 4] = [3, 1, 5, 2];
/// The number of heads, and the width of all heads together.
const HEADS: usize = 2;
const WIDTH: usize = 6;

fn inputs(counts: &[usize], dtype: DType) -> [Var; 3] {
    let words: usize = counts.iter().sum();
    [1, 2, 3].map(|at| {
        let mut stream = Draws::new(4).stream("attention", &[at]);
        let values = uniform(&mut stream, -2.0, 2.0, words * WIDTH);
        let values = Tensor::from_vec(values, (words, WIDTH), &Device::Cpu).unwrap();
        Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
    })
}

fn projected(inputs: &[Tensor]) -> Projected {
    Projected {
        query: inputs[0].clone(),
        key: inputs[1].clone(),
        value: inputs[2].clone(),
    }
}

fn with_vars(vars: &[Var; 3]) -> Projected {
    projected(&vars.each_ref().map(|var| var.as_tensor().clone()))
}

/// Both kinds of visibility.
const ALL: [Visibility; 2] = [Visibility::All, Visibility::Causal];

fn spans(counts: &[usize]) -> [Spans; 2] {
    ALL.map(|visibility| Spans::new(counts, HEADS, visibility))
}

fn factors(spans: &Spans) -> Vec<f32> {
    let stream = Draws::new(5).stream("factors", &[]);
    Dropout::new(0.3).unwrap().factors(&stream, spans.cells())
}

fn loss(attended: &Tensor) -> candle_core::Result<Tensor> {
    let words = attended.dim(0)?;
    let target: Vec<f64> = (0..words * WIDTH).map(|at| (at as f64).cos()).collect();
    let target = Tensor::from_vec(target, (words, WIDTH), &Device::Cpu)?;
    (attended * target.to_dtype(attended.dtype())?)?.sum_all()
}

#[test]
fn operator_equals_the_composed_form_in_values_and_gradients() {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
        for counts in [&RAGGED[..], &[1], &[19, 2]] {
            let both = spans(counts);
            let cases = both
                .iter()
                .flat_map(|spans| [(spans, None), (spans, Some(factors(spans)))]);
            for (spans, factors) in cases {
                let vars = inputs(counts, dtype);
                let found = attend(&with_vars(&vars), spans, factors.clone()).unwrap();
                let expected = composed(&with_vars(&vars), spans, factors).unwrap();
                assert_close(&found, &expected, tolerance);
                let found = loss(&found).unwrap().backward().unwrap();
                let expected = loss(&expected).unwrap().backward().unwrap();
                for var in &vars {
                    let (found, expected) = (found.get(var).unwrap(), expected.get(var).unwrap());
                    assert_close(found, expected, tolerance);
                }
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let both = spans(&RAGGED);
    for (spans, factors) in [
        (&both[0], None),
        (&both[0], Some(factors(&both[0]))),
        (&both[1], None),
        (&both[1], Some(factors(&both[1]))),
    ] {
        let run = |inputs: &[Tensor]| {
            let attended = attend(&projected(inputs), spans, factors.clone());
            loss(&attended.map_err(candle_core::Error::wrap)?)
        };
        assert_gradients(run, &inputs(&RAGGED, DType::F64), 1e-7);
    }
}

#[test]
fn one_word_attends_itself() {
    let vars = inputs(&[1], DType::F32);
    for spans in spans(&[1]) {
        let attended = attend(&with_vars(&vars), &spans, None).unwrap();
        assert_same_bytes(&attended, &vars[2]);
    }
}

#[test]
fn causal_attention_ignores_later_words() {
    let [all, causal] = spans(&[5]);
    let vars = inputs(&[5], DType::F32);
    let later = Tensor::new(&[[0f32], [0.0], [0.0], [9.0], [9.0]], &Device::Cpu).unwrap();
    let changed = vars
        .each_ref()
        .map(|var| var.broadcast_add(&later).unwrap());
    let first = |words: &Projected, spans: &Spans| {
        attend(words, spans, None).unwrap().narrow(0, 0, 3).unwrap()
    };
    let (before, after) = (with_vars(&vars), projected(&changed));
    assert_same_bytes(&first(&after, &causal), &first(&before, &causal));
    assert!(worst_difference(&first(&after, &all), &first(&before, &all)).0 > 0.1);
    let one = attend(&before, &causal, None)
        .unwrap()
        .narrow(0, 0, 1)
        .unwrap();
    assert_same_bytes(&one, &vars[2].narrow(0, 0, 1).unwrap());
}

#[test]
fn data_without_a_graph_gives_the_same_bytes() {
    let vars = inputs(&RAGGED, DType::F32);
    let data = vars.each_ref().map(|var| var.detach());
    for spans in spans(&RAGGED) {
        let found = attend(&projected(&data), &spans, None).unwrap();
        assert!(!found.track_op());
        assert_same_bytes(&found, &attend(&with_vars(&vars), &spans, None).unwrap());
    }
}

#[test]
fn logits_far_below_zero_keep_their_weights() {
    let vars = inputs(&[2, 3], DType::F64);
    let far = |sign: f64| (vars[0].abs().unwrap() * (sign * 100.0)).unwrap();
    let words = Projected {
        query: far(1.0),
        key: far(-1.0),
        value: vars[2].as_tensor().clone(),
    };
    let [spans, _] = spans(&[2, 3]);
    let found = attend(&words, &spans, None).unwrap();
    assert_close(&found, &composed(&words, &spans, None).unwrap(), 1e-12);
    let ones = vars[2].ones_like().unwrap();
    let words = Projected {
        value: ones.clone(),
        ..words
    };
    assert_close(&attend(&words, &spans, None).unwrap(), &ones, 1e-12);
}

#[test]
fn threads_and_other_captions_change_no_byte() {
    let counts: Vec<usize> = (0..30).map(|caption| 1 + caption * 7 % 17).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let vars = inputs(&counts, DType::F32);
            let attended = attend(&with_vars(&vars), &spans(&counts)[1], None).unwrap();
            let gradients = loss(&attended).unwrap().backward().unwrap();
            let gradients = vars.map(|var| gradients.get(&var).unwrap().clone());
            (attended, gradients)
        })
    };
    let ((one, one_gradients), (three, three_gradients)) = (run(1), run(3));
    assert_same_bytes(&three, &one);
    for (three, one) in three_gradients.iter().zip(&one_gradients) {
        assert_same_bytes(three, one);
    }
    let vars = inputs(&counts, DType::F32);
    let first = vars
        .each_ref()
        .map(|var| var.narrow(0, 0, counts[0]).unwrap());
    let alone = attend(&projected(&first), &spans(&counts[..1])[1], None).unwrap();
    assert_same_bytes(&alone, &one.narrow(0, 0, counts[0]).unwrap());
}
