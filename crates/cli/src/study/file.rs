//! Reads the TOML file of a study and checks that its settings are valid and fit together.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use uard_relevance::EvaluationThreshold;
use uard_report::study::SettingPlan;
use uard_training::config::TrainConfig;

use super::plan::{Setting, Study, slug};
use crate::exit::wrong;
use crate::train::plan::{is_embedded, read_config};

/// The configuration key that `seeds` replaces.
const SEED: &str = "training.seed";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StudyFile {
    config: PathBuf,
    baseline: String,
    seeds: Vec<u64>,
    #[serde(default)]
    set: Vec<String>,
    #[serde(default)]
    inside: Vec<String>,
    settings: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    group: String,
    set: Option<Vec<String>>,
    seeds: Option<Vec<u64>>,
    of: Option<String>,
    threshold: Option<toml::Value>,
}

/// Reads a study and checks every setting.
pub fn read(path: &Path) -> anyhow::Result<Study> {
    let read = uard_files::read_text(path);
    let text = read.with_context(|| format!("cannot read {}", path.display()))?;
    let file: StudyFile = toml::from_str(&text).map_err(|cause| {
        let cause = cause.to_string();
        wrong(format!("{}: {}", path.display(), cause.trim_end()))
    })?;
    file.study(path).with_context(|| path.display().to_string())
}

impl StudyFile {
    fn study(&self, path: &Path) -> anyhow::Result<Study> {
        let base = self.base(path)?;
        check_seeds(&self.seeds)?;
        self.check_names()?;
        let mut settings = Vec::new();
        for (index, entry) in self.settings.iter().enumerate() {
            let setting = self.setting(entry, &base);
            settings.push(setting.with_context(|| self.key(index))?);
        }
        let inside = self.inside.iter().map(|name| self.find("inside", name));
        let name = path.file_stem().unwrap_or(path.as_os_str());
        let study = Study {
            name: name.to_string_lossy().into_owned(),
            split: one_split(&settings)?,
            seeds: self.seeds.clone(),
            baseline: self.find("baseline", &self.baseline)?,
            inside: inside.collect::<anyhow::Result<_>>()?,
            settings,
        };
        for &index in &study.inside {
            let (name, baseline) = (&self.settings[index].name, &self.baseline);
            let cause = match study.common_seed(index) {
                _ if index == study.baseline => {
                    "the baseline, with which the others are compared".to_owned()
                }
                None => format!("which has no seed in common with the baseline `{baseline}`"),
                Some(_) => continue,
            };
            return Err(wrong(format!("`inside` lists `{name}`, {cause}")));
        }
        Ok(study)
    }

    /// Names a setting in an error message, as in ``settings[2] `learned` ``.
    fn key(&self, index: usize) -> String {
        format!("settings[{index}] `{}`", self.settings[index].name)
    }

    /// The index of the setting that a key names.
    fn find(&self, key: &str, name: &str) -> anyhow::Result<usize> {
        let found = self.settings.iter().position(|entry| entry.name == name);
        found.ok_or_else(|| {
            wrong(format!(
                "`{key}` names `{name}`, but no setting has this name"
            ))
        })
    }

    /// The configuration that every setting starts from: a file beside the study's, or an embedded one.
    fn base(&self, path: &Path) -> anyhow::Result<TrainConfig> {
        let beside = path.parent().unwrap_or(Path::new("")).join(&self.config);
        let config = match !beside.is_file() && is_embedded(&self.config) {
            true => &self.config,
            false => &beside,
        };
        let named = read_config(config, &[]).context("`config`")?;
        with_sets(&named.config, &self.set)
    }

    fn setting(&self, entry: &Entry, base: &TrainConfig) -> anyhow::Result<Setting> {
        let source = self.source(entry)?;
        let trained = source.map_or(entry, |index| &self.settings[index]);
        let set = trained.set.as_deref().unwrap_or_default();
        // Without `seeds` of its own, a setting that trains nothing has the seeds of the one that does.
        let known = trained.seeds.as_ref().unwrap_or(&self.seeds);
        let setting = Setting {
            plan: SettingPlan {
                name: entry.name.clone(),
                group: entry.group.clone(),
                set: entry.set.clone().unwrap_or_default(),
                of: entry.of.clone(),
                threshold: threshold(entry)?,
                seeds: entry.seeds.as_ref().unwrap_or(known).clone(),
            },
            config: with_sets(base, set)?,
            source,
        };
        check_seeds(&setting.plan.seeds)?;
        for &seed in &setting.plan.seeds {
            let mut config = setting.config.clone();
            config.training.seed = seed;
            config.validate().context("`seeds`")?;
        }
        match &entry.of {
            Some(of) => check_source(&setting, of, known).map(|()| setting),
            None => Ok(setting),
        }
    }

