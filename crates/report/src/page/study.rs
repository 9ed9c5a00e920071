//! The page of a study: a table of its settings, charts over the epochs, hills, comparisons by words
//! and captions.

use std::collections::BTreeMap;

use maud::{Markup, html};
use uard_eval::Spread;

use super::lines::{Chart, Series, Unit, ValueRange, legend, style};
use super::{Page, Row, Section, folded, hills, inside, table, table_of, terms};
use crate::numbers::{counted, duration, fixed, known, percent};
use crate::record::RunRecord;
use crate::study::inside::InsideRecord;
use crate::study::{self, Cell, EpochNumbers, RunNumbers, SettingRecord, StudyRecord, spread};

/// The contents of the page of a study.
#[derive(Debug, Clone, Copy)]
pub struct StudyPage<'a> {
    /// The settings with their results.
    pub study: &'a StudyRecord,
    /// Comparisons of settings with the baseline by words, captions and regions.
    pub insides: &'a [InsideRecord],
    /// Runs whose hills are drawn over their epochs.
    pub hills: &'a [RunRecord],
}

/// Renders the page. Like [`render`](super::render) it reads no file and embeds everything.
///
/// # Examples
///
/// ```
/// use uard_report::page::{StudyPage, render_study};
/// use uard_report::study::{StudyDescription, summarise};
///
/// let description = StudyDescription {
///     name: "empty", command: "", baseline: "zero", split: "dev", device: "cpu",
///     image_of_caption: &[],
/// };
/// let study = summarise(&description, &[], || |_: usize| 0)?;
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
            Section::new("settings", "Results of the settings", settings(study)),
            Section::new("curves", "Over the epochs", curves(study)),
            Section::new("hills", hills::HEADING, hills_of_runs(input.hills)),
            Section::new("inside", "Comparison by words and captions", insides),
            Section::new("values", "Values of the settings", setting_values(study)),
            Section::new("runs", "Every run", runs(study)),
            terms(),
        ],
    };
    page.draw()
}

/// How many runs are done, and which setting has the highest mean rsum.
fn outcome(study: &StudyRecord) -> Markup {
    let rsum = |setting: &SettingRecord| setting.means.as_ref().map(|means| means.rsum);
    let known = |setting| Some((setting, rsum(setting)?)).filter(|pair| pair.1.mean.is_finite());
    let means = study.settings.iter().filter_map(known);
    let best = means.max_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
    html! {
        (study.finished_runs) " of " (counted(study.planned_runs, "run")) " of "
        (counted(study.settings.len(), "setting")) " are done."
        @if let Some((best, rsum)) = best {
            " The highest mean rsum on " (study.split) " is " (spread(rsum, 1)) ", reached by "
            b { (best.plan.name) } "."
        }
    }
}

fn hills_of_runs(runs: &[RunRecord]) -> Markup {
    html! {
        @for (index, run) in runs.iter().enumerate() {
            @let hills = hills::over_epochs(run, &format!("hills-study-{index}"));
            @if !hills.0.is_empty() {
                h3 { (run.name) ", seed " (run.seed) }
                (hills)
            }
        }
    }
}

/// A sentence for each setting and the table of all settings; empty before the first run.
fn settings(study: &StudyRecord) -> Markup {
    if study.finished_runs == 0 {
        return html! {};
    }
    let cell = |cell: &Cell| match cell.is_significant {
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
                        @for value in &row[1..] { td { (cell(value)) } }
                    }
                }
            }
        }
    };
    html! {
        ul.verdict { @for sentence in study::sentences(study) { li { (sentence) } } }
        p {
            "In the table, each setting is evaluated on " (study.split) " with the best epoch of each "
            "of its runs; ± is the standard deviation over seeds. “rsum gained” is the mean "
            "difference to " (study.baseline) " over the seeds that both have. Its 95 % interval over "
            "seeds (Student’s t) is for other seeds, the one over images (images resampled with their "
            "captions) for other images. An interval in bold excludes zero. “error” is the fraction of "
            "the best epoch’s samples on the wrong side of the threshold: modelled by the fitted "
            "normals, with the penalty as weight, and measured by counting, with equal weights."
        }
        (table("Settings, means over their seeds.", &study::HEAD, &rows))
    }
}

