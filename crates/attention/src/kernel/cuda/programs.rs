//! Which programs are there, and what are they compiled for?

use uard_core::gpu::Program;

use super::tiling::{MOST_CAPTIONS, MOST_IMAGES, Shape};
use crate::WeightRule;

/// The best of rows and columns.
pub(super) static TOP: Program = Program {
    name: "top",
    sources: &[include_str!("top.cu")],
    defines: Vec::new(),
};

/// The matching kernel for one shape and rule.
pub(super) fn match_program(shape: &Shape, rule: WeightRule, float16: bool) -> Program {
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

/// As `gram_form.cuh` names them.
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

    /// Programs as they are compiled for common shapes: all rules in both precisions, and images of 36
    /// and of 196 regions, captions of 13 and of 200 words.
    ///
    /// What is compiled for other shapes differs in numbers alone.
    fn samples() -> Vec<Program> {
        let mut programs = vec![
            TOP.clone(),
            pair_program(WeightRule::Masked),
            pair_program(WeightRule::Nearest),
            pair_program(WeightRule::MaxSim),
        ];
        // What a block of an H100 may ask for.
        let shared = 227 << 10;
        for (regions, words) in [(36, 13), (196, 13), (36, 200)] {
            for rule in [
                WeightRule::Masked,
                WeightRule::Nearest,
                WeightRule::Scan,
                WeightRule::MaxSim,
            ] {
                for float16 in [false, true] {
                    let has_norms = rule == WeightRule::Scan;
                    let counts = (&[regions; 64][..], &[words; 64][..]);
                    if let Ok(shape) = Shape::choose(counts, shared, has_norms) {
                        programs.push(match_program(&shape, rule, float16));
                    }
                }
            }
        }
        programs
    }

    /// Without NVRTC there is nothing to compile with; the gate sets the variable, and has it.
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
