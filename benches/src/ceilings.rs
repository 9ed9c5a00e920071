//! Measures the ceilings of the machine: the highest rates of multiply-adds and of copying memory.
//!
//! A ceiling is the best rate of several trials.

use std::time::Instant;

use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::noise::Drift;
use crate::peers::python::Python;
use crate::workers::Worker;

mod panels;

/// The number of trials of each ceiling.
const TRIALS: usize = 5;

/// Seconds that a trial takes at least.
const SHORTEST_TRIAL: f64 = 0.08;

/// The operation of a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Multiply-adds in f32 on registers, without memory.
    RegistersF32,
    /// Multiply-adds in bf16 on registers, without memory.
    RegistersBf16,
    /// A matrix product in f32.
    ProductF32,
    /// A matrix product in bf16, accumulated in f32.
    ProductBf16,
    /// Copying memory: bytes read, and as many written.
    Copy,
}

impl Kind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::RegistersF32 => "registers, f32",
            Self::RegistersBf16 => "registers, bf16",
            Self::ProductF32 => "GEMM, f32",
            Self::ProductBf16 => "GEMM, bf16",
            Self::Copy => "memory copy",
        }
    }
}

/// One ceiling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// The operation.
    pub kind: Kind,
    /// The number of threads.
    pub threads: usize,
    /// The library or kernel that reaches this rate.
    pub by: String,
    /// Multiply-adds a second; bytes a second for the copy.
    pub rate: f64,
}

/// All measured ceilings.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Ceilings {
    /// One for each kind, number of threads and library.
    pub found: Vec<Ceiling>,
}

impl Ceilings {
    /// The highest ceiling of a kind.
    pub fn best(&self, kind: Kind, threads: usize) -> Option<&Ceiling> {
        self.found
            .iter()
            .filter(|ceiling| ceiling.kind == kind && ceiling.threads == threads)
            .max_by(|a, b| a.rate.total_cmp(&b.rate))
    }

    /// The changes of the highest rates of matrix products between two measurements. Other ceilings
    /// are only shown: no row is compared with them, and on a shared machine the rate of copying
    /// changes with the load of others, while the rate of products does not.
    pub fn drifts(&self, after: &Self) -> Vec<Drift> {
        let mut drifts = Vec::<Drift>::new();
        let is_product =
            |ceiling: &&Ceiling| matches!(ceiling.kind, Kind::ProductF32 | Kind::ProductBf16);
        for ceiling in self.found.iter().filter(is_product) {
            let (kind, threads) = (ceiling.kind, ceiling.threads);
            let name = format!("{}, {}", kind.name(), counted(threads));
            let known = drifts.iter().any(|drift| drift.name == name);
            let both = self.best(kind, threads).zip(after.best(kind, threads));
            if let (false, Some((before, after))) = (known, both) {
                drifts.push(Drift {
                    name,
                    before: before.rate,
                    after: after.rate,
                });
            }
        }
        drifts
    }
}

/// `1 thread`, `2 threads`.
pub fn counted(threads: usize) -> String {
    match threads {
        1 => "1 thread".to_owned(),
        _ => format!("{threads} threads"),
    }
}

/// Measures the ceilings, with PyTorch's products if PyTorch takes part.
pub struct Probe<'a> {
    threads: usize,
    single: &'a rayon::ThreadPool,
    torch: Vec<(Kind, Worker)>,
}

impl<'a> Probe<'a> {
    /// A probe on all threads and on one.
    ///
    /// # Errors
    /// If PyTorch does not start.
    pub fn new(
        threads: usize,
        single: &'a rayon::ThreadPool,
        python: Option<&Python>,
    ) -> anyhow::Result<Self> {
        let mut torch = Vec::new();
        if let Some(python) = python {
            for (kind, product) in [
                (Kind::ProductF32, "gemm-f32"),
                (Kind::ProductBf16, "gemm-bf16"),
            ] {
                torch.push((kind, python.start(product)?));
            }
        }
        Ok(Self {
            threads,
            single,
            torch,
        })
    }

    /// Measures all ceilings once.
    ///
    /// # Errors
    /// If candle or PyTorch fails.
    pub fn measure(&mut self) -> anyhow::Result<Ceilings> {
        let mut found = Vec::new();
        panels::measure(self.threads, None, &mut found);
        found.push(candle_product(self.threads)?);
        for (kind, worker) in &mut self.torch {
            found.push(torch_product(*kind, self.threads, worker)?);
        }
        found.push(copy(self.threads));
        if self.threads > 1 {
            panels::measure(1, Some(self.single), &mut found);
            found.push(gemm_alone());
        }
        Ok(Ceilings { found })
    }
}