/// Reads one value of an epoch; `None` where the setting has none.
type Reading = fn(&EpochNumbers) -> Option<f64>;

/// A row of charts for each group with trained settings, each with the baseline for comparison.
fn curves(study: &StudyRecord) -> Markup {
    let trained = |setting: &&SettingRecord| setting.runs.iter().any(|run| !run.epochs.is_empty());
    let is_baseline = |setting: &&SettingRecord| setting.plan.name == study.baseline;
    let baseline = study.settings.iter().filter(is_baseline).filter(trained);
    let group = |(index, group): (usize, &[SettingRecord])| {
        let others = group.iter();
        let others = others.filter(|setting| trained(setting) && !is_baseline(setting));
        let others: Vec<&SettingRecord> = others.collect();
        let drawn: Vec<&SettingRecord> = baseline.clone().chain(others.iter().copied()).collect();
        (!others.is_empty()).then(|| charts(index, &group[0].plan.group, &drawn))
    };
    let groups: Vec<Markup> = study.groups().enumerate().filter_map(group).collect();
    html! {
        @if !groups.is_empty() {
            p {
                "One point for each epoch: the mean over the seeds that are done. The baseline is "
                "drawn in every group."
            }
        }
        @for group in groups { (group) }
    }
}

fn charts(index: usize, group: &str, settings: &[&SettingRecord]) -> Markup {
    let chart = |id, title, unit, read: Reading| {
        let chart = Chart {
            id,
            title,
            unit,
            range: ValueRange::Drawn,
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
        chart.draw(&format!("study-{index}-"), lines)
    };
    let rsum = "rsum on the split that chooses the best epoch";
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

/// Each epoch with the mean over the runs that have a value in it.
fn mean_of_runs(runs: &[RunNumbers], read: Reading) -> Vec<(f64, f64)> {
    let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for epoch in runs.iter().flat_map(|run| &run.epochs) {
        epochs.entry(epoch.epoch).or_default().extend(read(epoch));
    }
    let mean = |(epoch, values): (usize, Vec<f64>)| {
        let spread = Spread::from_values(&values)?;
        Some((epoch as f64, spread.mean))
    };
    epochs.into_iter().filter_map(mean).collect()
}

/// A table of the configuration values and seeds of each setting.
fn setting_values(study: &StudyRecord) -> Markup {
    let rows = html! {
        tbody {
            @for plan in study.settings.iter().map(|setting| &setting.plan) {
                tr {
                    th scope="row" { (plan.name) }
                    td {
                        @if let Some(source) = &plan.of {
                            "the models of " (source) ", evaluated with threshold "
                            (known(plan.threshold, |threshold| threshold.to_string()))
                        } @else if plan.set.is_empty() {
                            "no values besides those of all settings"
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
        "The values that each setting changes.",
        &["setting", "values", "seeds"],
        &rows,
    )
}

/// A table with a line for each run, hidden until opened; empty before the first run.
fn runs(study: &StudyRecord) -> Markup {
    if study.finished_runs == 0 {
        return html! {};
    }
    let runs = study.settings.iter();
    let runs = runs.flat_map(|setting| setting.runs.iter().map(|run| (&setting.plan.name, run)));
    let rows = runs.map(|(name, run)| Row {
        name,
        cells: run_cells(run),
    });
    let rows: Vec<Row> = rows.collect();
    let table = table_of(
        "Each run, evaluated with the model of its best epoch; “t” is the threshold.",
        "setting",
        &rows,
    );
    folded("The numbers of every run", &table)
}

fn run_cells(run: &RunNumbers) -> Vec<(&'static str, String)> {
    let retrieval = &run.evaluation.retrieval;
    let [image_to_text, text_to_image] =
        [retrieval.image_to_text, retrieval.text_to_image].map(|recall| {
            [recall.r1, recall.r5, recall.r10]
                .map(|percent| fixed(percent, 1))
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
        ("training time", duration(run.seconds)),
        ("matching time", duration(run.matching_seconds)),
    ]
}
