//! Appends a run to a record: a line for every row, with the columns of benches/record/.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::{Report, table};

/// The columns of a record.
const HEADER: &str = "bench,variant,median_ms,spread_percent,share_of_ceiling_percent,peak_mib,\
                      date,commit,machine";

/// Appends every row; a new file gets its header first.
pub fn append(report: &Report, path: &Path) -> anyhow::Result<()> {
    let empty = path.metadata().map_or(true, |found| found.len() == 0);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if empty {
        writeln!(file, "{HEADER}")?;
    }
    file.write_all(lines(report).as_bytes())?;
    Ok(())
}

fn lines(report: &Report) -> String {
    let machine = &report.machine;
    let ending = format!(
        "{},{},{}",
        date(report.finished),
        machine.commit,
        match &report.gpu {
            Some(gpu) => field(gpu),
            None => field(&format!("{} {} cores", machine.processor, machine.cores)),
        }
    );
    let rows = report
        .races
        .iter()
        .flat_map(|race| race.rows.iter().map(move |row| (race, row)));
    rows.map(|(race, row)| {
        let optional = |number: Option<f64>| number.map_or_else(String::new, |n| format!("{n:.1}"));
        format!(
            "{},{},{:.4},{:.1},{},{},{ending}\n",
            field(&race.title),
            field(&table::name(row)),
            1e3 * row.median,
            100.0 * row.spread,
            optional(row.share_of_ceiling.map(|share| 100.0 * share)),
            optional(row.peak_kib.map(|kib| kib as f64 / 1024.0)),
        )
    })
    .collect()
}

/// A field of CSV, without commas, which separate fields.
fn field(text: &str) -> String {
    text.replace(", ", " ").replace(',', "")
}

/// The day of a time, as year-month-day.
///
/// # Source
/// H. Hinnant, *chrono-compatible low-level date algorithms*: days since March of year 0, in eras
/// of 400 years.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_in_leap_years() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(951_868_800), "2000-03-01");
        assert_eq!(date(1_798_675_199), "2026-12-30");
        assert_eq!(date(1_798_761_600), "2027-01-01");
    }

    #[test]
    fn commas_are_removed_from_a_field() {
        assert_eq!(field("all pairs, 1,000 x 5,000"), "all pairs 1000 x 5000");
    }
}
