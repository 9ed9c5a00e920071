//! PyTorch as the peer of a GPU's matching races: products alone, MaxSim, and the published methods.

use uard_attention::WeightRule;

use super::corner::{Corner, Similarities};
use super::data::Fragments;
use crate::peers::python::Python;
use crate::race::Contestant;
use crate::report::{Requirement, Row};
use crate::suites::SuiteResults;
use crate::workers::Worker;

/// Multiply-adds of a product of 8192 x 8192 x 8192.
const SQUARE: f64 = 8192.0 * 8192.0 * 8192.0;

/// The largest error of relevance from rounding inputs and relevance to bf16.
const ROUNDING: f64 = 1.5e-4;

/// A computation of benches/peers/matching.py.
pub struct PeerVariant {
    /// The script's argument FORM.
    pub argument: &'static str,
    /// The name in tables.
    pub name: &'static str,
    /// Our rule with the same similarities; `None` for products.
    pub rule: Option<WeightRule>,
    /// The largest allowed difference to ours.
    pub limit: f64,
}

const fn variant(
    argument: &'static str,
    name: &'static str,
    rule: Option<WeightRule>,
) -> PeerVariant {
    let limit = match argument.as_bytes() {
        [.., b'f', b'3', b'2'] => 1e-3,
        _ => 2e-3,
    };
    PeerVariant {
        argument,
        name,
        rule,
        limit,
    }
}

/// All variants: matching, and two products, which show the rate of cuBLAS.
pub const VARIANTS: [PeerVariant; 8] = [
    variant("product", "PyTorch, products alone", None),
    variant("square", "PyTorch, product of 8192 x 8192 x 8192", None),
    variant(
        "maxsim",
        "PyTorch, einsum and maximum",
        Some(WeightRule::MaxSim),
    ),
    variant(
        "maxsim-compiled",
        "PyTorch, the same compiled",
        Some(WeightRule::MaxSim),
    ),
    variant(
        "uarda-bf16",
        "PyTorch, UARDA batched",
        Some(WeightRule::Masked),
    ),
    variant(
        "uarda-f32",
        "PyTorch, UARDA batched",
        Some(WeightRule::Masked),
    ),
    variant("scan-bf16", "PyTorch, SCAN batched", Some(WeightRule::Scan)),
    variant("scan-f32", "PyTorch, SCAN batched", Some(WeightRule::Scan)),
];

/// A running PyTorch process that computes one variant.
pub struct Peer {
    /// The variant.
    pub variant: &'static PeerVariant,
    /// The variant's row of the report, without times.
    pub row: Row,
    worker: Worker,
}

impl Peer {
    /// Starts all variants and runs each once; those that fail are recorded as missing.
    ///
    /// `multiply_adds` are those of the relevance of all pairs.
    ///
    /// # Errors
    /// If the fragments cannot be written.
    pub fn start_all(
        python: &Python,
        fragments: &Fragments,
        arguments: &[String],
        multiply_adds: f64,
        results: &mut SuiteResults,
    ) -> anyhow::Result<Vec<Self>> {
        python.write_arrays(&fragments.regions, &fragments.words)?;
        let mut peers = Vec::new();
        for variant in &VARIANTS {
            match Self::start(python, fragments, arguments, variant, multiply_adds) {
                Ok(peer) => peers.push(peer),
                Err(error) => results.record_missing(
                    format!("{}, {}", variant.name, variant.argument),
                    format!("{error:#}"),
                ),
            }
        }
        Ok(peers)
    }

    fn start(
        python: &Python,
        fragments: &Fragments,
        arguments: &[String],
        variant: &'static PeerVariant,
        multiply_adds: f64,
    ) -> anyhow::Result<Self> {
        eprintln!("starting {}, {}", variant.name, variant.argument);
        let mut worker = python.start_script("matching.py", variant.argument, arguments)?;
        worker.round()?;
        let (images, all) = (fragments.regions.images(), fragments.words.captions());
        let captions = worker.captions.filter(|&captions| captions > 0);
        let share = captions.unwrap_or(all) as f64 / all as f64;
        let scaled = format!("scaled from {} captions", captions.unwrap_or(all));
        let row = Row {
            name: variant.name.to_owned(),
            rule: variant
                .rule
                .map_or_else(String::new, |rule| format!("{rule}, both sides")),
            precision: if variant.argument.ends_with("f32") {
                "f32"
            } else {
                "bf16"
            }
            .to_owned(),
            units: (images * all) as f64 * share,
            multiply_adds: if variant.argument == "square" {
                SQUARE
            } else {
                share * multiply_adds
            },
            note: if share < 1.0 { scaled } else { String::new() },
            ..Row::default()
        };
        Ok(Self {
            variant,
            row,
            worker,
        })
    }

