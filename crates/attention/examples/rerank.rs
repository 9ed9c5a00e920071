//! Reranks candidates that another index found, and prints the evidence of each.
//!
//! ```sh
//! cargo run --release -p uard-attention --example rerank
//! ```
//!
//! A caption is compared with the listed images only. The evidence names the region of highest relevance
//! for each word, and the words without a region above the threshold.

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;

use candle_core::{Device, Tensor};
use uard_attention::search::Search;
use uard_attention::{
    Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision, Regions, Words,
};

const CAPTION: [&str; 3] = ["dog", "ball", "skateboard"];
const THRESHOLD: f64 = 0.4;

/// Runs the example.
pub fn main() -> Result<(), Box<dyn Error>> {
    // The axes are dog, ball, sea, skateboard. The pictures have two, one and three regions; zeros are
    // padding.
    let pictures = [
        [[0.9f32, 0.1, 0.2, 0.0], [0.0, 0.1, 1.0, 0.0], [0.0; 4]],
        [[0.0, 0.0, 1.0, 0.1], [0.0; 4], [0.0; 4]],
        [
            [0.8, 0.3, 0.0, 0.1],
            [0.1, 0.9, 0.2, 0.0],
            [0.0, 0.2, 0.9, 0.0],
        ],
    ];
    let words = [[
        [1f32, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]];
    let regions = Regions::normalized(&Tensor::new(&pictures, &Device::Cpu)?, vec![2, 1, 3])?;
    let words = Words::normalized(&Tensor::new(&words, &Device::Cpu)?, vec![3])?;
    let regions = PackedRegions::pack(&regions, Precision::F32)?;
    let words = PackedWords::pack(&words, Precision::F32)?;
    let matcher = Matcher::new(MatcherConfig::default())?;
    let search = Search::new(&matcher, THRESHOLD, Engine::Auto, Precision::F32)?;

    let candidates = [0, 1, 2];
    let similarities = search.images_for_caption(&regions, &words, 0, &candidates)?;
    let mut ranked: Vec<(usize, f32)> = candidates.into_iter().zip(similarities).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (image, similarity) in ranked {
        println!("image {image}  similarity {similarity:.3}");
        for found in search.evidence(&regions, &words, image, 0)?.words {
            let word = CAPTION[found.word];
            if found.answered {
                let (region, relevance) = (found.best_region, found.relevance);
                println!("    {word:<11} region {region}, relevance {relevance:.2}");
            } else {
                println!(
                    "    {word:<11} not found: best relevance {:.2}",
                    found.relevance
                );
            }
        }
    }
    Ok(())
}
