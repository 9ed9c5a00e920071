//! The CUDA kernels keep the contract, as far as that can be seen without a GPU: every one is
//! compiled as it is for a GPU, and run on an interpreter of PTX that watches memory and races.

#![cfg(feature = "cuda-kernels")]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::sync::Arc;

use uard_attention::kernel::check::{Extent, OnCheck};
use uard_attention::kernel::cuda::check::{matching, precision, training};
use uard_attention::kernel::cuda::{DeviceSearch, samples};
use uard_attention::{Matcher, MatcherConfig};
use uard_core::gpu::compile::{Target, compile};
use uard_ptx::Interpreter;

/// Without NVRTC there is nothing to run; the gate sets the variable, and has it.
fn interpreter(capability: u32) -> Option<Interpreter> {
    let required = std::env::var_os("UARD_NVRTC").is_some();
    Interpreter::where_possible(capability, required)
}

fn assert_all<E: std::fmt::Debug>(check_all: impl FnOnce(OnCheck<'_>) -> Result<(), E>) {
    let mut checks = Vec::new();
    check_all(&mut |check| checks.push(check)).unwrap();
    assert!(checks.len() > 50, "only {} checks", checks.len());
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_program_compiles_to_code_of_ampere_and_hopper() {
    if interpreter(80).is_none() {
        return;
    }
    for program in samples() {
        for target in [Target::Cubin(80), Target::Cubin(90), Target::Ptx(90)] {
            compile(&program, target).unwrap();
        }
    }
}

#[test]
fn matching_agrees_with_loops_in_f64() {
    if let Some(machine) = interpreter(80) {
        let machine = Arc::new(machine);
        assert_all(|on_check| matching(&machine, Extent::Quick, on_check));
    }
}

#[test]
fn matching_in_16_bits_agrees_with_the_processor_in_f32() {
    if let Some(machine) = interpreter(90) {
        let machine = Arc::new(machine);
        assert_all(|on_check| precision(&machine, Extent::Quick, on_check));
    }
}

#[test]
fn training_agrees_with_the_composed_form() {
    if let Some(machine) = interpreter(90) {
        assert_all(|on_check| training(&machine, Extent::Quick, on_check));
    }
}

#[test]
fn a_threshold_that_is_not_finite_is_refused() {
    let Some(machine) = interpreter(80).map(Arc::new) else {
        return;
    };
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = DeviceSearch::new(Arc::clone(&machine), &matcher, bad);
        let message = refused.err().map(|error| error.to_string());
        assert!(message.is_some_and(|text| text.contains("expected a finite number")));
    }
}