    /// The index of the setting whose models are evaluated; `None` if the entry trains its own.
    fn source(&self, entry: &Entry) -> anyhow::Result<Option<usize>> {
        let Some(of) = &entry.of else { return Ok(None) };
        if entry.set.is_some() {
            return Err(wrong(format!(
                "`set` cannot be given with `of`, because the models of `{of}` are trained without it; \
                 remove one of them"
            )));
        }
        let index = self.find("of", of)?;
        if self.settings[index].of.is_some() {
            return Err(wrong(format!(
                "`of` is `{of}`, which trains nothing itself; give the setting whose models it evaluates"
            )));
        }
        Ok(Some(index))
    }

    /// Checks that every setting has a name and a directory of its own.
    fn check_names(&self) -> anyhow::Result<()> {
        if self.settings.is_empty() {
            return Err(wrong("`settings` is empty; give at least one setting"));
        }
        for (index, entry) in self.settings.iter().enumerate() {
            let own = slug(&entry.name);
            let mut earlier = self.settings[..index].iter();
            let cause = match earlier.find(|other| slug(&other.name) == own) {
                _ if own.is_empty() => {
                    "needs an ASCII letter or a digit, for the name of its directory".to_owned()
                }
                Some(other) => format!(
                    "gives the directory {own}, which `{}` has already; choose another name",
                    other.name
                ),
                None => continue,
            };
            return Err(wrong(format!("{}: `name` {cause}", self.key(index))));
        }
        Ok(())
    }
}

/// A configuration with some values set; refuses to set the seed.
fn with_sets(base: &TrainConfig, set: &[String]) -> anyhow::Result<TrainConfig> {
    let names_seed = |set: &&String| set.split('=').next().map(str::trim) == Some(SEED);
    if let Some(set) = set.iter().find(names_seed) {
        return Err(wrong(format!(
            "`set` holds `{set}`; list seeds in `seeds` instead"
        )));
    }
    let mut config = base.clone();
    config
        .apply_sets(set.iter().map(String::as_str))
        .context("`set`")?;
    Ok(config)
}

/// Parses the threshold of an entry, whose values are those of `--set evaluation.threshold=…`.
fn threshold(entry: &Entry) -> anyhow::Result<Option<EvaluationThreshold>> {
    match (&entry.threshold, &entry.of) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong(
            "`threshold` is missing: a setting with `of` needs the threshold to evaluate its models with",
        )),
        (Some(_), None) => Err(wrong(
            "`threshold` is given without `of`; a setting that trains its models takes \
             set = [\"evaluation.threshold=…\"]",
        )),
        (Some(value), Some(_)) => {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let threshold = text.parse().map_err(|_| {
                wrong(format!(
                    "`threshold` is {value}: expected \"learned\", \"relevant_minus_3_std\", or a \
                     number from 0 to 1"
                ))
            })?;
            Ok(Some(threshold))
        }
    }
}

/// Checks that the models which a setting evaluates take a threshold, and are trained with each of its
/// seeds.
fn check_source(setting: &Setting, of: &str, trained: &[u64]) -> anyhow::Result<()> {
    if !setting.config.matcher.rule.takes_threshold() {
        return Err(wrong(format!(
            "`of` is `{of}`, whose rule {} takes no threshold",
            setting.config.matcher.rule
        )));
    }
    let mut seeds = setting.plan.seeds.iter();
    match seeds.find(|seed| !trained.contains(seed)) {
        None => Ok(()),
        Some(seed) => Err(wrong(format!(
            "`seeds` lists {seed}, with which `{of}` is not trained"
        ))),
    }
}

fn check_seeds(seeds: &[u64]) -> anyhow::Result<()> {
    if seeds.is_empty() {
        return Err(wrong("`seeds` is empty; give at least one seed"));
    }
    let repeated = (1..seeds.len()).find(|&index| seeds[..index].contains(&seeds[index]));
    match repeated {
        None => Ok(()),
        Some(index) => Err(wrong(format!("`seeds` lists {} twice", seeds[index]))),
    }
}

/// The split that chooses the best epochs. It must be the same for all settings, because the data are
/// opened once.
fn one_split(settings: &[Setting]) -> anyhow::Result<String> {
    let split = |setting: &Setting| setting.config.evaluation.split.clone();
    let first = split(&settings[0]);
    match settings.iter().find(|setting| split(setting) != first) {
        None => Ok(first),
        Some(other) => Err(wrong(format!(
            "`{}` has evaluation.split = {}, `{}` has {first}; expected the same split for all settings \
             of a study",
            other.plan.name,
            split(other),
            settings[0].plan.name
        ))),
    }
}
