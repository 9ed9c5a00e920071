//! How long do f32, bf16 and exact take?
#![allow(clippy::all)]
use std::time::Instant;
use candle_core::{Device, Tensor};
use uard_attention::kernel::Kernel;
use uard_attention::search::{Preserve, Search};
use uard_attention::{Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let images: usize = args[1].parse().unwrap();
    let captions: usize = args[2].parse().unwrap();
    let threshold: f64 = args[3].parse().unwrap();
    let rounds: usize = args[4].parse().unwrap();
    let width = 1024;
    let draw = |label, count: usize, longest: usize| {
        let mut s = Draws::new(1).stream(label, &[]);
        Tensor::from_vec(normal(&mut s, 1.0, count * longest * width), (count, longest, width), &Device::Cpu).unwrap()
    };
    let regions = Regions::normalized(&draw("r", images, 36), vec![36; images]).unwrap();
    let counts: Vec<usize> = (0..captions).map(|c| 8 + c % 9).collect();
    let words = Words::normalized(&draw("w", captions, 16), counts).unwrap();
    let regions = PackedRegions::pack(&regions, Precision::Exact).unwrap();
    let words = PackedWords::pack(&words, Precision::Exact).unwrap();
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let matched: Vec<(usize, usize)> = (0..captions).map(|c| (c * images / captions, c)).collect();
    for mode in ["top", "rank", "matrix"] {
        let mut times = vec![Vec::new(); 3];
        let mut note = String::new();
        for _ in 0..rounds {
            for (at, p) in [Precision::F32, Precision::Bf16, Precision::Exact].into_iter().enumerate() {
                let search = Search::new(&matcher, threshold, Kernel::Auto, p).unwrap();
                let start = Instant::now();
                let (kept, rec) = if mode == "top" {
                    let t = search.top_k(&regions, &words, 10, &|_, _| ()).unwrap();
                    (t.kept, t.recomputed)
                } else {
                    let mut out = vec![0.0; images * captions];
                    let preserve = if mode == "rank" { Preserve { top: 0, matched: &matched } } else { Preserve { top: 10, matched: &[] } };
                    let t = search.similarities_preserving(&regions, &words, &preserve, &mut out, &|_, _| ()).unwrap();
                    (t.kept, t.recomputed)
                };
                times[at].push(start.elapsed().as_secs_f64());
                if at == 2 {
                    note = format!("recomputed {:.4} kept w {:.3} r {:.3} c {:.4}", rec as f64 / (images * captions) as f64,
                        kept.word_queries as f64 / kept.all_word_queries as f64, kept.region_queries as f64 / kept.all_region_queries as f64, kept.cells as f64 / kept.all_cells as f64);
                }
            }
        }
        for t in &mut times { t.sort_by(f64::total_cmp); }
        let m: Vec<f64> = times.iter().map(|t| t[t.len() / 2]).collect();
        println!("{mode}: f32 {:.3} bf16 {:.3} exact {:.3} exact/bf16 {:.3}  {note}", m[0], m[1], m[2], m[2] / m[1]);
    }
}
