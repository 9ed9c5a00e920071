//! Writes a sample report from made-up records to the given path.
//!
//! ```text
//! cargo run -p uard-report --example sample_report -- report.html
//! ```

#[path = "../tests/report/sample.rs"]
mod sample;

use uard_report::page::{ReportInput, render};

fn main() -> std::io::Result<()> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "report.html".to_owned());
    let (runs, examples) = (sample::runs(), sample::examples());
    let page = render(&ReportInput {
        title: "Matching scenes with captions",
        runs: &runs,
        examples: &examples,
        command: "cargo xtask train --seed 0",
    });
    std::fs::write(path, page)
}
