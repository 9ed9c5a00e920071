//! The page of a study: settings, curves, hills, the inside.

use std::collections::BTreeMap;

use maud::{Markup, html};
use uard_eval::Spread;

use super::lines::{Chart, Room, Series, Unit, legend, style};
use super::{Page, Row, Section, folded, hills, inside, table, table_of, terms};
use crate::numbers::{counted, duration, fixed, known, percent};
use crate::record::RunRecord;
use crate::study::inside::InsideRecord;
use crate::study::{self, Cell, EpochNumbers, RunNumbers, SettingRecord, StudyRecord, spread};

/// What the page of a study is made of.
#[derive(Debug, Clone, Copy)]
pub struct StudyPage<'a> {
    /// The numbers.
    pub study: &'a StudyRecord,
    /// What was looked into.
    pub insides: &'a [InsideRecord],
    /// Runs whose hills are drawn over their epochs.
    pub hills: &'a [RunRecord],
}

/// Renders the page; what holds for [`render`](super::render) holds for it.
///
/// # Examples
///
/// ```
/// use uard_report::page::{StudyPage, render_study};
/// use uard_report::study::{Asked, summarise};
///
/// let asked = Asked {
///     name: "empty", command: "", baseline: "zero", split: "dev", device: "cpu",
///     image_of_caption: &[],
/// };
/// let study = summarise(&asked, &[], || |_: usize| 0)?;
/// let page = render_study(&StudyPage { study: &study, insides: &[], hills: &[] });
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// # Ok::<(), uard_eval::Error>(())
/// ```
pub fn render_study(input: &StudyPage<'_>) -> String {
    let study = input.study;
    let insides = html! { @for record in input.insides { (inside::inside(record)) } };
    let page = Page {
        title: &format!("Study {}", study.name),
        kind: "study",
        heading: &study.name,
        outcome: outcome(study),
        facts: vec![
            ("Baseline", study.baseline.clone()),
            ("Split", study.split.clone()),
            ("Device", study.device.clone()),
            ("Training data, sha256", study.data_hash.clone()),
            ("Reported split, sha256", study.evaluation_data_hash.clone()),
        ],
        command: &study.command,
        style: String::new(),
        sections: vec![
            Section::new("settings", "Settings side by side", settings(study)),
            Section::new("curves", "Over the epochs", curves(study)),
            Section::new("hills", "The two hills", moving_hills(input.hills)),
            Section::new("inside", "Inside", insides),
            Section::new("asked", "What was asked for", asked(study)),
            Section::new("runs", "Every run", runs(study)),
            terms(),
        ],
    };
    page.draw()
}

/// How far it is, and which setting has the most rsum.
fn outcome(study: &StudyRecord) -> Markup {
    let rsum = |setting: &SettingRecord| setting.means.as_ref().map(|means| means.rsum);
    let known = |setting| Some((setting, rsum(setting)?)).filter(|of| of.1.mean.is_finite());
    let means = study.settings.iter().filter_map(known);
    let best = means.max_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
    html! {
        (study.finished_runs) " of " (counted(study.planned_runs, "run")) " of "
        (counted(study.settings.len(), "setting")) " are done."
        @if let Some((best, rsum)) = best {
            " The highest mean rsum on " (study.split) " is " (spread(rsum, 1)) " of "
            b { (best.plan.name) } "."
        }
    }
}

fn moving_hills(runs: &[RunRecord]) -> Markup {
    html! {
        @for (place, run) in runs.iter().enumerate() {
            @let hills = hills::movement(run, &format!("hills-study-{place}"));
            @if !hills.0.is_empty() {
                h3 { (run.name) ", seed " (run.seed) }
                (hills)
            }
        }
    }
}

/// The table of all settings, a body for each group; empty before the first run.
fn settings(study: &StudyRecord) -> Markup {
    if study.finished_runs == 0 {
        return html! {};
    }
    let cell = |cell: &Cell| match cell.stands_out {
        true => html! { b { (cell.text) } },
        false => html! { (cell.text) },
    };
    let rows = html! {
        @for group in study::table(study) {
            tbody {
                @if !group.heading.is_empty() {
                    tr.group { th scope="rowgroup" colspan=(study::HEAD.len()) { (group.heading) } }
                }
                @for row in group.rows {
                    tr {
                        th scope="row" { (row[0].text) }
                        @for of in &row[1..] { td { (cell(of)) } }
                    }
                }
            }
        }
    };
    html! {
        p {
            "Best epochs on " (study.split) ": mean ± standard deviation over seeds. rsum gained over "
            (study.baseline) ", on the seeds that both have; its interval over seeds is Student’s, "
            "that over queries comes from images resampled with their captions, and bold ones "
            "exclude zero. Errors are those of the best epoch’s samples at t: by the fitted normals, "
            "with the penalty as weight, and by count, with equal weights."
        }
        (table("Settings, means over their seeds.", &study::HEAD, &rows))
    }
}

/// One value of an epoch; absent where the setting has none.
type Reading = fn(&EpochNumbers) -> Option<f64>;

