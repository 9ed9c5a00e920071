//! Who else matches on a GPU? PyTorch: the products alone, MaxSim, and the published forms.

use uard_attention::WeightRule;

use super::corner::Corner;
use super::data::Fragments;
use crate::peers::python::Python;
use crate::race::Contestant;
use crate::report::{Requirement, Row};
use crate::suites::Found;
use crate::workers::Worker;

/// Multiply-adds of a product of 8192 x 8192 x 8192.
const SQUARE: f64 = 8192.0 * 8192.0 * 8192.0;

/// Relevance may be so much off: bf16's rounding of inputs, and of the relevance itself.
const ROUNDING: f64 = 1.5e-4;

/// A form of benches/peers/matching.py.
pub struct Form {
    /// As the script names it.
    pub form: &'static str,
    /// For a person.
    pub name: &'static str,
    /// Similarities are those of this rule of ours.
    pub rule: Option<WeightRule>,
    /// How far they may be off.
    pub limit: f64,
}

const fn form(form: &'static str, name: &'static str, rule: Option<WeightRule>) -> Form {
    let limit = match form.as_bytes() {
        [.., b'f', b'3', b'2'] => 1e-3,
        _ => 2e-3,
    };
    Form {
        form,
        name,
        rule,
        limit,
    }
}

/// All forms that match, and two products: what cuBLAS reaches.
pub const FORMS: [Form; 8] = [
    form("product", "PyTorch, products alone", None),
    form("square", "PyTorch, product of 8192 x 8192 x 8192", None),
    form(
        "maxsim",
        "PyTorch, einsum and maximum",
        Some(WeightRule::MaxSim),
    ),
    form(
        "maxsim-compiled",
        "PyTorch, the same compiled",
        Some(WeightRule::MaxSim),
    ),
    form(
        "uarda-bf16",
        "PyTorch, UARDA batched",
        Some(WeightRule::Masked),
    ),
    form(
        "uarda-f32",
        "PyTorch, UARDA batched",
        Some(WeightRule::Masked),
    ),
    form("scan-bf16", "PyTorch, SCAN batched", Some(WeightRule::Scan)),
    form("scan-f32", "PyTorch, SCAN batched", Some(WeightRule::Scan)),
];

/// A form at work.
pub struct Peer {
    /// Which.
    pub form: &'static Form,
    /// Without times.
    pub row: Row,
    worker: Worker,
}

impl Peer {
    /// Starts all forms and lets each run once; who fails takes no part.
    ///
    /// `pairs` are all pairs, and `multiply_adds` those of their relevance.
    ///
    /// # Errors
    /// When the fragments cannot be laid out.
    pub fn start_all(
        python: &Python,
        fragments: &Fragments,
        arguments: &[String],
        (multiply_adds, found): (f64, &mut Found),
    ) -> anyhow::Result<Vec<Self>> {
        python.lay_out(&fragments.regions, &fragments.words)?;
        let mut peers = Vec::new();
        for form in &FORMS {
            match Self::start(python, fragments, arguments, (form, multiply_adds)) {
                Ok(peer) => peers.push(peer),
                Err(error) => found.miss(
                    format!("{}, {}", form.name, form.form),
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
        (form, multiply_adds): (&'static Form, f64),
    ) -> anyhow::Result<Self> {
        eprintln!("starting {}, {}", form.name, form.form);
        let mut worker = python.start_script("matching.py", form.form, arguments)?;
        worker.round()?;
        let (images, all) = (fragments.regions.images(), fragments.words.captions());
        let captions = worker.captions.filter(|&captions| captions > 0);
        let share = captions.unwrap_or(all) as f64 / all as f64;
        let scaled = format!("scaled from {} captions", captions.unwrap_or(all));
        let row = Row {
            name: form.name.to_owned(),
            rule: form
                .rule
                .map_or_else(String::new, |rule| format!("{rule}, both sides")),
            precision: if form.form.ends_with("f32") {
                "f32"
            } else {
                "bf16"
            }
            .to_owned(),
            units: (images * all) as f64 * share,
            multiply_adds: if form.form == "square" {
                SQUARE
            } else {
                share * multiply_adds
            },
            note: if share < 1.0 { scaled } else { String::new() },
            ..Row::default()
        };
        Ok(Self { form, row, worker })
    }

    /// Compares what its last round found with ours [I, C].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn compare(
        &mut self,
        python: &Python,
        fragments: &Fragments,
        ours: &[f32],
    ) -> anyhow::Result<Requirement> {
        let all = fragments.words.captions();
        let captions = self.worker.captions.unwrap_or(all);
        let apart = ROUNDING + fragments.threshold.abs() / 256.0;
        let corner = match self.form.rule {
            Some(WeightRule::Masked) => Corner::new(fragments, apart)?,
            _ => Corner::new(fragments, apart)?.without_threshold(),
        };
        let values = python.found(&mut self.worker)?;
        let differences = corner.differences((&values, captions), (ours, all));
        self.row = std::mem::take(&mut self.row).judged(differences);
        let difference = differences.same_mask;
        Ok(Requirement {
            about: format!("{}, {}: difference to ours", self.form.name, self.form.form),
            must: format!("{:.0e}", self.form.limit),
            found: format!("{difference:.1e}"),
            met: difference <= self.form.limit,
            fatal: true,
        })
    }

    /// Runs its rounds; without it the race goes on.
    pub fn contestant(&mut self) -> Contestant<'_> {
        Contestant::timing_itself(self.form.name, || self.worker.round()).may_leave()
    }

    /// The most memory of the GPU that it has had.
    pub fn peak_kib(&mut self) -> Option<u64> {
        self.worker.peak_kib().ok()
    }
}

/// What the script takes after the folder.
pub fn arguments(device: &str, threshold: f64) -> Vec<String> {
    vec![
        format!("--device={device}"),
        format!("--threshold={threshold}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use uard_attention::search::Search;
    use uard_attention::{Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};
    use uard_benches::workload::Shape;

    fn by_the_processor(fragments: &Fragments, rule: WeightRule) -> Vec<f32> {
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
            .similarities_into(&regions, &words, &mut out, &|_, _| ())
            .unwrap();
        out
    }

    #[test]
    #[ignore = "needs a Python with torch and numpy: UARD_BENCH_PYTHON, or python3"]
    fn peers_find_what_our_kernels_find() {
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
            let mut found = Found::default();
            let mut peers =
                Peer::start_all(&python, &fragments, &arguments, (1.0, &mut found)).unwrap();
            let missing: Vec<_> = found
                .missing
                .iter()
                .map(|missing| &missing.reason)
                .collect();
            assert_eq!(peers.len(), FORMS.len(), "{missing:?}");
            for peer in &mut peers {
                let Some(rule) = peer.form.rule else { continue };
                let ours = by_the_processor(&fragments, rule);
                let compared = peer.compare(&python, &fragments, &ours).unwrap();
                println!("{compared}; {:?}", peer.row.note);
                assert!(compared.met, "{compared}");
            }
        }
    }
}
