//! One name for each value of an enum, in configurations, in messages and on the command line.

/// Gives a fieldless enum the list of its values, their names, `Display` and `FromStr`. The names
/// are those of serde, where it has them.
macro_rules! named {
    ($type:ident, $what:literal, {
        $first:ident => $first_name:literal
        $(, $variant:ident => $name:literal)*
        or $last:ident => $last_name:literal
    }) => {
        impl $type {
            /// Every value, in the order in which messages and the command line list them.
            pub const ALL: [Self; [$first_name, $($name,)* $last_name].len()] =
                [Self::$first, $(Self::$variant,)* Self::$last];

            /// The name in configurations and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_name,
                    $(Self::$variant => $name,)*
                    Self::$last => $last_name,
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                Self::ALL
                    .into_iter()
                    .find(|value| value.name() == text)
                    .ok_or_else(|| $crate::Error::UnknownName {
                        what: $what,
                        found: text.to_owned(),
                        expected: concat!($first_name, $(", ", $name,)* " or ", $last_name),
                    })
            }
        }
    };
}

pub(crate) use named;

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use serde::Serialize;

    use crate::{Precision, Sides, WeightRule};

    fn assert_spelt_alike(values: &[impl Serialize + Display]) {
        for value in values {
            let json = serde_json::to_string(value).unwrap();
            assert_eq!(json, format!("\"{value}\""));
        }
    }

    #[test]
    fn serde_and_display_use_the_same_names() {
        assert_spelt_alike(&WeightRule::ALL);
        assert_spelt_alike(&Sides::ALL);
        assert_spelt_alike(&Precision::ALL);
    }
}
