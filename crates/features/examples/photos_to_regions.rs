//! Computes the regions of photos, writes their features, and prints photos per second.
//!
//! ```sh
//! cargo run --release -p uard-features --example photos_to_regions -- \
//!     inception_v3.safetensors f32 regions.npy photos/*.jpg
//! ```
//!
//! The first argument is a file with the weights of an Inception-v3, or the folder of a CLIP,
//! SigLIP or DINOv2; the second is the number type of products, `f32` or `bf16`. `regions.npy` is
//! [I, 36, F] in the order of the photos. The time includes decoding, but not reading the weights.

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use uard_data::npy::write_f32;
use uard_features::backbone::{
    Cells, GridBackbone, InceptionV3, Photo, PhotoLimits, Preprocessing, Tokens, open_vision_folder,
};
use uard_hub::weights::Weights;
use uard_linalg::matmul::Matmul;

/// The number of photos in a batch.
const BATCH: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("name {what}"));
    let weights = PathBuf::from(next("the weights")?);
    let matmul = match next("f32 or bf16")?.as_str() {
        "f32" => Matmul::F32,
        "bf16" => Matmul::Bf16,
        other => return Err(format!("`{other}` is neither f32 nor bf16").into()),
    };
    let out = PathBuf::from(next("the file to write")?);
    let paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();

    let backbone = open(&weights, matmul)?;
    let mut features = Vec::new();
    let start = Instant::now();
    for paths in paths.chunks(BATCH) {
        let photos: Result<Vec<Photo>, _> = paths
            .par_iter()
            .map(|path| Photo::open(path, PhotoLimits::default()))
            .collect();
        for regions in backbone.regions(&photos?)? {
            features.extend(regions.features);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = paths.len();
    println!(
        "{count} photos in {seconds:.2} s, {:.2} a second",
        count as f64 / seconds
    );
    let shape = [count, backbone.regions_per_photo(), backbone.width()];
    write_f32(&out, &shape, &features)?;
    Ok(())
}

fn open(weights: &Path, matmul: Matmul) -> uard_features::Result<GridBackbone> {
    let cells = Cells::Grid { side: 6 };
    if weights.is_dir() {
        return open_vision_folder(weights, Tokens::Hidden, cells, matmul);
    }
    let network = InceptionV3::default().load(&Weights::open(weights)?, matmul)?;
    GridBackbone::new(network, Preprocessing::INCEPTION, cells)
}
