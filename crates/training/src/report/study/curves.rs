//! How do rsum, threshold and error go over the epochs, for the settings of each group?

use std::collections::BTreeMap;

use super::settings::groups;
use crate::report::line_chart::{LineChart, Series, Unit};
use crate::report::markup::escape;
use crate::report::numbers::{fixed, percent};
use crate::report::runs::style;
use crate::study::{EpochNumbers, SettingRecord, StudyRecord};

const THIRD: (f64, f64) = (350.0, 230.0);

/// One value of an epoch; absent where the setting has none.
type Reading = fn(&EpochNumbers) -> Option<f64>;

/// A row of charts for each group that trained something, with the baseline for comparison.
pub(super) fn curves(study: &StudyRecord) -> String {
    let baseline = study
        .settings
        .iter()
        .find(|setting| setting.plan.name == study.baseline);
    let drawn = |(place, group): (usize, &[SettingRecord])| {
        let trained =
            |setting: &&SettingRecord| setting.runs.iter().any(|run| !run.epochs.is_empty());
        let of_group: Vec<&SettingRecord> = group.iter().filter(trained).collect();
        let is_baseline = |setting: &&SettingRecord| setting.plan.name == study.baseline;
        match of_group.iter().any(|setting| !is_baseline(setting)) {
            false => String::new(),
            true => {
                let mut settings: Vec<&SettingRecord> =
                    baseline.filter(trained).into_iter().collect();
                settings.extend(of_group.into_iter().filter(|setting| !is_baseline(setting)));
                charts(place, &group[0].plan.group, &settings)
            }
        }
    };
    let charts: String = groups(study).into_iter().enumerate().map(drawn).collect();
    match charts.is_empty() {
        true => charts,
        false => format!(
            "<p>One point an epoch, the mean over the seeds that are done; the baseline is drawn in \
             every group.</p>\n{charts}"
        ),
    }
}

fn charts(place: usize, group: &str, settings: &[&SettingRecord]) -> String {
    let heading = match group {
        "" => String::new(),
        group => format!("<h3>{}</h3>\n", escape(group)),
    };
    let charts: [(&str, &str, Unit, Reading); 3] = [
        (
            "rsum",
            "rsum on the split that chooses epochs",
            Unit::Plain(1),
            |epoch| Some(epoch.rsum),
        ),
        (
            "threshold",
            "Threshold (a cosine)",
            Unit::Plain(3),
            |epoch| epoch.threshold,
        ),
        (
            "error",
            "Measured error of the samples",
            Unit::Fraction,
            |epoch| Some(epoch.errors?.measured?.error),
        ),
    ];
    let draw = |(id, title, unit, read): (&str, &str, Unit, Reading)| {
        LineChart {
            id: &format!("study-{place}-{id}"),
            title,
            unit,
            range: None,
            include: None,
            size: THIRD,
            series: settings
                .iter()
                .enumerate()
                .map(|(line, setting)| series(line, setting, (unit, read)))
                .collect(),
        }
        .draw()
    };
    format!(
        "{heading}{}<div class=\"charts thirds\">{}</div>\n",
        legend(settings),
        charts.map(draw).concat()
    )
}

fn series(line: usize, setting: &SettingRecord, (unit, read): (Unit, Reading)) -> Series {
    let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for epoch in setting.runs.iter().flat_map(|run| &run.epochs) {
        if let Some(value) = read(epoch) {
            epochs.entry(epoch.epoch).or_default().push(value);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let points: Vec<(f64, f64)> = epochs
        .iter()
        .map(|(epoch, values)| (*epoch as f64, mean(values)))
        .collect();
    let end_label = points.last().map(|(_, value)| match unit {
        Unit::Plain(digits) => fixed(*value, digits),
        Unit::Fraction => percent(*value),
    });
    Series {
        name: setting.plan.name.clone(),
        class: style(line),
        points,
        ringed: None,
        end_label: end_label.unwrap_or_default(),
    }
}

fn legend(settings: &[&SettingRecord]) -> String {
    let item = |(line, setting): (usize, &&SettingRecord)| {
        format!(
            "<li><svg class=\"swatch {}\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
             <line class=\"line\" x1=\"1\" y1=\"5\" x2=\"27\" y2=\"5\"/>\
             <circle class=\"dot\" cx=\"14\" cy=\"5\" r=\"2.8\"/></svg>{}</li>",
            style(line),
            escape(&setting.plan.name)
        )
    };
    let items: String = settings.iter().enumerate().map(item).collect();
    format!("<ul class=\"legend\" aria-label=\"Settings\">{items}</ul>")
}
