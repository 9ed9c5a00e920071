//! Which settings does the file of a study ask for, and do they fit together?

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use uard_training::config::{EvaluationThreshold, TrainConfig};
use uard_training::study::SettingPlan;

use super::plan::{Setting, Study, slug};
use crate::exit::wrong;
use crate::train::plan::{is_embedded, read_config};

/// The key that `seeds` sets.
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

/// Reads and checks a study: every setting is valid when this returns.
pub fn read(path: &Path) -> anyhow::Result<Study> {
    let read = uard_files::read_text(path);
    let text = read.with_context(|| format!("cannot read {}", path.display()))?;
    let file: StudyFile = toml::from_str(&text).map_err(|cause| {
        wrong(format!(
            "{}: {}",
            path.display(),
            cause.to_string().trim_end()
        ))
    })?;
    let name = path.file_stem().unwrap_or(path.as_os_str());
    resolve(&file, path, &name.to_string_lossy()).with_context(|| path.display().to_string())
}

fn resolve(file: &StudyFile, path: &Path, name: &str) -> anyhow::Result<Study> {
    let base = base(file, path)?;
    check_seeds("seeds", &file.seeds)?;
    check_names(&file.settings)?;
    let mut settings = Vec::new();
    for (place, entry) in file.settings.iter().enumerate() {
        let setting = setting(file, entry, &base);
        settings.push(setting.with_context(|| key(place, entry))?);
    }
    for (place, entry) in file.settings.iter().enumerate() {
        check_source(&settings[place], &settings).with_context(|| key(place, entry))?;
    }
    let find = |key: &str, name: &str| {
        let found = settings
            .iter()
            .position(|setting| setting.plan.name == name);
        found.ok_or_else(|| wrong(format!("`{key}` is `{name}`, which no setting is named")))
    };
    let baseline = find("baseline", &file.baseline)?;
    let inside = file.inside.iter().map(|name| match *name == file.baseline {
        true => Err(wrong(format!(
            "`inside` holds `{name}`, the baseline, which all others are looked into against"
        ))),
        false => find("inside", name),
    });
    let inside = inside.collect::<anyhow::Result<Vec<usize>>>()?;
    let study = Study {
        name: name.to_owned(),
        split: one_split(&settings)?,
        seeds: file.seeds.clone(),
        baseline,
        inside,
        settings,
    };
    let apart = |&&place: &&usize| study.common_seed(place).is_none();
    match study.inside.iter().find(apart) {
        None => Ok(study),
        Some(&place) => Err(wrong(format!(
            "`inside` holds `{}`, which has no seed in common with the baseline `{}`",
            study.settings[place].plan.name, file.baseline
        ))),
    }
}

/// `settings[2] learned`: where in the file something is wrong.
fn key(place: usize, entry: &Entry) -> String {
    format!("settings[{place}] `{}`", entry.name)
}

/// The configuration that every setting starts from: beside the file, or inside the binary.
fn base(file: &StudyFile, path: &Path) -> anyhow::Result<TrainConfig> {
    let beside = path.parent().unwrap_or(Path::new("")).join(&file.config);
    let config = match !beside.is_file() && is_embedded(&file.config) {
        true => &file.config,
        false => &beside,
    };
    let named = read_config(config, &[]).context("`config`")?;
    let mut config = named.config;
    config
        .apply_sets(file.set.iter().map(String::as_str))
        .context("`set`")?;
    refuse_seed("set", &file.set)?;
    Ok(config)
}

fn setting(file: &StudyFile, entry: &Entry, base: &TrainConfig) -> anyhow::Result<Setting> {
    let seeds = match (&entry.seeds, &entry.of) {
        (Some(seeds), _) => seeds,
        // A setting that trains nothing has the seeds of the one that does, unless it says less.
        (None, Some(of)) => file
            .settings
            .iter()
            .find(|source| source.name == *of)
            .and_then(|source| source.seeds.as_ref())
            .unwrap_or(&file.seeds),
        (None, None) => &file.seeds,
    };
    check_seeds("seeds", seeds)?;
    let set = entry.set.clone().unwrap_or_default();
    refuse_seed("set", &set)?;
    let mut config = base.clone();
    config
        .apply_sets(set.iter().map(String::as_str))
        .context("`set`")?;
    for &seed in seeds {
        with_seed(&config, seed).validate().context("`seeds`")?;
    }
    let source = source(file, entry)?;
    Ok(Setting {
        slug: slug(&entry.name),
        plan: SettingPlan {
            name: entry.name.clone(),
            group: entry.group.clone(),
            set,
            of: entry.of.clone(),
            threshold: threshold(entry)?,
            seeds: seeds.clone(),
        },
        config,
        source,
    })
}

