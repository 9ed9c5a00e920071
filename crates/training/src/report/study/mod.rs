//! What does a person see of a study? One self-contained page: settings, curves, hills, the inside.

mod curves;
mod inside;
mod settings;

use super::hills;
use super::markup::escape;
use super::numbers::{UNKNOWN, counted, fixed};
use super::{Page, page};
use crate::record::RunRecord;
use crate::study::inside::InsideRecord;
use crate::study::{SettingRecord, StudyRecord};
use uard_eval::Spread;

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
/// use uard_training::report::{StudyPage, render_study};
/// use uard_training::study::{Asked, summarise};
///
/// let asked = Asked {
///     name: "empty", command: "", baseline: "zero", split: "dev", device: "cpu",
///     image_of_caption: &[],
/// };
/// let study = summarise(&asked, &[])?;
/// let page = render_study(&StudyPage { study: &study, insides: &[], hills: &[] });
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// # Ok::<(), uard_training::Error>(())
/// ```
pub fn render_study(input: &StudyPage<'_>) -> String {
    let study = input.study;
    page(&Page {
        title: &format!("Study {}", study.name),
        style: "",
        header: &header(study),
        sections: &[
            ("settings", "Settings side by side", settings::table(study)),
            ("curves", "Over the epochs", curves::curves(study)),
            ("hills", "The two hills", moving_hills(input.hills)),
            ("inside", "Inside", inside::insides(input.insides)),
            ("asked", "What was asked for", settings::asked(study)),
            ("runs", "Every run", settings::runs(study)),
            ("words", "Words used here", super::TERMS.to_owned()),
        ],
    })
}

fn header(study: &StudyRecord) -> String {
    let facts = [
        ("Baseline", study.baseline.clone()),
        ("Split", study.split.clone()),
        ("Device", study.device.clone()),
        ("Training data, sha256", study.data_hash.clone()),
        ("Reported split, sha256", study.evaluation_data_hash.clone()),
    ];
    let facts: String = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)))
        .collect();
    let command = match study.command.as_str() {
        "" => String::new(),
        command => format!(
            "<pre class=\"command\" aria-label=\"Command\"><code>{}</code></pre>\n",
            escape(command)
        ),
    };
    format!(
        "<header>\n<p class=\"kicker\">Image-text matching · study</p>\n<h1>{}</h1>\n\
         <p class=\"outcome\">{}</p>\n<dl class=\"facts\">\n{facts}</dl>\n{command}</header>\n",
        escape(&study.name),
        outcome(study)
    )
}

/// How far it is, and which setting has the most rsum.
fn outcome(study: &StudyRecord) -> String {
    let done = format!(
        "{} of {} of {} are done.",
        study.finished_runs,
        counted(study.planned_runs, "run"),
        counted(study.settings.len(), "setting")
    );
    let mean = |setting: &&SettingRecord| setting.means.as_ref().map(|means| means.rsum.mean);
    let best = study
        .settings
        .iter()
        .filter(|setting| mean(setting).is_some_and(f64::is_finite))
        .max_by(|a, b| mean(a).unwrap_or(0.0).total_cmp(&mean(b).unwrap_or(0.0)));
    match best.and_then(|best| Some((best, best.means.as_ref()?))) {
        None => done,
        Some((best, means)) => format!(
            "{done} The highest mean rsum on {} is {} of <b>{}</b>.",
            escape(&study.split),
            spread_text(&means.rsum, 1),
            escape(&best.plan.name)
        ),
    }
}

fn moving_hills(runs: &[RunRecord]) -> String {
    let one = |(place, run): (usize, &RunRecord)| {
        let drawn = hills::movement(run, &format!("study-{place}"));
        match drawn.is_empty() {
            true => drawn,
            false => format!("<h3>{}, seed {}</h3>\n{drawn}", escape(&run.name), run.seed),
        }
    };
    runs.iter().enumerate().map(one).collect()
}

/// A mean, and how far its seeds lie apart.
fn spread_text(spread: &Spread, digits: usize) -> String {
    let mean = fixed(spread.mean, digits);
    match spread.std {
        Some(std) => format!("{mean}\u{202f}±\u{202f}{}", fixed(std, digits)),
        None => mean,
    }
}

/// What is known, else a dash.
fn known<T>(value: Option<T>, write: impl Fn(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), write)
}

/// A table of cells that are markup already; the first cell of a row names it.
fn plain_table(caption: &str, head: &[&str], rows: &str) -> String {
    let head: String = head
        .iter()
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .collect();
    format!(
        "<div class=\"scroll\"><table class=\"plain\"><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead>\n{rows}</table></div>\n"
    )
}

fn row(name: &str, cells: &[String]) -> String {
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(name))
}
