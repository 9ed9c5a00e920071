//! Do the forms of self-attention agree, and is its gradient the derivative?

use candle_core::Var;
use uard_core::dropout::Dropout;
use uard_core::random::{Draws, uniform};
use uard_testkit::{assert_close, assert_gradients, assert_same_bytes};

use super::*;

/// Ragged lengths with a caption of one word.
const RAGGED: [usize; 4] = [3, 1, 5, 2];
/// Heads, and the width of all together.
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

fn of(vars: &[Var; 3]) -> Projected {
    projected(&vars.each_ref().map(|var| var.as_tensor().clone()))
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
            let spans = Spans::new(counts, HEADS);
            for factors in [None, Some(factors(&spans))] {
                let vars = inputs(counts, dtype);
                let found = attend(&of(&vars), &spans, factors.clone()).unwrap();
                let expected = composed(&of(&vars), &spans, factors).unwrap();
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
    let spans = Spans::new(&RAGGED, HEADS);
    for factors in [None, Some(factors(&spans))] {
        let run = |inputs: &[Tensor]| {
            let attended = attend(&projected(inputs), &spans, factors.clone());
            loss(&attended.map_err(candle_core::Error::wrap)?)
        };
        assert_gradients(run, &inputs(&RAGGED, DType::F64), 1e-7);
    }
}

#[test]
fn one_word_attends_itself() {
    let vars = inputs(&[1], DType::F32);
    let attended = attend(&of(&vars), &Spans::new(&[1], HEADS), None).unwrap();
    assert_same_bytes(&attended, &vars[2]);
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
    let spans = Spans::new(&[2, 3], HEADS);
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
            let attended = attend(&of(&vars), &Spans::new(&counts, HEADS), None).unwrap();
            let gradients = loss(&attended).unwrap().backward().unwrap();
            let gradients = vars.map(|var| gradients.get(&var).unwrap().clone());
            (attended, gradients)
        })
    };
    let ((one, of_one), (three, of_three)) = (run(1), run(3));
    assert_same_bytes(&three, &one);
    for (three, one) in of_three.iter().zip(&of_one) {
        assert_same_bytes(three, one);
    }
    let vars = inputs(&counts, DType::F32);
    let first = vars
        .each_ref()
        .map(|var| var.narrow(0, 0, counts[0]).unwrap());
    let alone = attend(&projected(&first), &Spans::new(&counts[..1], HEADS), None).unwrap();
    assert_same_bytes(&alone, &one.narrow(0, 0, counts[0]).unwrap());
}
