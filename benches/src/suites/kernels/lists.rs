//! What do lists of the best cost, and are those of `exact` those of f32?

use uard_attention::search::{Search, TopK};
use uard_attention::{Engine, Matcher, MatcherConfig, Precision};
use uard_benches::workload::{Content, Shape, WIDTH};

use super::data::Data;
use super::entry::{self, Entry};
use super::{CAPTIONS_OF_RULES, KEPT};
use crate::race::Contestant;
use crate::report::Row;
use crate::suites::{Found, Setting};

/// The longest list that recall asks for.
const LISTED: usize = 10;

/// As after training, when the lists mean something.
const MATCHED: Content = Content::Matched { relevance: 0.5 };

/// Races the precisions on lists, on random directions and on matched ones.
///
/// # Errors
/// When a kernel fails.
pub fn race(setting: &Setting, whole: &Data, found: &mut Found) -> anyhow::Result<()> {
    one_race(setting, whole, "random directions", found)?;
    let shape = Shape {
        images: whole.images(),
        captions: whole.captions().min(CAPTIONS_OF_RULES),
        width: WIDTH,
    };
    let matched = Data::draw(shape, MATCHED, KEPT)?;
    one_race(setting, &matched, "matched directions", found)
}

fn one_race(setting: &Setting, data: &Data, what: &str, found: &mut Found) -> anyhow::Result<()> {
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
            threads: setting.threads,
            note: match equal {
                true => "lists equal f32's, bit for bit".to_owned(),
                false => "lists differ from f32's".to_owned(),
            },
            ..Row::default()
        };
        let contestant = Contestant::new(row.name.clone(), move || {
            let (regions, words) = (&data.packed_regions, &data.packed_words);
            std::hint::black_box(search.top_k(regions, words, LISTED, &|_, _| ())?);
            Ok(())
        });
        entries.push(Entry::on(data, row, contestant));
    }
    let race = entry::race(setting, title, entries)?;
    let [bf16, exact, _] = &race.rows[..] else {
        anyhow::bail!("three precisions have three rows");
    };
    found.promise(
        &format!("exact against bf16, lists of the best {LISTED}, {what}"),
        "lists equal to f32's always, at most 1.5 times the time; aim 1.1",
        format!(
            "{}, {:.2} times",
            exact.note,
            exact.of_one() / bf16.of_one()
        ),
    );
    found.race(race);
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
    Ok(search(data, precision)?.top_k(regions, words, LISTED, &|_, _| ())?)
}

/// Whether both hold the same entries with the same bits in the same order.
fn same_lists(one: &TopK, other: &TopK) -> bool {
    one.captions_of_images == other.captions_of_images
        && one.images_of_captions == other.images_of_captions
}
