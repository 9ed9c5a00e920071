//! Which kernels on packed fragments can this machine run?

#![allow(clippy::print_stderr, reason = "a skipped kernel says so")]
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use candle_core::Device;
use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, PackedRegions, PackedWords, Precision};
use uard_core::{Regions, Words};

/// The kernels that can run here; the others are named, with the reason.
pub fn kernels() -> Vec<Engine> {
    let packed = [Engine::Scalar, Engine::Avx2, Engine::Avx512, Engine::Amx];
    let mut kernels = Vec::new();
    for kernel in packed {
        match kernel.open(None, &Device::Cpu) {
            Ok(running) => match running.fallback() {
                Some(reason) => eprintln!("skipped: {kernel}: {reason}"),
                None => kernels.push(kernel),
            },
            Err(reason) => eprintln!("skipped: {kernel}: {reason}"),
        }
    }
    kernels
}

/// Every kernel that can run here, in every precision that is computed by itself.
pub fn runs() -> Vec<(Engine, Precision)> {
    let precisions =
        |kernel| [Precision::F32, Precision::Bf16].map(|precision| (kernel, precision));
    kernels().into_iter().flat_map(precisions).collect()
}

/// Both sides, packed for everything.
pub struct Packed {
    pub regions: PackedRegions,
    pub words: PackedWords,
}

impl Packed {
    pub fn new(regions: &Regions, words: &Words) -> Self {
        Self {
            regions: PackedRegions::pack(regions, Precision::Exact).unwrap(),
            words: PackedWords::pack(words, Precision::Exact).unwrap(),
        }
    }

    pub fn pairs(&self) -> usize {
        self.regions.images() * self.words.captions()
    }

    /// The similarity of every pair, row-major [I, C].
    pub fn similarities(&self, search: &Search) -> Vec<f32> {
        let mut values = vec![f32::NAN; self.pairs()];
        search
            .similarities_into(&self.regions, &self.words, &mut values, &|_, _| ())
            .unwrap();
        values
    }
}

/// A search by a kernel that runs here.
pub fn search(matcher: &Matcher, threshold: f64, run: (Engine, Precision)) -> Search {
    Search::new(matcher, threshold, run.0, run.1).unwrap()
}