/// Rows, inner width and columns of a product: the inner width is that of the joint space, and the matrices
/// fit in the last-level cache.
const PRODUCT: (usize, usize, usize) = (2048, 1024, 2048);

const PRODUCT_WORK: f64 = (PRODUCT.0 * PRODUCT.1 * PRODUCT.2) as f64;

fn candle_product(threads: usize) -> anyhow::Result<Ceiling> {
    let (rows, inner, columns) = PRODUCT;
    let left = Tensor::ones((rows, inner), candle_core::DType::F32, &Device::Cpu)?;
    let right = Tensor::ones((inner, columns), candle_core::DType::F32, &Device::Cpu)?;
    let mut failure = None;
    let rate = best_rate(PRODUCT_WORK, || {
        if let Err(error) = left.matmul(&right) {
            failure = Some(error);
        }
    });
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(Ceiling {
            kind: Kind::ProductF32,
            threads,
            by: "gemm, through candle".to_owned(),
            rate,
        }),
    }
}

fn gemm_alone() -> Ceiling {
    use uard_linalg::product::{Matrix, Output, product};
    let (rows, inner, columns) = (512, PRODUCT.1, 512);
    let (left, right) = (vec![1.0f32; rows * inner], vec![1.0f32; inner * columns]);
    let mut out = vec![0.0; rows * columns];
    let left = Matrix::row_major(&left, rows, inner);
    let right = Matrix::row_major(&right, inner, columns);
    Ceiling {
        kind: Kind::ProductF32,
        threads: 1,
        by: "gemm".to_owned(),
        rate: best_rate((rows * inner * columns) as f64, || {
            product(&mut out, left, right, Output::Overwrite);
        }),
    }
}

fn torch_product(kind: Kind, threads: usize, worker: &mut Worker) -> anyhow::Result<Ceiling> {
    let mut rate: f64 = 0.0;
    for _ in 0..TRIALS * 4 {
        rate = rate.max(PRODUCT_WORK / worker.round()?);
    }
    Ok(Ceiling {
        kind,
        threads,
        by: worker.name.clone(),
        rate,
    })
}

/// The number of bytes that are copied: more than the caches hold.
const COPIED: usize = 256 << 20;

fn copy(threads: usize) -> Ceiling {
    use rayon::prelude::*;
    let from = vec![1u8; COPIED];
    let mut to = vec![0u8; COPIED];
    let part = COPIED.div_ceil(threads);
    Ceiling {
        kind: Kind::Copy,
        threads,
        by: "copy_from_slice".to_owned(),
        rate: best_rate(2.0 * COPIED as f64, || {
            to.par_chunks_mut(part)
                .zip(from.par_chunks(part))
                .for_each(|(to, from)| to.copy_from_slice(from));
        }),
    }
}

/// The best rate of several trials, each long enough to be timed.
fn best_rate(work: f64, mut step: impl FnMut()) -> f64 {
    step();
    let mut best: f64 = 0.0;
    for _ in 0..TRIALS {
        let (begun, mut steps) = (Instant::now(), 0);
        let seconds = loop {
            step();
            steps += 1;
            let seconds = begun.elapsed().as_secs_f64();
            if seconds >= SHORTEST_TRIAL {
                break seconds;
            }
        };
        best = best.max(work * f64::from(steps) / seconds);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(kind: Kind, threads: usize, rate: f64) -> Ceiling {
        Ceiling {
            kind,
            threads,
            by: String::new(),
            rate,
        }
    }

    #[test]
    fn the_best_of_a_kind_counts_and_drifts_are_between_the_best() {
        let before = Ceilings {
            found: vec![
                ceiling(Kind::ProductF32, 2, 90.0),
                ceiling(Kind::ProductF32, 2, 100.0),
                ceiling(Kind::ProductF32, 1, 55.0),
                ceiling(Kind::Copy, 2, 30.0),
            ],
        };
        let after = Ceilings {
            found: vec![
                ceiling(Kind::ProductF32, 2, 80.0),
                ceiling(Kind::Copy, 2, 10.0),
            ],
        };
        assert_eq!(before.best(Kind::ProductF32, 2).unwrap().rate, 100.0);
        let drifts = before.drifts(&after);
        assert_eq!(drifts.len(), 1);
        assert!((drifts[0].share() - 0.2).abs() < 1e-12, "{drifts:?}");
    }

    #[test]
    fn a_rate_is_work_over_time() {
        let rate = best_rate(10.0, || {
            std::thread::sleep(std::time::Duration::from_millis(10))
        });
        // A step sleeps at least 10 ms, so the rate is at most 1000.
        assert!(rate > 0.0 && rate <= 1000.0, "{rate}");
    }
}
