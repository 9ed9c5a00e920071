//! The configuration of a training run: reads it from TOML, checks it and changes single values.
//!
//! It has a section for each part of the method; an unknown key is an error. The defaults are the
//! published settings for Flickr30K.

mod sections;

use serde::{Deserialize, Serialize};
use uard_attention::MatcherConfig;
use uard_model::config::{
    Allowed, EvaluationConfig, FRACTION, ImagesConfig, JointSpaceConfig, ModelConfig,
    ProductsConfig, TextConfig, read_toml,
};
use uard_model::{Error, Result};
use uard_relevance::LearnerConfig;

pub use sections::{
    DataConfig, GroupConfig, LossConfig, OptimizerConfig, OptimizerKind, Reduction, ScheduleConfig,
    ScheduleKind, TrainingConfig,
};

/// Every setting of a run.
///
/// ```
/// use uard_training::config::TrainConfig;
///
/// let mut config = TrainConfig::from_toml("[model]\njoint_width = 512", "example").unwrap();
/// config.apply_set("training.epochs=6").unwrap();
/// assert_eq!((config.model.joint_width, config.training.epochs), (512, 6));
/// assert!(config.apply_set("training.epoch=6").unwrap_err().to_string().contains("epochs"));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The vocabulary of the training captions.
    pub data: DataConfig,
    /// The backbone or detector that makes region features of photos.
    pub images: ImagesConfig,
    /// The joint space.
    pub model: JointSpaceConfig,
    /// The text encoder and its tokenizer.
    pub text: TextConfig,
    /// The similarity of image and caption.
    pub matcher: MatcherConfig,
    /// The learner of the threshold.
    pub threshold: LearnerConfig,
    /// The hinge loss.
    pub loss: LossConfig,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the run.
    pub schedule: ScheduleConfig,
    /// The training loop.
    pub training: TrainingConfig,
    /// The evaluation of every epoch on dev.
    pub evaluation: EvaluationConfig,
}