/// The same with another seed.
pub fn with_seed(config: &TrainConfig, seed: u64) -> TrainConfig {
    let mut config = config.clone();
    config.training.seed = seed;
    config
}

/// Where the setting stands whose models are evaluated.
fn source(file: &StudyFile, entry: &Entry) -> anyhow::Result<Option<usize>> {
    let Some(of) = &entry.of else { return Ok(None) };
    if entry.set.is_some() {
        return Err(wrong(format!(
            "`set` stands beside `of`: the models of `{of}` are trained already"
        )));
    }
    let Some(place) = file.settings.iter().position(|other| other.name == *of) else {
        return Err(wrong(format!("`of` is `{of}`, which no setting is named")));
    };
    if file.settings[place].of.is_some() {
        return Err(wrong(format!(
            "`of` is `{of}`, which trains nothing itself; name the setting that does"
        )));
    }
    Ok(Some(place))
}

/// As `--set evaluation.threshold=…` reads it.
fn threshold(entry: &Entry) -> anyhow::Result<Option<EvaluationThreshold>> {
    match (&entry.threshold, &entry.of) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong(
            "`threshold` is missing: with `of` it says what the models are evaluated with",
        )),
        (Some(_), None) => Err(wrong(
            "`threshold` stands without `of`; what is trained takes \
             set = [\"evaluation.threshold=…\"]",
        )),
        (Some(value), Some(_)) => {
            let mut config = TrainConfig::default();
            let set = config.apply_set(&format!("evaluation.threshold={value}"));
            set.map_err(|_| {
                wrong(format!(
                    "`threshold` is {value}: expected \"learned\", \"relevant_minus_3_std\", or a \
                     number from 0 to 1"
                ))
            })?;
            Ok(Some(config.evaluation.threshold))
        }
    }
}

/// That the models which a setting evaluates have a threshold, and are there for each of its seeds.
fn check_source(setting: &Setting, settings: &[Setting]) -> anyhow::Result<()> {
    let Some(place) = setting.source else {
        return Ok(());
    };
    let source = &settings[place];
    let of = &source.plan.name;
    if !source.config.learns_threshold() {
        return Err(wrong(format!(
            "`of` is `{of}`, whose rule {} takes no threshold",
            source.config.matcher.rule
        )));
    }
    let lacks = |seed: &&u64| !source.plan.seeds.contains(seed);
    match setting.plan.seeds.iter().find(lacks) {
        None => Ok(()),
        Some(seed) => Err(wrong(format!(
            "`seeds` holds {seed}, which `{of}` is not trained with"
        ))),
    }
}

fn check_seeds(key: &str, seeds: &[u64]) -> anyhow::Result<()> {
    if seeds.is_empty() {
        return Err(wrong(format!("`{key}` is empty; give one seed at least")));
    }
    let again = (1..seeds.len()).find(|&place| seeds[..place].contains(&seeds[place]));
    match again {
        None => Ok(()),
        Some(place) => Err(wrong(format!("`{key}` holds {} twice", seeds[place]))),
    }
}

fn refuse_seed(key: &str, set: &[String]) -> anyhow::Result<()> {
    let names_seed = |set: &&String| set.split('=').next().map(str::trim) == Some(SEED);
    match set.iter().find(names_seed) {
        None => Ok(()),
        Some(set) => Err(wrong(format!(
            "`{key}` holds `{set}`; seeds are listed in `seeds`"
        ))),
    }
}

/// That every setting has a name and a directory of its own.
fn check_names(entries: &[Entry]) -> anyhow::Result<()> {
    if entries.is_empty() {
        return Err(wrong("`settings` is empty; give one at least"));
    }
    for (place, entry) in entries.iter().enumerate() {
        let own = slug(&entry.name);
        if own.is_empty() {
            return Err(wrong(format!(
                "{}: `name` needs a letter or a digit, for its directory",
                key(place, entry)
            )));
        }
        let earlier = entries[..place]
            .iter()
            .find(|other| slug(&other.name) == own);
        if let Some(earlier) = earlier {
            return Err(wrong(format!(
                "{}: `name` gives the directory {own}, as `{}` does",
                key(place, entry),
                earlier.name
            )));
        }
    }
    Ok(())
}

/// The split that chooses epochs: the data are opened once, for all.
fn one_split(settings: &[Setting]) -> anyhow::Result<String> {
    let split = |setting: &Setting| setting.config.evaluation.split.clone();
    let first = split(&settings[0]);
    match settings.iter().find(|setting| split(setting) != first) {
        None => Ok(first),
        Some(other) => Err(wrong(format!(
            "`{}` has evaluation.split = {}, `{}` has {first}; a study has one",
            other.plan.name,
            split(other),
            settings[0].plan.name
        ))),
    }
}
