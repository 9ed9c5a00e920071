//! The programs of matching and of lists, and the constants that they are compiled with.

use uard_core::gpu::Program;

use super::tiling::{MOST_CAPTIONS, MOST_IMAGES, TileShape};
use crate::WeightRule;

/// The kernels that find the best of rows and of columns.
pub(super) static TOP: Program = Program {
    name: "top",
    sources: &[include_str!("top.cu")],
    defines: Vec::new(),
};

/// The matching kernel for one shape and rule.
pub(super) fn match_program(shape: &TileShape, rule: WeightRule, float16: bool) -> Program {
    Program {
        name: "match",
        sources: &[include_str!("gram_form.cuh"), include_str!("match.cu")],
        defines: vec![
            ("WORD_ROWS", shape.word_rows as u32),
            ("REGION_ROWS", shape.region_rows as u32),
            ("MOST_IMAGES", MOST_IMAGES as u32),
            ("MOST_CAPTIONS", MOST_CAPTIONS as u32),
            ("STAGES", shape.stages as u32),
            ("FLOAT16", u32::from(float16)),
            ("RULE", rule_number(rule)),
        ],
    }
}

/// The number of a rule in `gram_form.cuh`.
pub(super) fn rule_number(rule: WeightRule) -> u32 {
    match rule {
        WeightRule::Masked | WeightRule::Zero => 0,
        WeightRule::Scan => 1,
        WeightRule::MaxSim => 2,
        WeightRule::Nearest => 3,
    }
}

#[cfg(test)]
mod tests {
    use uard_core::gpu::compile::{Target, compile, require_nvrtc};

    use super::*;
    use crate::kernel::cuda::pairs::pair_program;

    /// The programs for common shapes: all rules in both precisions, images of 36 and of 196
    /// regions, captions of 13 and of 200 words. Programs for other shapes differ in constants
    /// only.
    fn samples() -> Vec<Program> {
        let mut programs = vec![
            TOP.clone(),
            pair_program(WeightRule::Masked),
            pair_program(WeightRule::Nearest),
            pair_program(WeightRule::MaxSim),
        ];
        // The most shared memory of a block on an H100.
        let shared = 227 << 10;
        for (regions, words) in [(36, 13), (196, 13), (36, 200)] {
            for rule in [
                WeightRule::Masked,
                WeightRule::Nearest,
                WeightRule::Scan,
                WeightRule::MaxSim,
            ] {
                for float16 in [false, true] {
                    let shape = TileShape::choose(&[regions; 64], &[words; 64], rule, shared);
                    if let Ok(shape) = shape {
                        programs.push(match_program(&shape, rule, float16));
                    }
                }
            }
        }
        programs
    }

    /// Does nothing without NVRTC, the compiler; the gate sets `UARD_NVRTC`, and then NVRTC must be
    /// there.
    #[test]
    fn every_program_compiles_to_code_of_ampere_and_hopper() {
        if let Err(missing) = require_nvrtc() {
            assert!(std::env::var_os("UARD_NVRTC").is_none(), "{missing}");
            return;
        }
        for program in samples() {
            for target in [Target::Cubin(80), Target::Cubin(90), Target::Ptx(90)] {
                compile(&program, target).unwrap();
            }
        }
    }
}