impl TrainConfig {
    /// Reads and checks a configuration; `origin` names its source in errors.
    ///
    /// # Errors
    /// When the text is not TOML, a key is unknown, or a value is out of its range.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let config: Self = read_toml(text, origin)?;
        config.validate()?;
        Ok(config)
    }

    /// Sets one value by its dotted key: `section.key=value`.
    ///
    /// The value is read as TOML; text that is not TOML becomes a string, so `matcher.rule=scan`
    /// needs no quotes. Without a value, as in `matcher.inverse_temperature=`, the key gets its
    /// default again. On an error nothing changes.
    ///
    /// # Errors
    /// When there is no `=`, the key is unknown, or the value is out of its range.
    pub fn apply_set(&mut self, assignment: &str) -> Result<()> {
        self.apply_sets([assignment])
    }

    /// [`apply_set`](Self::apply_set) for several values, checked once after all are set.
    ///
    /// # Errors
    /// As for [`apply_set`](Self::apply_set); then no value is set.
    pub fn apply_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut config = self.clone();
        for assignment in sets {
            config = config.with_set(assignment)?;
        }
        config.validate()?;
        *self = config;
        Ok(())
    }

    fn with_set(&self, assignment: &str) -> Result<Self> {
        let refused = |cause: String| Error::Configuration {
            origin: format!("--set {assignment}"),
            cause,
        };
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| refused("expected section.key=value".to_owned()))?;
        let mut table = toml::Table::try_from(self).map_err(|e| refused(e.to_string()))?;
        set_key(&mut table, key.trim(), parse_value(value.trim())).map_err(&refused)?;
        table.try_into().map_err(|cause: toml::de::Error| {
            refused(cause.to_string().trim_end().replace('\n', "; "))
        })
    }

    /// The whole configuration as TOML, every default written out.
    ///
    /// # Errors
    /// When a value has no form in TOML, such as a seed above the largest signed number.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|cause| Error::Configuration {
            origin: "configuration".to_owned(),
            cause: cause.to_string(),
        })
    }

    /// The first line of each configuration that the other one lacks; `None` where both are equal.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub fn difference(&self, other: &Self) -> Result<Option<[String; 2]>> {
        let texts = [self.to_toml()?, other.to_toml()?];
        let lacking = |one: &str, other: &str| {
            let line = one
                .lines()
                .find(|line| !other.lines().any(|known| known == *line));
            line.unwrap_or("no such setting").to_owned()
        };
        let differ = texts[0] != texts[1];
        Ok(differ.then(|| [lacking(&texts[0], &texts[1]), lacking(&texts[1], &texts[0])]))
    }

    /// The part of the configuration that belongs to the model.
    pub fn model(&self) -> ModelConfig {
        ModelConfig {
            images: self.images.clone(),
            model: self.model.clone(),
            text: self.text.clone(),
            matcher: self.matcher,
            training: ProductsConfig {
                matmul: self.training.matmul,
            },
            evaluation: self.evaluation.clone(),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first setting that is out of its range, and the range.
    pub fn validate(&self) -> Result<()> {
        self.model().validate()?;
        self.validate_numbers()?;
        let training = &self.training;
        if training.accumulation > training.batch {
            let (key, expected) = ("training.accumulation", "at most training.batch");
            return Err(Error::setting(key, &training.accumulation, expected));
        }
        if i64::try_from(training.seed).is_err() {
            let expected = "at most 2^63 - 1";
            return Err(Error::setting("training.seed", &training.seed, expected));
        }
        self.threshold
            .validate()
            .map_err(|cause| Error::Configuration {
                origin: "[threshold]".to_owned(),
                cause: cause.to_string(),
            })
    }

    /// Checks the numbers of the sections that only training uses.
    fn validate_numbers(&self) -> Result<()> {
        let (training, optimizer, schedule) = (&self.training, &self.optimizer, &self.schedule);
        let count = |key, number: usize| COUNT.check(key, number as f64);
        count("data.minimum_word_count", self.data.minimum_word_count)?;
        count("training.epochs", training.epochs)?;
        count("training.keep_last", training.keep_last)?;
        count("training.accumulation", training.accumulation)?;
        BATCH.check("training.batch", training.batch as f64)?;
        CHANCE.check("training.omit_words", training.omit_words)?;
        CHANCE.check("training.omit_regions", training.omit_regions)?;
        POSITIVE.check("optimizer.learning_rate", optimizer.learning_rate)?;
        POSITIVE.check("optimizer.epsilon", optimizer.epsilon)?;
        NOT_NEGATIVE.check("optimizer.weight_decay", optimizer.weight_decay)?;
        NOT_NEGATIVE.check("optimizer.clip_norm", optimizer.clip_norm)?;
        CHANCE.check("optimizer.beta1", optimizer.beta1)?;
        CHANCE.check("optimizer.beta2", optimizer.beta2)?;
        POSITIVE.check("loss.margin", self.loss.margin)?;
        FRACTION.check("schedule.decay_at", schedule.decay_at)?;
        FRACTION.check("schedule.factor", schedule.factor)?;
        if let Some(limit) = training.maximum_steps {
            LIMIT.check("training.maximum_steps", limit as f64)?;
        }
        if let Some(patience) = training.patience {
            PATIENCE.check("training.patience", patience as f64)?;
        }
        for group in &optimizer.groups {
            let (scale, decay) = (group.learning_rate_scale, group.weight_decay);
            NOT_NEGATIVE.check("optimizer.groups.learning_rate_scale", scale)?;
            NOT_NEGATIVE.check("optimizer.groups.weight_decay", decay)?;
        }
        Ok(())
    }
}

const COUNT: Allowed = Allowed::new("1 or more", |x| x >= 1.0);
const BATCH: Allowed = Allowed::new("2 or more captions", |x| x >= 2.0);
const LIMIT: Allowed = Allowed::new("1 or more, or no limit at all", |x| x >= 1.0);
const PATIENCE: Allowed = Allowed::new("1 or more, or no patience at all", |x| x >= 1.0);
const CHANCE: Allowed = Allowed::new("0 or more, below 1", |x| (0.0..1.0).contains(&x));
const POSITIVE: Allowed = Allowed::new("a finite number above 0", |x| x.is_finite() && x > 0.0);
const NOT_NEGATIVE: Allowed =
    Allowed::new("a finite number, 0 or more", |x| x.is_finite() && x >= 0.0);

/// The value that a text stands for; `None` for an empty text.
fn parse_value(text: &str) -> Option<toml::Value> {
    if text.is_empty() {
        return None;
    }
    let string = || toml::Value::String(text.to_owned());
    Some(
        match toml::from_str::<toml::Table>(&format!("value = {text}")) {
            Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or_else(string),
            _ => string(),
        },
    )
}

fn set_key(
    table: &mut toml::Table,
    key: &str,
    value: Option<toml::Value>,
) -> std::result::Result<(), String> {
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    if rest.is_empty() {
        if table.get(section).is_some_and(toml::Value::is_table) {
            return Err(format!(
                "`{section}` is a section; set one of its keys, {section}.…"
            ));
        }
        match value {
            Some(value) => drop(table.insert(section.to_owned(), value)),
            None if table.remove(section).is_some() => {}
            None => return Err(format!("`{section}` has no value to remove")),
        }
        return Ok(());
    }
    let known: Vec<String> = table.keys().cloned().collect();
    match table.get_mut(section) {
        Some(toml::Value::Table(inner)) => set_key(inner, rest, value),
        Some(_) => Err(format!("`{section}` is a value, not a section")),
        None => Err(format!(
            "unknown section `{section}`, expected one of {}",
            known.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use uard_attention::WeightRule;
    use uard_linalg::matmul::Matmul;
    use uard_relevance::EvaluationThreshold;

    use super::*;

    #[test]
    fn an_empty_file_gives_the_published_settings() {
        let config = TrainConfig::from_toml("", "empty").unwrap();
        assert_eq!(config, TrainConfig::default());
        assert_eq!((config.training.batch, config.training.epochs), (128, 20));
        assert_eq!((config.loss.margin, config.optimizer.clip_norm), (0.2, 2.0));
    }

    #[test]
    fn toml_survives_a_round_trip() {
        let mut config = TrainConfig::default();
        config.training.patience = Some(3);
        config.evaluation.threshold = EvaluationThreshold::Fixed(0.25);
        config.optimizer.groups.push(GroupConfig {
            prefix: "text.".to_owned(),
            learning_rate_scale: 0.1,
            weight_decay: 1e-4,
        });
        let text = config.to_toml().unwrap();
        assert_eq!(TrainConfig::from_toml(&text, "round trip").unwrap(), config);
    }

    #[test]
    fn a_difference_is_the_line_that_the_other_lacks() {
        let one = TrainConfig::default();
        let mut other = one.clone();
        assert_eq!(one.difference(&other).unwrap(), None);
        other.threshold.penalty = 2.0;
        let lines = one.difference(&other).unwrap().unwrap();
        assert_eq!(lines, ["penalty = 1.0", "penalty = 2.0"]);
        other = one.clone();
        other.training.patience = Some(3);
        let lines = one.difference(&other).unwrap().unwrap();
        assert_eq!(lines, ["no such setting", "patience = 3"]);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_file_and_the_known_keys() {
        let error = TrainConfig::from_toml("[loss]\nmargn = 0.2", "a.toml").unwrap_err();
        let message = error.to_string();
        for part in ["a.toml", "margn", "margin", "warm_up_epochs"] {
            assert!(message.contains(part), "{message}");
        }
        let error = TrainConfig::from_toml("[los]\nmargin = 0.2", "a.toml").unwrap_err();
        assert!(error.to_string().contains("`loss`"), "{error}");
    }

    #[test]
    fn set_takes_numbers_strings_and_lists() {
        let mut config = TrainConfig::default();
        config.apply_set("threshold.penalty=2").unwrap();
        config.apply_set("matcher.rule=scan").unwrap();
        config.apply_set("evaluation.threshold = 0.3").unwrap();
        config
            .apply_set("optimizer.groups=[{prefix = \"text\"}]")
            .unwrap();
        config.apply_set("training.patience=4").unwrap();
        config.apply_set("training.matmul=bf16").unwrap();
        assert_eq!(config.threshold.penalty, 2.0);
        assert_eq!(config.matcher.rule, WeightRule::Scan);
        assert_eq!(config.evaluation.threshold, EvaluationThreshold::Fixed(0.3));
        assert_eq!(config.optimizer.groups[0].learning_rate_scale, 1.0);
        assert_eq!(config.training.patience, Some(4));
        assert_eq!(config.training.matmul, Matmul::Bf16);
        assert!(config.apply_set("training.matmul=f16").is_err());
    }

    #[test]
    fn set_without_a_value_restores_the_default() {
        let mut config = TrainConfig::default();
        config.apply_set("matcher.inverse_temperature=20").unwrap();
        config.apply_set("training.epochs=3").unwrap();
        config.apply_set("matcher.inverse_temperature=").unwrap();
        config.apply_set("training.epochs=").unwrap();
        assert_eq!(config, TrainConfig::default());
        for gone in ["matcher.inverse_temperature=", "matcher.temperature="] {
            let message = config.apply_set(gone).unwrap_err().to_string();
            assert!(message.contains("no value"), "{message}");
        }
    }

    #[test]
    fn set_refuses_unknown_keys_and_lists_the_known_ones() {
        let mut config = TrainConfig::default();
        let message = config
            .apply_set("threshold.penalti=2")
            .unwrap_err()
            .to_string();
        assert!(message.contains("--set threshold.penalti=2"), "{message}");
        assert!(message.contains("penalty"), "{message}");
        let message = config
            .apply_set("treshold.penalty=2")
            .unwrap_err()
            .to_string();
        assert!(message.contains("threshold"), "{message}");
        for wrong in [
            "threshold",
            "threshold=1",
            "training.batch.x=1",
            "nothing=1",
        ] {
            assert!(config.apply_set(wrong).is_err(), "{wrong}");
        }
        assert_eq!(config, TrainConfig::default());
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (assignment, key) in [
            ("training.batch=1", "training.batch"),
            ("optimizer.learning_rate=0", "optimizer.learning_rate"),
            ("optimizer.beta2=1.0", "optimizer.beta2"),
            ("schedule.decay_at=1.5", "schedule.decay_at"),
            ("loss.margin=nan", "loss.margin"),
            ("training.accumulation=200", "training.accumulation"),
            ("training.omit_words=1", "training.omit_words"),
            ("training.omit_regions=-0.1", "training.omit_regions"),
            ("evaluation.threshold=2.0", "evaluation.threshold"),
        ] {
            let message = TrainConfig::default()
                .apply_set(assignment)
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(key), "{message}");
        }
    }
}
