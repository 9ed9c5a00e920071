//! The runs of a study, their order, and their directories.

use std::path::{Path, PathBuf};

use uard_report::study::SettingPlan;
use uard_report::study::inside::Compared;
use uard_training::config::TrainConfig;

/// A study whose settings are valid.
#[derive(Debug, Clone)]
pub struct Study {
    /// The name of the file without its extension.
    pub name: String,
    /// The split that chooses the best epoch of each run.
    pub split: String,
    /// The seeds of settings that name none.
    pub seeds: Vec<u64>,
    /// Index of the setting that all others are compared with.
    pub baseline: usize,
    /// Indices of the settings whose words and captions are compared with those of the baseline.
    pub inside: Vec<usize>,
    /// All settings, in the order of the file.
    pub settings: Vec<Setting>,
}

/// One setting of a study.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The setting as the file of the study describes it.
    pub plan: SettingPlan,
    /// The configuration with which the setting's models are trained; each run replaces the seed.
    pub config: TrainConfig,
    /// Index of the setting whose models this one evaluates; `None` if it trains its own.
    pub source: Option<usize>,
}

/// The key of a run: one setting with one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    /// Index of the setting.
    pub setting: usize,
    /// The seed.
    pub seed: u64,
}

impl Study {
    /// All runs in their order: seed by seed, so that the settings of a stopped study have equally many
    /// seeds. A setting that evaluates the models of another comes right behind it.
    pub fn run_keys(&self) -> Vec<RunKey> {
        let mut seeds = self.seeds.clone();
        for seed in self.settings.iter().flat_map(|setting| &setting.plan.seeds) {
            if !seeds.contains(seed) {
                seeds.push(*seed);
            }
        }
        let mut order: Vec<usize> = (0..self.settings.len()).collect();
        order.sort_by_key(|&at| {
            let source = self.settings[at].source;
            (source.unwrap_or(at), source.is_some())
        });
        let of_seed = |seed: u64| {
            let has = move |&&setting: &&usize| self.settings[setting].plan.seeds.contains(&seed);
            order
                .iter()
                .filter(has)
                .map(move |&setting| RunKey { setting, seed })
        };
        seeds.into_iter().flat_map(of_seed).collect()
    }

    /// The pairs of runs for [`Study::inside`]: a setting and the baseline, with the first seed that both
    /// have.
    pub fn inside_pairs(&self) -> Vec<Compared<RunKey>> {
        let pair = |&setting: &usize| {
            let seed = self.common_seed(setting)?;
            let settings = Compared {
                setting,
                baseline: self.baseline,
            };
            Some(settings.map(|setting| RunKey { setting, seed }))
        };
        self.inside.iter().filter_map(pair).collect()
    }

    /// The first seed of a setting that the baseline has too.
    pub fn common_seed(&self, setting: usize) -> Option<u64> {
        let of_baseline = &self.settings[self.baseline].plan.seeds;
        let mut seeds = self.settings[setting].plan.seeds.iter().copied();
        seeds.find(|seed| of_baseline.contains(seed))
    }

    /// The setting of a run.
    pub fn setting(&self, run: RunKey) -> &Setting {
        &self.settings[run.setting]
    }

    /// The run that trained the model of a run: itself, or the run of its `source`.
    pub fn trained_by(&self, run: RunKey) -> RunKey {
        let setting = self.setting(run).source.unwrap_or(run.setting);
        RunKey { setting, ..run }
    }

    /// The configuration that the model of a run is trained with.
    pub fn config(&self, run: RunKey) -> TrainConfig {
        let mut config = self.setting(run).config.clone();
        config.training.seed = run.seed;
        config
    }

    /// The directory of a run.
    pub fn directory(&self, root: &Path, run: RunKey) -> PathBuf {
        root.join(slug(&self.setting(run).plan.name))
            .join(format!("seed-{}", run.seed))
    }

    /// The title of a run: `learned, seed 0`.
    pub fn title(&self, run: RunKey) -> String {
        format!("{}, seed {}", self.setting(run).plan.name, run.seed)
    }
}

/// The name of a setting's directory: its ASCII letters and digits in lower case, with one hyphen for
/// each group of other characters between them.
pub fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}
