//! Runs the examples.

#[cfg(feature = "nn")]
#[path = "../examples/layer.rs"]
mod layer;
#[path = "../examples/match_features.rs"]
#[allow(dead_code, reason = "its main is called below")]
mod match_features;
#[path = "../examples/rerank.rs"]
mod rerank;
#[path = "../examples/train.rs"]
mod train;

#[test]
fn examples_run_without_errors() {
    match_features::on_made_up().unwrap();
    rerank::main().unwrap();
    train::main().unwrap();
    #[cfg(feature = "nn")]
    layer::main().unwrap();
}
