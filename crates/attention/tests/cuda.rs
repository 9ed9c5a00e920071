//! Tests of the CUDA engine without a GPU, on an interpreter of PTX: which thresholds, precisions and calls
//! it refuses. `uard self-test` compares its results, and its own tests do so on the interpreter.

#![cfg(feature = "cuda-kernels")]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use std::sync::Arc;

use candle_core::DType;
use data::side;
use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, Running};
use uard_core::gpu::Gpu;
use uard_ptx::Interpreter;

/// The interpreter, or none where NVRTC is missing. `cargo xtask ci` sets `UARD_NVRTC`, and there a missing
/// NVRTC is a failure.
fn interpreter() -> Option<Arc<dyn Gpu>> {
    let required = std::env::var_os("UARD_NVRTC").is_some();
    let gpu = Interpreter::where_possible(80, required)?;
    Some(Arc::new(gpu))
}

fn masked() -> Matcher {
    Matcher::new(MatcherConfig::default()).unwrap()
}

#[test]
fn a_threshold_that_is_not_finite_is_refused() {
    let Some(gpu) = interpreter() else {
        return;
    };
    let running = Running::on_gpu(Arc::clone(&gpu), Precision::F16).unwrap();
    let regions = side(0, "regions", &[2], 4).regions(DType::F32);
    let words = side(0, "words", &[2], 4).words(DType::F32);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let search = Search::on(&masked(), bad, &running).err();
        let training = masked().similarities_on(&gpu, &regions, &words, bad).err();
        for refused in [search, training] {
            let message = refused.map(|error| error.to_string());
            assert!(message.is_some_and(|text| text.contains("expected a finite number")));
        }
    }
}

#[test]
fn precisions_widths_and_calls_that_cuda_lacks_are_refused() {
    let Some(gpu) = interpreter() else {
        return;
    };
    let in_f32 = Running::on_gpu(Arc::clone(&gpu), Precision::F32);
    let message = in_f32.unwrap_err().to_string();
    assert!(
        message.starts_with("cuda computes in f16 or bf16, not in f32"),
        "{message}"
    );
    let running = Running::on_gpu(gpu, Precision::F16).unwrap();
    assert_eq!(running.engine(), Engine::Cuda);
    assert_eq!(running.to_string(), "cuda in f16 on an interpreter of PTX");
    let search = Search::on(&masked(), 0.2, &running).unwrap();
    let mut images = search.regions(4).unwrap();
    images
        .push(&side(0, "regions", &[2, 1], 4).regions(DType::F32))
        .unwrap();
    let wide = side(0, "regions", &[2, 1], 5).regions(DType::F32);
    assert!(
        images
            .push(&wide)
            .unwrap_err()
            .to_string()
            .contains("width 5")
    );
    let mut captions = search.words(4).unwrap();
    captions
        .push(&side(0, "words", &[2], 4).words(DType::F32))
        .unwrap();
    let (images, captions) = (images.finish().unwrap(), captions.finish().unwrap());
    let evidence = search.evidence(&images, &captions, 0, 0).err();
    let listed = search.captions_for_image(&images, &captions, 0, &[0]).err();
    for refused in [evidence, listed] {
        let message = refused.map(|error| error.to_string());
        assert!(message.is_some_and(|text| text.contains("use another engine for that")));
    }
    let running = Running::on_gpu(
        Arc::new(Interpreter::where_possible(80, true).unwrap()),
        Precision::Bf16,
    );
    let other = Search::on(&masked(), 0.2, &running.unwrap()).unwrap();
    let message = other.top_k(&images, &captions, 1).unwrap_err().to_string();
    assert!(
        message.contains("regions are packed for f16, and the search asks for bf16"),
        "{message}"
    );
}
