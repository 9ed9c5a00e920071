//! The settings of attention: rule, sides, inverse temperature, and the threshold that a rule
//! applies.

use serde::{Deserialize, Serialize};

use crate::names::named;
use crate::reference::Attention;
use crate::{Error, Result};

/// How the cells of a relevance matrix become attention weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// Masked softmax over the cells above the threshold: UARDA.
    #[default]
    Masked,
    /// The masked rule, but a query with nothing above the threshold adds its highest relevance and
    /// not 0.
    Nearest,
    /// The masked rule with the threshold fixed at zero, whatever threshold is given.
    Zero,
    /// SCAN: LeakyReLU, division by the L2 norm over the queries, then softmax; no masks.
    Scan,
    /// Each query adds its highest relevance; no masks. The limit of the rule nearest for an
    /// infinite inverse temperature.
    #[serde(rename = "maxsim")]
    MaxSim,
}

/// The side whose fragments are the queries of attention; the fragments of the other are its
/// context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySide {
    /// Each word attends to the regions of the image.
    Words,
    /// Each region attends to the words of the caption.
    Regions,
}

/// Which sides have queries. Each side adds the mean over its queries to the similarity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// Words and regions.
    #[default]
    Both,
    /// Words only.
    Words,
    /// Regions only.
    Regions,
}

impl Sides {
    /// The sides that have queries, words first.
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
    /// Which sides have queries.
    pub sides: Sides,
    /// Multiplies the logits. Default: 10; for the scan rule 9 with words as queries, 4 with
    /// regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse_temperature: Option<f64>,
}

impl MatcherConfig {
    /// The inverse temperature where `side` has the queries: the given one, or the default.
    ///
    /// # Source
    /// 10: this project's default, for UARDA states none. 9 and 4: SCAN's published settings.
    pub fn inverse_temperature(&self, side: QuerySide) -> f64 {
        self.inverse_temperature.unwrap_or(match (self.rule, side) {
            (WeightRule::Scan, QuerySide::Words) => 9.0,
            (WeightRule::Scan, QuerySide::Regions) => 4.0,
            _ => 10.0,
        })
    }

    /// The inverse temperature of a side that has queries; none for any other.
    pub(crate) fn query_temperature(&self, side: QuerySide) -> Option<f64> {
        let has_queries = self.sides.asking().contains(&side);
        has_queries.then(|| self.inverse_temperature(side))
    }

    /// The threshold that the rule applies where `threshold` was learned or given: zero under the
    /// zero rule. Below -1 every cell is kept, above 1 none.
    pub fn threshold(&self, threshold: f64) -> f64 {
        match self.rule {
            WeightRule::Zero => 0.0,
            // All thresholds above 1 have the same effect, and so have all below -1. The limits
            // keep t above -4, the relevance of padding.
            _ => threshold.clamp(-BEYOND_COSINES, BEYOND_COSINES),
        }
    }

    /// Whether the rule has masks.
    pub fn has_masks(&self) -> bool {
        matches!(
            self.rule,
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero
        )
    }

    /// The attention of a side for the [reference](mod@crate::reference); none if the side has no
    /// queries.
    pub fn attention(&self, side: QuerySide, threshold: f64) -> Option<Attention> {
        let inverse_temperature = self.query_temperature(side)?;
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

/// The highest inverse temperature. With a higher one the weights would be those of maxsim up to
/// f32 rounding, and gradients less exact.
const MAX_INVERSE_TEMPERATURE: f64 = 1000.0;

/// A number above every cosine, rounding included. Its negative is below every cosine, and above
/// -4, the relevance of padding.
const BEYOND_COSINES: f64 = 2.0;

impl WeightRule {
    /// Whether the rule applies the learned or given threshold.
    pub fn takes_threshold(self) -> bool {
        matches!(self, Self::Masked | Self::Nearest)
    }

    /// Whether R of a query with nothing above the threshold is its highest relevance, and not 0.
    pub(crate) fn answers_below(self) -> bool {
        self == Self::Nearest
    }
}

named!(WeightRule, "weight rule", {
    Masked => "masked",
    Nearest => "nearest",
    Zero => "zero",
    Scan => "scan"
    or MaxSim => "maxsim"
});

named!(Sides, "sides", { Both => "both", Words => "words" or Regions => "regions" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_has_a_default_inverse_temperature_for_each_side() {
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
    fn parsing_inverts_display_and_an_unknown_name_is_refused() {
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
