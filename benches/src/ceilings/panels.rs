//! Measures the ceilings of our panel kernels, on registers and on panels in the cache.

use half::bf16;
use rayon::ThreadPool;
use uard_linalg::panels::{
    ColumnPanels, Element, InstructionSet, Instructions, PANEL, RowPanels, ceiling, product,
};

use super::{Ceiling, Kind, best_rate};

/// The depth of the panels, which is the joint width.
const DEPTH: usize = 1024;

/// The number of row panels and of column panels in a product; both stay in the second-level cache
/// of a core.
const SHAPES: [(usize, usize); 3] = [(2, 8), (4, 6), (3, 18)];

/// The number of calls in a trial, so that the time to wake the threads is negligible.
const CALLS: u64 = 128;

/// Measures every instruction set but the scalar one; each thread multiplies its own numbers.
pub fn measure(threads: usize, pool: Option<&ThreadPool>, found: &mut Vec<Ceiling>) {
    for set in InstructionSet::ALL.into_iter().skip(1) {
        let Ok(instructions) = Instructions::detect(set) else {
            continue;
        };
        let run = Run {
            instructions,
            threads,
            pool,
        };
        found.push(run.registers::<f32>(Kind::RegistersF32));
        found.push(run.registers::<bf16>(Kind::RegistersBf16));
        found.push(run.products::<f32>(Kind::ProductF32));
        found.push(run.products::<bf16>(Kind::ProductBf16));
    }
}

struct Run<'a> {
    instructions: Instructions,
    threads: usize,
    /// The thread pool; `None` for rayon's global pool.
    pool: Option<&'a ThreadPool>,
}

impl Run<'_> {
    fn registers<T: Element>(&self, kind: Kind) -> Ceiling {
        let work = ceiling::<T>(self.instructions);
        let rate = best_rate((self.threads as u64 * CALLS * work) as f64, || {
            self.on_each_thread(|| {
                for _ in 0..CALLS {
                    let _work: u64 = ceiling::<T>(self.instructions);
                }
            });
        });
        self.ceiling(kind, rate)
    }

    fn products<T: Element>(&self, kind: Kind) -> Ceiling {
        let rates = SHAPES.map(|(rows, columns)| self.product::<T>(rows, columns));
        self.ceiling(kind, rates.into_iter().fold(0.0, f64::max))
    }

    fn product<T: Element>(&self, rows: usize, columns: usize) -> f64 {
        const STEPS: usize = 16;
        let ones = |panels: usize| vec![T::from_f32(1.0); panels * PANEL * DEPTH];
        let (left, right) = (ones(rows), ones(columns));
        let work = rows * columns * PANEL * PANEL * DEPTH;
        best_rate((self.threads * STEPS * work) as f64, || {
            self.on_each_thread(|| {
                let mut out = vec![0.0; rows * columns * PANEL * PANEL];
                for _ in 0..STEPS {
                    let left = RowPanels::new(&left, DEPTH);
                    let right = ColumnPanels::new(&right, DEPTH);
                    product(self.instructions, left, right, &mut out, columns * PANEL);
                }
                std::hint::black_box(&out);
            });
        })
    }

    fn on_each_thread(&self, work: impl Fn() + Sync) {
        match self.pool {
            Some(pool) => drop(pool.broadcast(|_| work())),
            None => drop(rayon::broadcast(|_| work())),
        }
    }

    fn ceiling(&self, kind: Kind, rate: f64) -> Ceiling {
        Ceiling {
            kind,
            threads: self.threads,
            by: format!("panels, {}", self.instructions.set()),
            rate,
        }
    }
}
