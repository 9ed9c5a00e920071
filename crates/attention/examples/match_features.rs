//! Matches your own features: every image with every caption, and prints the best captions of each image.
//!
//! ```sh
//! cargo run --release -p uard-attention --example match_features
//! cargo run --release -p uard-attention --example match_features -- R.npy W.npy 0.25
//! ```
//!
//! `R.npy` has regions [I, R, D] and `W.npy` words [C, W, D] of one joint space, f32; rows need not have
//! unit length. Without files, three made-up pictures are matched with four captions.

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;

use candle_core::{Device, Tensor};
use uard_attention::search::Search;
use uard_attention::{
    Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision, Regions, Words,
};

/// Runs the example.
pub fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => on_made_up(),
        [regions, words, threshold] => {
            let (regions, words) = (Tensor::read_npy(regions)?, Tensor::read_npy(words)?);
            matched(&regions, &words, threshold.parse()?)
        }
        _ => Err("expected R.npy W.npy THRESHOLD, or nothing".into()),
    }
}

/// Matches three made-up pictures with four captions.
pub fn on_made_up() -> Result<(), Box<dyn Error>> {
    matched(&pictures()?, &captions()?, 0.25)
}

fn matched(regions: &Tensor, words: &Tensor, threshold: f64) -> Result<(), Box<dyn Error>> {
    // Counts say how many rows of each entry are valid; the rows after them are padding.
    let (images, longest_image, _) = regions.dims3()?;
    let (captions, longest_caption, _) = words.dims3()?;
    let regions = Regions::normalized(regions, vec![longest_image; images])?;
    let words = Words::normalized(words, vec![longest_caption; captions])?;

    // Fragments are packed once for many searches; `write` and `open` keep them in files.
    let precision = Precision::Exact;
    let regions = PackedRegions::pack(&regions, precision)?;
    let words = PackedWords::pack(&words, precision)?;
    let matcher = Matcher::new(MatcherConfig::default())?;
    let search = Search::new(&matcher, threshold, Engine::Auto, precision)?;
    let found = search.top_k(&regions, &words, 2)?;
    println!(
        "{images} images x {captions} captions, kernel {}",
        search.running()
    );
    for (image, best) in found.captions_of_images.iter().enumerate().take(5) {
        for place in best {
            // The similarity is exactly zero if no relevance is above the threshold.
            let verdict = if place.similarity == 0.0 {
                "nothing in common"
            } else {
                "matches"
            };
            println!(
                "image {image}  caption {}  {:.3}  {verdict}",
                place.index, place.similarity
            );
        }
    }
    Ok(())
}

/// Three pictures of two regions each, in a space whose axes are dog, ball, sea, sky.
fn pictures() -> candle_core::Result<Tensor> {
    let pictures = [
        [[1f32, 0.1, 0.0, 0.0], [0.1, 1.0, 0.0, 0.0]],
        [[0.0, 0.0, 1.0, 0.2], [0.0, 0.0, 0.2, 1.0]],
        [[0.9, 0.0, 0.1, 0.0], [0.0, 0.0, 1.0, 0.1]],
    ];
    Tensor::new(&pictures, &Device::Cpu)
}

/// "dog ball", "sea sky", "dog sea", "ball sky".
fn captions() -> candle_core::Result<Tensor> {
    let captions = [
        [[1f32, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
        [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
    ];
    Tensor::new(&captions, &Device::Cpu)
}
