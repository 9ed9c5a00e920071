//! Which runs a study has, in which order, and where each lies.

use std::path::{Path, PathBuf};

use uard_report::study::SettingPlan;
use uard_report::study::inside::Both;
use uard_training::config::TrainConfig;

/// A study whose settings are valid.
#[derive(Debug, Clone)]
pub struct Study {
    /// The file's name without its ending.
    pub name: String,
    /// The split that chooses epochs.
    pub split: String,
    /// The seeds of settings that name none.
    pub seeds: Vec<u64>,
    /// Place of the setting that differences are taken against.
    pub baseline: usize,
    /// Places of the settings that are looked into.
    pub inside: Vec<usize>,
    /// In the order of the file.
    pub settings: Vec<Setting>,
}

/// One setting of a study.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What was asked for.
    pub plan: SettingPlan,
    /// What its models are trained with, but for the seed.
    pub config: TrainConfig,
    /// Place of the setting whose models it evaluates; absent where it trains its own.
    pub source: Option<usize>,
}

/// One setting with one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Place of the setting.
    pub setting: usize,
    /// The seed.
    pub seed: u64,
}

impl Study {
    /// All runs, seed by seed, so that a study that was stopped has settings with equally many
    /// seeds; what evaluates the models of another setting comes right behind it.
    pub fn places(&self) -> Vec<Place> {
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
                .map(move |&setting| Place { setting, seed })
        };
        seeds.into_iter().flat_map(of_seed).collect()
    }

    /// The runs that are looked into, each beside the baseline with the first seed of both.
    pub fn insides(&self) -> Vec<Both<Place>> {
        let beside = |&setting: &usize| {
            let seed = self.common_seed(setting)?;
            let settings = Both {
                setting,
                baseline: self.baseline,
            };
            Some(settings.map(|setting| Place { setting, seed }))
        };
        self.inside.iter().filter_map(beside).collect()
    }

    /// The first seed of a setting that the baseline has as well.
    pub fn common_seed(&self, setting: usize) -> Option<u64> {
        let of_baseline = &self.settings[self.baseline].plan.seeds;
        let mut seeds = self.settings[setting].plan.seeds.iter().copied();
        seeds.find(|seed| of_baseline.contains(seed))
    }

    /// The setting of a run.
    pub fn setting(&self, place: Place) -> &Setting {
        &self.settings[place.setting]
    }

    /// The run whose models are evaluated: itself, where it trains.
    pub fn trained(&self, place: Place) -> Place {
        let setting = self.setting(place).source.unwrap_or(place.setting);
        Place { setting, ..place }
    }

    /// The configuration that the models of a run are trained with.
    pub fn config(&self, place: Place) -> TrainConfig {
        let mut config = self.setting(place).config.clone();
        config.training.seed = place.seed;
        config
    }

    /// The directory of a run.
    pub fn directory(&self, root: &Path, place: Place) -> PathBuf {
        root.join(slug(&self.setting(place).plan.name))
            .join(format!("seed-{}", place.seed))
    }

    /// `learned, seed 0`.
    pub fn title(&self, place: Place) -> String {
        format!("{}, seed {}", self.setting(place).plan.name, place.seed)
    }
}

/// A name as a directory: letters and digits in lower case, one hyphen for what lies between.
pub fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}
