//! The kernels on packed fragments that this machine can run, and searches by them. Nothing is emulated
//! here: a kernel whose instructions the processor lacks is skipped.

#![allow(clippy::print_stderr, reason = "names skipped kernels")]
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use candle_core::Device;
use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, PackedRegions, PackedWords, Precision};
use uard_core::{Regions, Words};

/// The kernels that this machine can run. Messages name the others, with the reason.
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

/// A kernel and the precision that it runs in.
#[derive(Debug, Clone, Copy)]
pub struct KernelRun {
    pub kernel: Engine,
    pub precision: Precision,
}

impl KernelRun {
    pub fn new(kernel: Engine, precision: Precision) -> Self {
        Self { kernel, precision }
    }
}

/// Every kernel that this machine can run, in f32 and in bf16; `Exact` combines these two.
pub fn runs() -> Vec<KernelRun> {
    let precisions = |kernel| {
        [Precision::F32, Precision::Bf16].map(|precision| KernelRun::new(kernel, precision))
    };
    kernels().into_iter().flat_map(precisions).collect()
}

/// Regions and words, packed for every precision.
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
            .similarities_into(&self.regions, &self.words, &mut values)
            .unwrap();
        values
    }
}

/// A search by a kernel that this machine can run.
pub fn search(matcher: &Matcher, threshold: f64, run: KernelRun) -> Search {
    Search::new(matcher, threshold, run.kernel, run.precision).unwrap()
}