    /// Compares the similarities of the process's last round with ours [I, C].
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn compare(
        &mut self,
        python: &Python,
        fragments: &Fragments,
        ours: &[f32],
    ) -> anyhow::Result<Requirement> {
        let all = fragments.words.captions();
        let captions = self.worker.captions.unwrap_or(all);
        let apart = ROUNDING + fragments.threshold.abs() / 256.0;
        let corner = match self.variant.rule {
            Some(WeightRule::Masked) => Corner::new(fragments, apart)?,
            _ => Corner::new(fragments, apart)?.without_threshold(),
        };
        let values = python.read_similarities(&mut self.worker)?;
        let theirs = Similarities {
            values: &values,
            captions,
        };
        let ours = Similarities {
            values: ours,
            captions: all,
        };
        let differences = corner.differences(theirs, ours);
        self.row = std::mem::take(&mut self.row).with_differences(differences);
        let difference = differences.same_mask;
        Ok(Requirement {
            about: format!(
                "{}, {}: difference to ours",
                self.variant.name, self.variant.argument
            ),
            must: format!("{:.0e}", self.variant.limit),
            found: format!("{difference:.1e}"),
            met: difference <= self.variant.limit,
            fatal: true,
        })
    }

    /// A contestant that may fail without ending the race.
    pub fn contestant(&mut self) -> Contestant<'_> {
        Contestant::timing_itself(self.variant.name, || self.worker.round()).may_fail()
    }

    /// Peak memory of the process on the GPU, in KiB.
    pub fn peak_kib(&mut self) -> Option<u64> {
        self.worker.peak_kib().ok()
    }
}

/// The script's arguments after the folder.
pub fn arguments(device: &str, threshold: f64) -> Vec<String> {
    vec![
        format!("--device={device}"),
        format!("--threshold={threshold}"),
    ]
}

#[cfg(test)]
mod tests {
    use uard_attention::search::Search;
    use uard_attention::{Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};

    use super::*;
    use crate::workload::Shape;

    fn similarities_on_the_cpu(fragments: &Fragments, rule: WeightRule) -> Vec<f32> {
        let matcher = Matcher::new(MatcherConfig {
            rule,
            ..MatcherConfig::default()
        });
        let search = Search::new(
            &matcher.unwrap(),
            fragments.threshold,
            Engine::Auto,
            Precision::F32,
        );
        let regions = PackedRegions::pack(&fragments.regions, Precision::F32).unwrap();
        let words = PackedWords::pack(&fragments.words, Precision::F32).unwrap();
        let mut out = vec![0.0; regions.images() * words.captions()];
        search
            .unwrap()
            .similarities_into(&regions, &words, &mut out)
            .unwrap();
        out
    }

    #[test]
    #[ignore = "needs a Python with torch and numpy: UARD_BENCH_PYTHON, or python3"]
    fn peers_have_the_same_similarities_as_our_kernels() {
        let python = Python::find(1, Some("python3")).unwrap().unwrap();
        let shape = Shape {
            images: 20,
            captions: 100,
            width: 256,
        };
        let mut fragments = Fragments::draw(shape).unwrap();
        for at_zero in [false, true] {
            if at_zero {
                fragments.threshold = 0.0;
            }
            let mut arguments = arguments("cpu", fragments.threshold);
            arguments.push("--tiny".to_owned());
            let mut results = SuiteResults::default();
            let mut peers =
                Peer::start_all(&python, &fragments, &arguments, 1.0, &mut results).unwrap();
            let missing: Vec<_> = results
                .missing
                .iter()
                .map(|missing| &missing.reason)
                .collect();
            assert_eq!(peers.len(), VARIANTS.len(), "{missing:?}");
            for peer in &mut peers {
                let Some(rule) = peer.variant.rule else {
                    continue;
                };
                let ours = similarities_on_the_cpu(&fragments, rule);
                let compared = peer.compare(&python, &fragments, &ours).unwrap();
                println!("{compared}; {:?}", peer.row.note);
                assert!(compared.met, "{compared}");
            }
        }
    }
}
