//! Tables of ceilings, races and promises for people, with units.

use comfy_table::{CellAlignment, Table, TableComponent, presets};

use super::{Promise, Race, Row};
use crate::ceilings::{Ceilings, Kind, counted};

/// All ceilings, before and after the races.
pub fn ceilings(before: &Ceilings, after: &Ceilings) -> String {
    let mut rows = table(&["ceiling", "threads", "by", "before", "after"]);
    for ceiling in &before.found {
        let same = |other: &&crate::ceilings::Ceiling| {
            (other.kind, other.threads, &other.by) == (ceiling.kind, ceiling.threads, &ceiling.by)
        };
        let after = after.found.iter().find(same);
        rows.add_row([
            ceiling.kind.name().to_owned(),
            ceiling.threads.to_string(),
            ceiling.by.clone(),
            rate(ceiling.kind, ceiling.rate),
            after.map_or_else(dash, |after| rate(after.kind, after.rate)),
        ]);
    }
    format!("{rows}\n")
}

fn rate(kind: Kind, rate: f64) -> String {
    match kind {
        Kind::Copy => format!("{:.1} GB/s", rate / 1e9),
        _ => format!("{:.1} Gmadd/s", rate / 1e9),
    }
}

/// The rows of a race; the times of a unit are compared with that of the first row.
pub fn race(race: &Race) -> String {
    let mut rows = table(&[
        "",
        "median",
        "spread",
        "each",
        "Gmadd/s",
        "of ceiling",
        "time to first",
        "difference",
        "peak",
        "",
    ]);
    for column in [0, 9] {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    let first = race.rows.first().map_or(f64::NAN, Row::seconds_per_unit);
    for row in &race.rows {
        rows.add_row([
            name(row),
            seconds(row.median),
            format!("{:.1} %", 100.0 * row.spread),
            seconds(row.seconds_per_unit()),
            when(row.multiply_adds > 0.0, || {
                format!("{:.1}", row.rate() / 1e9)
            }),
            row.share_of_ceiling
                .map_or_else(dash, |share| format!("{:.0} %", 100.0 * share)),
            times(row.seconds_per_unit() / first),
            row.difference
                .map_or_else(dash, |difference| format!("{difference:.1e}")),
            row.peak_kib.map_or_else(dash, mebibytes),
            row.note.clone(),
        ]);
    }
    format!("{}\n{rows}\n", race.title)
}

/// The promised and the measured values.
pub fn promises(promises: &[Promise]) -> String {
    let mut rows = table(&["", "promised", "found"]);
    for column in rows.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for promise in promises {
        rows.add_row([&promise.about, &promise.promised, &promise.found]);
    }
    format!("{rows}\n")
}

/// Kernel, rule, precision and threads of a row.
pub fn name(row: &Row) -> String {
    let parts = [row.name.as_str(), row.rule.as_str(), row.precision.as_str()];
    let mut text = parts
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>();
    let threads = counted(row.threads);
    if row.threads > 0 {
        text.push(&threads);
    }
    text.join(", ")
}

/// A time with three digits and its unit.
pub fn seconds(seconds: f64) -> String {
    let (number, unit) = match seconds {
        s if s >= 1.0 || s.is_nan() => (s, "s"),
        s if s >= 1e-3 => (1e3 * s, "ms"),
        s if s.abs() >= 1e-6 => (1e6 * s, "µs"),
        s => (1e9 * s, "ns"),
    };
    format!("{} {unit}", three_digits(number))
}

/// A ratio with three digits.
pub fn times(ratio: f64) -> String {
    format!("{}×", three_digits(ratio))
}

fn three_digits(number: f64) -> String {
    match number {
        n if n >= 99.95 => format!("{n:.0}"),
        n if n >= 9.995 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

fn mebibytes(kib: u64) -> String {
    format!("{:.0} MiB", kib as f64 / 1024.0)
}

fn when(known: bool, text: impl FnOnce() -> String) -> String {
    if known { text() } else { dash() }
}

fn dash() -> String {
    "–".to_owned()
}

/// An empty table; every column but the first is flush right.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
    ] {
        table.remove_style(line);
    }
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        assert_eq!(seconds(855.04), "855 s");
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!(seconds(4.44e-6), "4.44 µs");
        assert_eq!(seconds(7e-9), "7.00 ns");
        assert_eq!(times(0.9999), "1.00×");
        assert_eq!(times(99.99), "100×");
    }

    #[test]
    fn a_race_compares_units_and_not_rounds() {
        let row = |name: &str, units, seconds: f64| {
            Row {
                name: name.to_owned(),
                units,
                ..Row::default()
            }
            .timed(&[seconds; 3].into_iter().collect())
        };
        let text = race(&Race {
            title: "all pairs".to_owned(),
            rows: vec![row("ours", 1000.0, 1.0), row("peer", 10.0, 1.0)],
        });
        let peer = text.lines().find(|line| line.contains("peer")).unwrap();
        assert!(peer.contains("100×"), "{text}");
    }
}
