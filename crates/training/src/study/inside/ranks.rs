//! Which queries does only one of two models find, and which captions moved furthest?

use super::{Both, FoundByOne};

/// A query is found when its match is among the first so many.
pub const FIRST: usize = 10;

/// Captions listed each way.
const LISTED: usize = 15;

/// Captions whose rank differs most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shifts {
    /// Better with the setting, largest difference first.
    pub gained: Vec<usize>,
    /// Better with the baseline, largest difference first.
    pub lost: Vec<usize>,
}

/// Counts the queries that exactly one of both finds; what has no rank is no query.
pub fn found_by_one(ranks: &Both<&[Option<usize>]>) -> FoundByOne {
    let mut found = FoundByOne::default();
    for (setting, baseline) in ranks.setting.iter().zip(ranks.baseline) {
        let (Some(setting), Some(baseline)) = (setting, baseline) else {
            continue;
        };
        found.queries += 1;
        match (*setting <= FIRST, *baseline <= FIRST) {
            (true, false) => found.setting += 1,
            (false, true) => found.baseline += 1,
            _ => {}
        }
    }
    found
}

/// The captions whose rank differs most, each way; of equals the earlier caption.
pub fn shifts(ranks: &Both<&[Option<usize>]>) -> Shifts {
    let pairs = ranks.setting.iter().zip(ranks.baseline).enumerate();
    let mut moved: Vec<(i64, usize)> = pairs
        .filter_map(|(caption, (setting, baseline))| {
            let gain = (*baseline)? as i64 - (*setting)? as i64;
            (gain != 0).then_some((gain, caption))
        })
        .collect();
    moved.sort_by_key(|&(gain, caption)| (-gain, caption));
    let gained = moved.iter().filter(|(gain, _)| *gain > 0);
    let gained = gained.take(LISTED).map(|(_, caption)| *caption).collect();
    moved.sort_by_key(|&(gain, caption)| (gain, caption));
    let lost = moved.iter().filter(|(gain, _)| *gain < 0);
    let lost = lost.take(LISTED).map(|(_, caption)| *caption).collect();
    Shifts { gained, lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: [Option<usize>; 6] = [Some(1), Some(11), Some(40), None, Some(10), Some(3)];
    const BASELINE: [Option<usize>; 6] = [Some(12), Some(10), Some(5), Some(1), Some(9), Some(3)];

    fn both() -> Both<&'static [Option<usize>]> {
        Both {
            setting: &SETTING,
            baseline: &BASELINE,
        }
    }

    #[test]
    fn queries_that_one_alone_finds_are_counted_for_it() {
        let found = found_by_one(&both());
        let expected = FoundByOne {
            queries: 5,
            setting: 1,
            baseline: 2,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn captions_are_listed_by_how_far_they_moved() {
        let shifts = shifts(&both());
        assert_eq!(shifts.gained, [0]);
        assert_eq!(shifts.lost, [2, 1, 4]);
    }

    #[test]
    fn equal_shifts_keep_the_order_of_the_captions() {
        let (low, high) = ([Some(1); 20], [Some(2); 20]);
        let shifts = shifts(&Both {
            setting: &low,
            baseline: &high,
        });
        assert_eq!(shifts.gained, (0..LISTED).collect::<Vec<_>>());
        assert!(shifts.lost.is_empty());
    }
}
