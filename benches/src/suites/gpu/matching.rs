//! The matching races of a GPU: our kernels and PyTorch on the same fragments.

use std::sync::Arc;

use uard_attention::WeightRule;
use uard_core::gpu::Gpu;

use super::data::{Fragments, FragmentsOnGpu};
use super::ours::{self, MatchingTask, Output};
use super::peers::{self, Peer};
use crate::arguments::Arguments;
use crate::peers::python::Python;
use crate::peers::reference::Sample;
use crate::race::{self, Contestant};
use crate::report::{Race, Requirement, Row, seconds};
use crate::suites::{BenchContext, SuiteResults};
use crate::workload::{Shape, WIDTH};

/// Images and captions of Flickr30K's test set.
const SHAPE: Shape = Shape {
    images: 1000,
    captions: 5000,
    width: WIDTH,
};

/// Images and captions of COCO's test set.
const COCO: Shape = Shape {
    images: 5000,
    captions: 25_000,
    width: WIDTH,
};

/// The number of images and of captions that are compared with the reference.
const SAMPLE: (usize, usize) = (20, 20);

/// The largest allowed difference of bf16 from f64, for pairs with the same mask.
const LIMIT: f64 = 2e-3;

/// Our tasks in every race.
const TASKS: [MatchingTask; 5] = [
    MatchingTask::masked(Output::Similarities),
    MatchingTask::masked(Output::ToHost),
    MatchingTask::masked(Output::Lists),
    MatchingTask {
        at_zero: true,
        ..MatchingTask::masked(Output::Similarities)
    },
    MatchingTask {
        rule: WeightRule::MaxSim,
        ..MatchingTask::masked(Output::Similarities)
    },
];

/// Runs the races of Flickr30K's and COCO's sizes.
///
/// # Errors
/// If the GPU or the machine has too little memory, or a contestant of ours fails.
pub fn run(
    gpu: &Arc<dyn Gpu>,
    context: &BenchContext,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let shape = context.arguments.shape(SHAPE);
    eprintln!(
        "drawing {} images and {} captions",
        shape.images, shape.captions
    );
    let fragments = Fragments::draw(shape)?;
    let data = FragmentsOnGpu::copied(gpu, &fragments)?;
    let rows = compared_rows(&data, &fragments, results)?;
    let mut peers = match context.python {
        Some(python) => start_peers(&data, &fragments, python, results)?,
        None => Vec::new(),
    };
    let (race, failures) = one_race(&data, rows, &mut peers, context, None)?;
    drop(peers);
    let race = Race {
        rows: results.keep_completed(race.rows, failures),
        ..race
    };
    let ceiling = ceiling(&race.rows);
    add_requirements(&race, context.arguments, results);
    results.race(race);
    if context.arguments.images.is_none() && context.arguments.captions.is_none() {
        drop((data, fragments));
        race_of_coco(gpu, ceiling, context, results)?;
    }
    Ok(())
}

/// The rows of our tasks, with their differences to the reference.
fn compared_rows(
    data: &FragmentsOnGpu,
    fragments: &Fragments,
    results: &mut SuiteResults,
) -> anyhow::Result<Vec<Row>> {
    let corner = fragments.corner(SAMPLE.0, SAMPLE.1)?;
    let mut rows = Vec::new();
    for task in TASKS {
        let values = ours::similarities(data, task)?;
        let threshold = if task.at_zero { 0.0 } else { data.threshold };
        let (regions, words) = (&corner.regions, &corner.words);
        let sample = Sample::compute(&task.config(), regions, words, threshold)?;
        let differences = sample.differences(&values, data.words.captions());
        let row = task.row().with_differences(differences);
        results.requirements.push(Requirement {
            about: format!("{}, {}: difference to f64", row.name, row.rule),
            must: format!("{LIMIT:.0e}"),
            found: format!("{:.1e}", differences.same_mask),
            met: differences.same_mask <= LIMIT,
            fatal: true,
        });
        rows.push(row);
    }
    Ok(rows)
}