/// A row of charts for each group that trained something, with the baseline for comparison.
fn curves(study: &StudyRecord) -> Markup {
    let trained = |setting: &&SettingRecord| setting.runs.iter().any(|run| !run.epochs.is_empty());
    let is_baseline = |setting: &&SettingRecord| setting.plan.name == study.baseline;
    let baseline = study.settings.iter().filter(is_baseline).filter(trained);
    let group = |(place, group): (usize, &[SettingRecord])| {
        let others = group.iter().filter(|of| trained(of) && !is_baseline(of));
        let others: Vec<&SettingRecord> = others.collect();
        let drawn: Vec<&SettingRecord> = baseline.clone().chain(others.iter().copied()).collect();
        (!others.is_empty()).then(|| charts(place, &group[0].plan.group, &drawn))
    };
    let groups: Vec<Markup> = study.groups().enumerate().filter_map(group).collect();
    html! {
        @if !groups.is_empty() {
            p {
                "One point an epoch, the mean over the seeds that are done; the baseline is drawn in "
                "every group."
            }
        }
        @for group in groups { (group) }
    }
}

fn charts(place: usize, group: &str, settings: &[&SettingRecord]) -> Markup {
    let chart = |id, title, unit, read: Reading| {
        let chart = Chart {
            id,
            title,
            unit,
            room: Room::Drawn,
            wide: false,
        };
        let line = |(line, setting): (usize, &&SettingRecord)| Series {
            name: setting.plan.name.clone(),
            class: style(line),
            points: mean_of_runs(&setting.runs, read),
            ringed: None,
            end_label: None,
        };
        let lines = settings.iter().enumerate().map(line).collect();
        chart.draw(&format!("study-{place}-"), lines)
    };
    let rsum = "rsum on the split that chooses epochs";
    let error: Reading = |epoch| Some(epoch.errors?.measured?.error);
    html! {
        @if !group.is_empty() { h3 { (group) } }
        (legend("Settings", settings.iter().map(|setting| &setting.plan.name)))
        div.charts.thirds {
            (chart("rsum", rsum, Unit::Plain(1), |epoch| Some(epoch.rsum)))
            (chart("threshold", "Threshold (a cosine)", Unit::Plain(3), |epoch| epoch.threshold))
            (chart("error", "Measured error of the samples", Unit::Fraction, error))
        }
    }
}

/// Of each epoch, the mean over the runs that have it.
fn mean_of_runs(runs: &[RunNumbers], read: Reading) -> Vec<(f64, f64)> {
    let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for epoch in runs.iter().flat_map(|run| &run.epochs) {
        epochs.entry(epoch.epoch).or_default().extend(read(epoch));
    }
    let mean = |(epoch, values): (usize, Vec<f64>)| Some((epoch as f64, Spread::of(&values)?.mean));
    epochs.into_iter().filter_map(mean).collect()
}

/// What every setting sets beside the values of every run.
fn asked(study: &StudyRecord) -> Markup {
    let rows = html! {
        tbody {
            @for plan in study.settings.iter().map(|setting| &setting.plan) {
                tr {
                    th scope="row" { (plan.name) }
                    td {
                        @if let Some(of) = &plan.of {
                            "the models of " (of) ", evaluated with threshold "
                            (known(plan.threshold, |threshold| threshold.to_string()))
                        } @else if plan.set.is_empty() {
                            "nothing beside what every run sets"
                        } @else {
                            code { (plan.set.join(", ")) }
                        }
                    }
                    td { (plan.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) }
                }
            }
        }
    };
    table(
        "What each setting sets.",
        &["setting", "sets", "seeds"],
        &rows,
    )
}

/// Every run in a line, folded away; empty before the first run.
fn runs(study: &StudyRecord) -> Markup {
    if study.finished_runs == 0 {
        return html! {};
    }
    let runs = study.settings.iter();
    let runs = runs.flat_map(|of| of.runs.iter().map(|run| (&of.plan.name, run)));
    let rows = runs.map(|(name, run)| Row {
        name,
        cells: run_cells(run),
    });
    let rows: Vec<Row> = rows.collect();
    let table = table_of(
        "Each run with the model of its best epoch.",
        "setting",
        &rows,
    );
    folded("The numbers of every run", &table)
}

fn run_cells(run: &RunNumbers) -> Vec<(&'static str, String)> {
    let retrieval = &run.evaluation.retrieval;
    let [image_to_text, text_to_image] =
        [retrieval.image_to_text, retrieval.text_to_image].map(|of| {
            [of.r1, of.r5, of.r10]
                .map(|share| fixed(share, 1))
                .join(" · ")
        });
    let errors = run.errors;
    let modelled = errors.and_then(|errors| errors.modelled);
    let measured = errors.and_then(|errors| errors.measured);
    vec![
        ("seed", run.seed.to_string()),
        ("best epoch", run.best_epoch.to_string()),
        ("rsum", fixed(retrieval.rsum, 1)),
        ("image → text R@1 · 5 · 10", image_to_text),
        ("text → image R@1 · 5 · 10", text_to_image),
        ("t", fixed(run.evaluation.threshold, 3)),
        (
            "modelled error",
            known(modelled, |shares| percent(shares.error)),
        ),
        (
            "measured error",
            known(measured, |shares| percent(shares.error)),
        ),
        ("trained in", duration(run.seconds)),
        ("matched in", duration(run.matching_seconds)),
    ]
}
