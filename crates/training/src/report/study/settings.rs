//! What did each setting reach, over its seeds and against the baseline?

use uard_eval::{Interval, Spread};

use super::{known, plain_table, row, spread_text};
use crate::report::markup::escape;
use crate::report::numbers::{UNKNOWN, duration, fixed, percent};
use crate::study::{DifferenceRecord, Means, RunNumbers, SettingRecord, StudyRecord};

const HEAD: [&str; 12] = [
    "setting",
    "seeds",
    "rsum",
    "R@1 image → text",
    "R@1 text → image",
    "rsum gained",
    "95 % over seeds",
    "95 % over queries",
    "t",
    "kept: words · regions · cells",
    "error: modelled · measured",
    "time a run",
];

/// The table of all settings, a body for each group; empty before the first run.
pub(super) fn table(study: &StudyRecord) -> String {
    if study.finished_runs == 0 {
        return String::new();
    }
    let mut rows = String::new();
    for group in groups(study) {
        let heading = group.first().map_or("", |setting| &setting.plan.group);
        rows += "<tbody>";
        if !heading.is_empty() {
            rows += &format!(
                "<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>\n",
                HEAD.len(),
                escape(heading)
            );
        }
        for setting in group {
            rows += &row(&setting.plan.name, &cells(study, setting));
        }
        rows += "</tbody>\n";
    }
    let read = format!(
        "<p>Best epochs on {}: mean ± standard deviation over seeds. rsum gained over {}, on the seeds \
         that both have; its interval over seeds is Student’s, that over queries comes from \
         images resampled with their captions, and bold ones exclude zero. Errors are those of the \
         best epoch’s samples at t: by the fitted normals, with the penalty as weight, and by \
         count, with equal weights.</p>\n",
        escape(&study.split),
        escape(&study.baseline)
    );
    read + &plain_table("Settings, means over their seeds.", &HEAD, &rows)
}

/// Neighbours of one group together.
pub(super) fn groups(study: &StudyRecord) -> Vec<&[SettingRecord]> {
    let same = |a: &SettingRecord, b: &SettingRecord| a.plan.group == b.plan.group;
    study.settings.chunk_by(same).collect()
}

fn cells(study: &StudyRecord, setting: &SettingRecord) -> Vec<String> {
    let mut cells = vec![setting.seeds()];
    let Some(means) = &setting.means else {
        cells.resize(HEAD.len() - 1, UNKNOWN.to_owned());
        return cells;
    };
    cells.extend(
        [means.rsum, means.image_to_text_r1, means.text_to_image_r1]
            .map(|spread| spread_text(&spread, 1)),
    );
    cells.extend(match &setting.difference {
        Some(found) => difference(found),
        None if setting.plan.name == study.baseline => ["baseline", "", ""].map(str::to_owned),
        None => [UNKNOWN; 3].map(str::to_owned),
    });
    cells.extend(work(means));
    cells
}

fn difference(found: &DifferenceRecord) -> [String; 3] {
    [
        signed(found.rsum.over_seeds.mean),
        known(found.rsum.of_seeds, interval),
        known(found.of_queries, interval),
    ]
}

fn work(means: &Means) -> [String; 4] {
    let kept = [means.word_queries, means.region_queries, means.cells];
    let errors = [means.modelled_error, means.measured_error];
    let share = |spread: Spread| percent(spread.mean);
    [
        known(means.threshold, |spread| spread_text(&spread, 3)),
        kept.map(share).join(" · "),
        errors.map(|error| known(error, share)).join(" · "),
        duration(means.seconds.mean),
    ]
}

fn signed(value: f64) -> String {
    match value > 0.0 {
        true => format!("+{}", fixed(value, 1)),
        false => fixed(value, 1),
    }
}

fn interval(interval: Interval) -> String {
    let text = format!("{} to {}", signed(interval.low), signed(interval.high));
    match interval.excludes_zero() {
        true => format!("<b>{text}</b>"),
        false => text,
    }
}

/// What every setting sets beside the values of every run.
pub(super) fn asked(study: &StudyRecord) -> String {
    let of = |setting: &SettingRecord| {
        let plan = &setting.plan;
        let seeds: Vec<String> = plan.seeds.iter().map(u64::to_string).collect();
        let what = match &plan.of {
            Some(of) => format!(
                "the models of {}, evaluated with threshold {}",
                escape(of),
                known(plan.threshold, |threshold| escape(&threshold.to_string()))
            ),
            None if plan.set.is_empty() => "nothing beside what every run sets".to_owned(),
            None => format!("<code>{}</code>", escape(&plan.set.join(", "))),
        };
        row(&plan.name, &[what, seeds.join(", ")])
    };
    let rows: String = study.settings.iter().map(of).collect();
    let rows = format!("<tbody>{rows}</tbody>");
    plain_table(
        "What each setting sets.",
        &["setting", "sets", "seeds"],
        &rows,
    )
}

/// Every run in a line, folded away.
pub(super) fn runs(study: &StudyRecord) -> String {
    if study.finished_runs == 0 {
        return String::new();
    }
    let of = |setting: &SettingRecord| -> String {
        let runs = setting.runs.iter();
        runs.map(|run| row(&setting.plan.name, &run_cells(run)))
            .collect()
    };
    let rows: String = study.settings.iter().map(of).collect();
    let head = [
        "setting",
        "seed",
        "best epoch",
        "rsum",
        "image → text R@1 · 5 · 10",
        "text → image R@1 · 5 · 10",
        "t",
        "modelled error",
        "measured error",
        "trained in",
        "matched in",
    ];
    let rows = format!("<tbody>{rows}</tbody>");
    format!(
        "<details><summary>The numbers of every run</summary>{}</details>\n",
        plain_table("Each run with the model of its best epoch.", &head, &rows)
    )
}

fn run_cells(run: &RunNumbers) -> Vec<String> {
    let retrieval = &run.evaluation.retrieval;
    let recalls = [retrieval.image_to_text, retrieval.text_to_image].map(|recall| {
        [recall.r1, recall.r5, recall.r10]
            .map(|share| fixed(share, 1))
            .join(" · ")
    });
    let [image_to_text, text_to_image] = recalls;
    let errors = run.errors;
    vec![
        run.seed.to_string(),
        run.best_epoch.to_string(),
        fixed(retrieval.rsum, 1),
        image_to_text,
        text_to_image,
        fixed(run.evaluation.threshold, 3),
        known(errors.and_then(|errors| errors.modelled), |shares| {
            percent(shares.error)
        }),
        known(errors.and_then(|errors| errors.measured), |shares| {
            percent(shares.error)
        }),
        duration(run.seconds),
        duration(run.matching_seconds),
    ]
}