/// Starts PyTorch's variants and compares them with our kernels.
fn start_peers(
    data: &FragmentsOnGpu,
    fragments: &Fragments,
    python: &Python,
    results: &mut SuiteResults,
) -> anyhow::Result<Vec<Peer>> {
    let arguments = peers::arguments("cuda", fragments.threshold);
    let adds = data.multiply_adds();
    let peers = Peer::start_all(python, fragments, &arguments, adds, results)?;
    let mut compared = Vec::with_capacity(peers.len());
    for mut peer in peers {
        if let Some(rule) = peer.variant.rule {
            let task = MatchingTask {
                rule,
                ..MatchingTask::masked(Output::ToHost)
            };
            let values = ours::similarities(data, task)?;
            match peer.compare(python, fragments, &values) {
                Ok(requirement) => results.requirements.push(requirement),
                Err(error) => {
                    let who = format!("{}, {}", peer.variant.name, peer.variant.argument);
                    results.record_missing(who, format!("{error:#}"));
                    continue;
                }
            }
        }
        compared.push(peer);
    }
    Ok(compared)
}

/// Races our tasks and all peers; returns the race, and the errors of peers that failed.
fn one_race(
    data: &FragmentsOnGpu,
    mut rows: Vec<Row>,
    peers: &mut [Peer],
    context: &BenchContext,
    ceiling_before: Option<f64>,
) -> anyhow::Result<(Race, Vec<Option<String>>)> {
    let title = format!(
        "matching on the GPU, {}, {:.1} % of cells kept",
        data.size(),
        { 100.0 * super::data::KEPT_CELLS }
    );
    let mut contestants: Vec<Contestant> = Vec::new();
    for (row, task) in rows.iter_mut().zip(TASKS) {
        row.units = data.pairs() as f64;
        row.multiply_adds = data.multiply_adds();
        contestants.push(ours::contestant(data, task)?.ours(true));
    }
    rows.extend(peers.iter().map(|peer| peer.row.clone()));
    contestants.extend(peers.iter_mut().map(Peer::contestant));
    let timings = race::run(&title, &mut contestants, context.rounds())?;
    let failures = race::failures(&contestants);
    drop(contestants);
    let rows = rows.into_iter().zip(&timings);
    let mut rows: Vec<Row> = rows.map(|(row, seconds)| row.timed(seconds)).collect();
    for (row, peer) in rows.iter_mut().skip(TASKS.len()).zip(peers) {
        row.peak_kib = peer.peak_kib();
    }
    let ceiling = ceiling_before.or_else(|| ceiling(&rows));
    for row in &mut rows {
        add_rates(row, ceiling);
    }
    Ok((Race { title, rows }, failures))
}

/// The rate of PyTorch's fastest product, in multiply-adds a second.
fn ceiling(rows: &[Row]) -> Option<f64> {
    let products = rows.iter().filter(|row| row.name.contains("product"));
    let rates = products.map(Row::rate).filter(|rate| rate.is_finite());
    rates.max_by(f64::total_cmp)
}

/// Adds the share of the ceiling, and a note with pairs a second and floating-point operations a second, two
/// for each multiply-add.
fn add_rates(row: &mut Row, ceiling: Option<f64>) {
    row.share_of_ceiling = ceiling.map(|ceiling| row.rate() / ceiling);
    let rates = format!(
        "{:.2e} pairs/s, {:.0} TFLOP/s",
        1.0 / row.seconds_per_unit(),
        2e-12 * row.rate()
    );
    row.note = [rates, std::mem::take(&mut row.note)].join("; ");
    row.note.truncate(row.note.trim_end_matches("; ").len());
}

