//! Times the search for the ten most similar in bf16, `exact` and f32. The note of each row says whether
//! its lists equal those of f32.

use uard_attention::search::{Search, TopK};
use uard_attention::{Engine, Matcher, MatcherConfig, Precision};

use super::data::Data;
use super::entry::{self, RaceEntry};
use super::{CAPTIONS_OF_RULES, KEPT};
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::{BenchContext, SuiteResults};
use crate::workload::{Content, Shape, WIDTH};

/// The length of the lists, which is the largest K of R@K.
const LISTED: usize = 10;

/// Words that are similar to a region of their image, as after training.
const MATCHED: Content = Content::Matched { relevance: 0.5 };

/// Races the precisions on random directions and on matched ones.
///
/// # Errors
/// If a kernel fails.
pub fn race(
    context: &BenchContext,
    whole: &Data,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    one_race(context, whole, "random directions", results)?;
    let shape = Shape {
        images: whole.images(),
        captions: whole.captions().min(CAPTIONS_OF_RULES),
        width: WIDTH,
    };
    let matched = Data::draw(shape, MATCHED, KEPT)?;
    one_race(context, &matched, "matched directions", results)
}

fn one_race(
    context: &BenchContext,
    data: &Data,
    what: &str,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let title = format!(
        "lists of the best {LISTED}, {what}, {}, {}",
        data.size(),
        data.kept()?
    );
    let by_f32 = lists(data, Precision::F32)?;
    let mut entries = Vec::new();
    for precision in [Precision::Bf16, Precision::Exact, Precision::F32] {
        let search = search(data, precision)?;
        let equal = same_lists(&lists(data, precision)?, &by_f32);
        let row = Row {
            name: search.running().engine().name().to_owned(),
            rule: "masked, both sides".to_owned(),
            precision: precision.to_string(),
            ours: true,
            threads: context.threads,
            note: match equal {
                true => "lists equal f32's, bit for bit".to_owned(),
                false => "lists differ from f32's".to_owned(),
            },
            ..Row::default()
        };
        let contestant = Contestant::new(row.name.clone(), move || {
            let (regions, words) = (&data.packed_regions, &data.packed_words);
            std::hint::black_box(search.top_k(regions, words, LISTED)?);
            Ok(())
        });
        entries.push(RaceEntry::on(data, row, contestant));
    }
    let race = entry::race(context, title, entries)?;
    let [bf16, exact, _] = &race.rows[..] else {
        anyhow::bail!("three precisions have three rows");
    };
    results.promise(
        &format!("exact against bf16, lists of the best {LISTED}, {what}"),
        "lists equal to f32's always, at most 1.5 times the time; aim 1.1",
        format!(
            "{}, {:.2} times",
            exact.note,
            exact.seconds_per_unit() / bf16.seconds_per_unit()
        ),
    );
    results.race(race);
    Ok(())
}

fn search(data: &Data, precision: Precision) -> anyhow::Result<Search> {
    let matcher = Matcher::new(MatcherConfig::default())?;
    Ok(Search::new(
        &matcher,
        data.threshold,
        Engine::Auto,
        precision,
    )?)
}

fn lists(data: &Data, precision: Precision) -> anyhow::Result<TopK> {
    let (regions, words) = (&data.packed_regions, &data.packed_words);
    Ok(search(data, precision)?.top_k(regions, words, LISTED)?)
}

/// Whether both hold the same entries with the same bits in the same order.
fn same_lists(one: &TopK, other: &TopK) -> bool {
    one.captions_of_images == other.captions_of_images
        && one.images_of_captions == other.images_of_captions
}
