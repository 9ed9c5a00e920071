//! Which attention is computed: rule, sides, inverse temperature, threshold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::reference::Attention;
use crate::{Error, Result};

/// How the cells of a relevance matrix become attention weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// Masked softmax over the cells above the threshold: UARDA.
    #[default]
    Masked,
    /// The masked rule, but a query with nothing above the threshold adds its highest relevance
    /// instead of nothing: what a pair lacks counts by how far it misses.
    Nearest,
    /// The masked rule with the threshold fixed at zero, whatever threshold is given.
    Zero,
    /// SCAN: LeakyReLU and L2 norm over the queries, then softmax; no masks.
    Scan,
    /// The highest relevance alone, no masks: the limit of infinite inverse temperature.
    #[serde(rename = "maxsim")]
    MaxSim,
}

/// The side that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySide {
    /// Each word looks at the regions of the image.
    Words,
    /// Each region looks at the words of the caption.
    Regions,
}

/// Which sides ask; with both, the two means are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// Words and regions ask.
    #[default]
    Both,
    /// Only words ask.
    Words,
    /// Only regions ask.
    Regions,
}

impl Sides {
    /// The sides in their fixed order.
    pub fn asking(self) -> &'static [QuerySide] {
        match self {
            Self::Both => &[QuerySide::Words, QuerySide::Regions],
            Self::Words => &[QuerySide::Words],
            Self::Regions => &[QuerySide::Regions],
        }
    }
}

/// Settings of a [`crate::Matcher`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatcherConfig {
    /// How cells become weights.
    pub rule: WeightRule,
    /// Which sides ask.
    pub sides: Sides,
    /// Multiplies the logits. Without it: 10; for the scan rule 9 when words ask, 4 when regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse_temperature: Option<f64>,
}

impl MatcherConfig {
    /// The inverse temperature in force when `side` asks.
    ///
    /// # Source
    /// 10: this project's default for UARDA's silent point. 9 and 4: SCAN's published settings.
    pub fn inverse_temperature(&self, side: QuerySide) -> f64 {
        self.inverse_temperature.unwrap_or(match (self.rule, side) {
            (WeightRule::Scan, QuerySide::Words) => 9.0,
            (WeightRule::Scan, QuerySide::Regions) => 4.0,
            _ => 10.0,
        })
    }

    /// The inverse temperature of a side, if it asks.
    pub(crate) fn asks(&self, side: QuerySide) -> Option<f64> {
        let asks = self.sides.asking().contains(&side);
        asks.then(|| self.inverse_temperature(side))
    }

    /// The threshold in force when `threshold` was learned or given: zero for the zero rule. Below
    /// -1 everything is attended, above 1 nothing.
    pub fn threshold(&self, threshold: f64) -> f64 {
        match self.rule {
            WeightRule::Zero => 0.0,
            // Cosines do not tell these apart, and what stands for padding lies further out.
            _ => threshold.clamp(-BEYOND_COSINES, BEYOND_COSINES),
        }
    }

    /// Whether the rule masks anything at all.
    pub fn has_masks(&self) -> bool {
        matches!(
            self.rule,
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero
        )
    }

    /// What the reference computes where a side asks; nothing where it does not.
    pub fn attention(&self, side: QuerySide, threshold: f64) -> Option<Attention> {
        let inverse_temperature = self.asks(side)?;
        Some(match self.rule {
            WeightRule::Masked | WeightRule::Zero => Attention::Masked {
                threshold: self.threshold(threshold),
                inverse_temperature,
            },
            WeightRule::Nearest => Attention::Nearest {
                threshold,
                inverse_temperature,
            },
            WeightRule::Scan => Attention::Scan {
                inverse_temperature,
            },
            WeightRule::MaxSim => Attention::MaxSim,
        })
    }

    /// Refuses a threshold that is not finite, whatever the rule.
    pub(crate) fn check_threshold(threshold: f64) -> Result<()> {
        if threshold.is_finite() {
            return Ok(());
        }
        Err(Error::Setting {
            setting: "threshold",
            found: threshold.to_string(),
            expected: "a finite number, a cosine from -1 to 1 as a rule",
        })
    }

    pub(crate) fn validate(&self) -> Result<()> {
        match self.inverse_temperature {
            Some(found) if !(found > 0.0 && found <= MAX_INVERSE_TEMPERATURE) => {
                Err(Error::Setting {
                    setting: "inverse_temperature",
                    found: found.to_string(),
                    expected: "a number above 0 and at most 1000",
                })
            }
            _ => Ok(()),
        }
    }
}

/// Beyond it the weights are those of maxsim to f32 rounding, and gradients only lose digits.
const MAX_INVERSE_TEMPERATURE: f64 = 1000.0;

/// No cosine is as large, rounding included; padding is held at -4.
const BEYOND_COSINES: f64 = 2.0;

impl WeightRule {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::Masked,
        Self::Nearest,
        Self::Zero,
        Self::Scan,
        Self::MaxSim,
    ];

    /// Its name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Nearest => "nearest",
            Self::Zero => "zero",
            Self::Scan => "scan",
            Self::MaxSim => "maxsim",
        }
    }

    /// Whether its threshold is the learned or given one.
    pub fn takes_threshold(self) -> bool {
        matches!(self, Self::Masked | Self::Nearest)
    }

    /// Whether a query below the threshold answers with its highest relevance.
    pub(crate) fn answers_below(self) -> bool {
        self == Self::Nearest
    }
}

impl FromStr for WeightRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "masked, nearest, zero, scan or maxsim";
        Self::ALL
            .into_iter()
            .find(|rule| rule.name() == text)
            .ok_or_else(|| unknown("weight rule", text, known))
    }
}

impl fmt::Display for WeightRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Sides {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "both" => Ok(Self::Both),
            "words" => Ok(Self::Words),
            "regions" => Ok(Self::Regions),
            _ => Err(unknown("sides", text, "both, words or regions")),
        }
    }
}

pub(crate) fn unknown(what: &'static str, found: &str, expected: &'static str) -> Error {
    Error::UnknownName {
        what,
        found: found.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_has_one_inverse_temperature_a_side_unless_one_is_given() {
        let mut config = MatcherConfig {
            rule: WeightRule::Scan,
            ..MatcherConfig::default()
        };
        assert_eq!(config.inverse_temperature(QuerySide::Words), 9.0);
        assert_eq!(config.inverse_temperature(QuerySide::Regions), 4.0);
        config.inverse_temperature = Some(6.0);
        assert_eq!(config.inverse_temperature(QuerySide::Regions), 6.0);
    }

    #[test]
    fn inverse_temperature_must_be_positive_and_finite() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = MatcherConfig {
                inverse_temperature: Some(bad),
                ..Default::default()
            };
            assert!(config.validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_survive_a_round_trip() {
        for rule in WeightRule::ALL {
            assert_eq!(rule.to_string().parse::<WeightRule>().unwrap(), rule);
        }
        let message = "soft".parse::<WeightRule>().unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown weight rule `soft`: expected masked, nearest, zero, scan or maxsim"
        );
    }
}