/// Adds the requirements on the race of Flickr30K's size.
fn add_requirements(race: &Race, arguments: &Arguments, results: &mut SuiteResults) {
    let ours = &race.rows[0];
    if arguments.images.is_none() && arguments.captions.is_none() {
        results.requirements.push(Requirement {
            about: "1,000 x 5,000, both sides, similarities on the GPU".to_owned(),
            must: "at most 25 ms".to_owned(),
            found: format!(
                "{}; to the host {}",
                seconds(ours.median),
                seconds(race.rows[1].median)
            ),
            met: ours.median <= 0.025,
            fatal: false,
        });
    }
    let batched = race
        .rows
        .iter()
        .filter(|row| row.name == "PyTorch, UARDA batched");
    for peer in batched {
        let times = peer.seconds_per_unit() / ours.seconds_per_unit();
        results.requirements.push(Requirement {
            about: format!("{} in {}", peer.name, peer.precision),
            must: "50 times our time".to_owned(),
            found: format!("{times:.0} times"),
            met: times >= 50.0,
            fatal: false,
        });
    }
}

/// Races our tasks on COCO's size, with the ceiling of the earlier race.
fn race_of_coco(
    gpu: &Arc<dyn Gpu>,
    ceiling: Option<f64>,
    context: &BenchContext,
    results: &mut SuiteResults,
) -> anyhow::Result<()> {
    let shape = context.arguments.shape(COCO);
    eprintln!(
        "drawing {} images and {} captions",
        shape.images, shape.captions
    );
    let data = FragmentsOnGpu::draw(gpu, shape)?;
    let rows = TASKS.iter().map(MatchingTask::row).collect();
    let (race, _) = one_race(&data, rows, &mut [], context, ceiling)?;
    let [on_gpu, _, lists, ..] = &race.rows[..] else {
        anyhow::bail!("the race of COCO's size has no rows");
    };
    results.requirements.push(Requirement {
        about: "5,000 x 25,000, both sides, lists of the best 10".to_owned(),
        must: "at most 0.6 s".to_owned(),
        found: format!(
            "{}; similarities alone {}",
            seconds(lists.median),
            seconds(on_gpu.median)
        ),
        met: lists.median <= 0.6,
        fatal: false,
    });
    results.race(race);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uard_ptx::Interpreter;

    #[test]
    fn every_task_agrees_with_the_reference_on_the_interpreter() {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        let Some(gpu) = Interpreter::where_possible(90, required) else {
            return;
        };
        let gpu: Arc<dyn Gpu> = Arc::new(gpu);
        let shape = Shape {
            images: 3,
            captions: 5,
            width: 64,
        };
        let fragments = Fragments::draw(shape).unwrap();
        let data = FragmentsOnGpu::copied(&gpu, &fragments).unwrap();
        let drawn = FragmentsOnGpu::draw(&gpu, shape).unwrap();
        assert_eq!(drawn.threshold, data.threshold);
        assert_eq!(drawn.multiply_adds(), data.multiply_adds());
        let mut results = SuiteResults::default();
        let rows = compared_rows(&data, &fragments, &mut results).unwrap();
        assert_eq!(rows.len(), TASKS.len());
        assert_eq!(results.requirements.len(), TASKS.len());
        assert!(results.requirements.iter().all(|found| found.met));
        for task in TASKS {
            let mut contestants = [ours::contestant(&data, task).unwrap()];
            let timings = race::run("tasks", &mut contestants, 1).unwrap();
            assert!(timings[0].median() > 0.0);
        }
    }

    #[test]
    fn the_ceiling_is_the_fastest_product() {
        let row = |name: &str, seconds: f64| {
            let row = Row {
                name: name.to_owned(),
                units: 10.0,
                multiply_adds: 1e12,
                ..Row::default()
            };
            row.timed(&[seconds].into_iter().collect())
        };
        let mut rows = vec![
            row("ours", 4.0),
            row("PyTorch, products alone", 2.0),
            row("PyTorch, product of 8192", 8.0),
        ];
        let ceiling = ceiling(&rows);
        assert_eq!(ceiling, Some(5e11));
        add_rates(&mut rows[0], ceiling);
        assert_eq!(rows[0].share_of_ceiling, Some(0.5));
        assert_eq!(rows[0].note, "2.50e0 pairs/s, 0 TFLOP/s");
    }
}
