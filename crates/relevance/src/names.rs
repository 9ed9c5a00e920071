//! One name for each value of an enum, in files and on the command line.

/// Gives a fieldless enum its name, `Display` and `FromStr`; the names are those of serde.
macro_rules! named {
    ($type:ident, $choice:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in files and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.name() == text)
                    .ok_or_else(|| $crate::Error::UnknownName {
                        choice: $choice,
                        expected: [$($name),+].join(", "),
                        found: text.to_owned(),
                    })
            }
        }
    };
}

pub(crate) use named;

#[cfg(test)]
mod tests {
    use crate::{CaptionRule, Carry, DistributionKind, EvaluationThreshold, SamplingRule};
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    fn spelt_alike<T>(all: &[T])
    where
        T: serde::Serialize + FromStr + Display + Debug + PartialEq,
        T::Err: Debug,
    {
        for value in all {
            let json = serde_json::to_string(value).unwrap();
            assert_eq!(json, format!("\"{value}\""));
            assert_eq!(&value.to_string().parse::<T>().unwrap(), value);
        }
    }

    #[test]
    fn serde_display_and_from_str_use_the_same_names() {
        spelt_alike(CaptionRule::ALL);
        spelt_alike(SamplingRule::ALL);
        spelt_alike(DistributionKind::ALL);
        spelt_alike(Carry::ALL);
        spelt_alike(&[
            EvaluationThreshold::Learned,
            EvaluationThreshold::RelevantMinus3Std,
        ]);
    }

    #[test]
    fn unknown_name_is_answered_with_the_known_ones() {
        let error = "hard".parse::<SamplingRule>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`hard` is no sampling rule: expected one of easiest, hardest, random, all"
        );
    }
}
