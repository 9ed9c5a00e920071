//! How long does a GPU match? Ours and PyTorch's forms on the same fragments, in turn.

use std::sync::Arc;

use uard_attention::WeightRule;
use uard_core::gpu::Machine;

use super::data::{Fragments, OnDevice};
use super::ours::{self, Asked, Job};
use super::peers::{self, Peer};
use crate::arguments::Arguments;
use crate::peers::python::Python;
use crate::peers::reference::Sample;
use crate::race::{self, Contestant};
use crate::report::{Race, Requirement, Row, seconds};
use crate::suites::{Found, Setting};

/// Images and captions of Flickr30K's test set.
const SHAPE: (usize, usize) = (1000, 5000);

/// Images and captions of COCO's.
const COCO: (usize, usize) = (5000, 25_000);

/// Pairs of the corner that the reference judges.
const SAMPLE: (usize, usize) = (20, 20);

/// bf16 against f64, where the mask is the same.
const LIMIT: f64 = 2e-3;

/// What is raced on every shape.
const JOBS: [Asked; 5] = [
    Asked::masked(Job::Similarities),
    Asked::masked(Job::ToHost),
    Asked::masked(Job::Lists),
    Asked {
        at_zero: true,
        ..Asked::masked(Job::Similarities)
    },
    Asked {
        rule: WeightRule::MaxSim,
        ..Asked::masked(Job::Similarities)
    },
];

/// Races on both sizes.
///
/// # Errors
/// When the GPU or the machine has too little memory, or ours fails.
pub fn run(machine: &Arc<dyn Machine>, setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    let shape = setting.arguments.shape(SHAPE);
    eprintln!(
        "drawing {} images and {} captions",
        shape.images, shape.captions
    );
    let fragments = Fragments::draw(shape)?;
    let data = OnDevice::copied(machine, &fragments)?;
    let judged = judged(machine, &data, &fragments, found)?;
    let mut peers = match setting.python {
        Some(python) => start(machine, (&data, &fragments), python, found)?,
        None => Vec::new(),
    };
    let (race, left) = one_race(machine, &data, (judged, &mut peers), (setting, None))?;
    drop(peers);
    let race = Race {
        rows: found.stayed(race.rows, left),
        ..race
    };
    let ceiling = ceiling(&race.rows);
    of_flickr(&race, setting.arguments, found);
    found.race(race);
    if setting.arguments.images.is_none() && setting.arguments.captions.is_none() {
        drop((data, fragments));
        of_coco(machine, ceiling, setting, found)?;
    }
    Ok(())
}

/// Rows of ours, those whose similarities are on the host judged by the reference.
fn judged(
    machine: &Arc<dyn Machine>,
    data: &OnDevice,
    fragments: &Fragments,
    found: &mut Found,
) -> anyhow::Result<Vec<Row>> {
    let corner = fragments.corner(SAMPLE.0, SAMPLE.1)?;
    let mut rows = Vec::new();
    for asked in JOBS {
        let values = ours::similarities(machine, data, asked)?;
        let threshold = if asked.at_zero { 0.0 } else { data.threshold };
        let sides = (&corner.regions, &corner.words);
        let sample = Sample::compute(&asked.config(), sides, threshold)?;
        let differences = sample.differences(&values, data.words.captions());
        let row = asked.row().judged(differences);
        found.requirements.push(Requirement {
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

/// Starts PyTorch's forms and compares them with ours.
fn start(
    machine: &Arc<dyn Machine>,
    (data, fragments): (&OnDevice, &Fragments),
    python: &Python,
    found: &mut Found,
) -> anyhow::Result<Vec<Peer>> {
    let arguments = peers::arguments("cuda", fragments.threshold);
    let adds = data.multiply_adds();
    let peers = Peer::start_all(python, fragments, &arguments, (adds, found))?;
    let mut compared = Vec::with_capacity(peers.len());
    for mut peer in peers {
        if let Some(rule) = peer.form.rule {
            let asked = Asked {
                rule,
                ..Asked::masked(Job::ToHost)
            };
            let values = ours::similarities(machine, data, asked)?;
            match peer.compare(python, fragments, &values) {
                Ok(requirement) => found.requirements.push(requirement),
                Err(error) => {
                    let who = format!("{}, {}", peer.form.name, peer.form.form);
                    found.miss(who, format!("{error:#}"));
                    continue;
                }
            }
        }
        compared.push(peer);
    }
    Ok(compared)
}

/// All of ours and all peers, in turn; and who of them left, and why.
fn one_race(
    machine: &Arc<dyn Machine>,
    data: &OnDevice,
    (mut rows, peers): (Vec<Row>, &mut [Peer]),
    (setting, ceiling_before): (&Setting, Option<f64>),
) -> anyhow::Result<(Race, Vec<Option<String>>)> {
    let title = format!(
        "matching on the GPU, {}, {:.1} % of cells kept",
        data.size(),
        { 100.0 * super::data::KEPT_CELLS }
    );
    let mut contestants: Vec<Contestant> = Vec::new();
    for (row, asked) in rows.iter_mut().zip(JOBS) {
        row.units = data.pairs() as f64;
        row.multiply_adds = data.multiply_adds();
        contestants.push(ours::contestant(machine, data, asked)?.ours(true));
    }
    rows.extend(peers.iter().map(|peer| peer.row.clone()));
    contestants.extend(peers.iter_mut().map(Peer::contestant));
    let timings = race::run(&title, &mut contestants, setting.rounds())?;
    let left = race::left(&contestants);
    drop(contestants);
    let rows = rows.into_iter().zip(&timings);
    let mut rows: Vec<Row> = rows.map(|(row, seconds)| row.timed(seconds)).collect();
    for (row, peer) in rows.iter_mut().skip(JOBS.len()).zip(peers) {
        row.peak_kib = peer.peak_kib();
    }
    let ceiling = ceiling_before.or_else(|| ceiling(&rows));
    for row in &mut rows {
        say_rates(row, ceiling);
    }
    Ok((Race { title, rows }, left))
}

/// The fastest product that PyTorch did, in multiply-adds a second.
fn ceiling(rows: &[Row]) -> Option<f64> {
    let products = rows.iter().filter(|row| row.name.contains("product"));
    let rates = products.map(Row::rate).filter(|rate| rate.is_finite());
    rates.max_by(f64::total_cmp)
}

/// Pairs and operations a second, as this field counts them: two a multiply-add.
fn say_rates(row: &mut Row, ceiling: Option<f64>) {
    row.share_of_ceiling = ceiling.map(|ceiling| row.rate() / ceiling);
    let rates = format!(
        "{:.2e} pairs/s, {:.0} TFLOP/s",
        1.0 / row.of_one(),
        2e-12 * row.rate()
    );
    row.note = [rates, std::mem::take(&mut row.note)].join("; ");
    row.note.truncate(row.note.trim_end_matches("; ").len());
}

fn of_flickr(race: &Race, arguments: &Arguments, found: &mut Found) {
    let ours = &race.rows[0];
    if arguments.images.is_none() && arguments.captions.is_none() {
        found.requirements.push(Requirement {
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
        let times = peer.of_one() / ours.of_one();
        found.requirements.push(Requirement {
            about: format!("{} in {}", peer.name, peer.precision),
            must: "50 times our time".to_owned(),
            found: format!("{times:.0} times"),
            met: times >= 50.0,
            fatal: false,
        });
    }
}

fn of_coco(
    machine: &Arc<dyn Machine>,
    ceiling: Option<f64>,
    setting: &Setting,
    found: &mut Found,
) -> anyhow::Result<()> {
    let shape = setting.arguments.shape(COCO);
    eprintln!(
        "drawing {} images and {} captions",
        shape.images, shape.captions
    );
    let data = OnDevice::draw(machine, shape)?;
    let rows = JOBS.iter().map(Asked::row).collect();
    let (race, _) = one_race(machine, &data, (rows, &mut []), (setting, ceiling))?;
    let [on_gpu, _, lists, ..] = &race.rows[..] else {
        anyhow::bail!("the race of COCO's size has no rows");
    };
    found.requirements.push(Requirement {
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
    found.race(race);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uard_benches::workload::Shape;
    use uard_ptx::Interpreter;

    #[test]
    fn every_job_does_what_it_says_on_the_interpreter() {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        let Some(machine) = Interpreter::where_possible(90, required) else {
            return;
        };
        let machine: Arc<dyn Machine> = Arc::new(machine);
        let shape = Shape {
            images: 3,
            captions: 5,
            width: 64,
        };
        let fragments = Fragments::draw(shape).unwrap();
        let data = OnDevice::copied(&machine, &fragments).unwrap();
        let drawn = OnDevice::draw(&machine, shape).unwrap();
        assert_eq!(drawn.threshold, data.threshold);
        assert_eq!(drawn.multiply_adds(), data.multiply_adds());
        let mut found = Found::default();
        let rows = judged(&machine, &data, &fragments, &mut found).unwrap();
        assert_eq!(rows.len(), JOBS.len());
        assert_eq!(found.requirements.len(), JOBS.len());
        assert!(found.requirements.iter().all(|found| found.met));
        for asked in JOBS {
            let mut contestants = [ours::contestant(&machine, &data, asked).unwrap()];
            let timings = race::run("jobs", &mut contestants, 1).unwrap();
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
        say_rates(&mut rows[0], ceiling);
        assert_eq!(rows[0].share_of_ceiling, Some(0.5));
        assert_eq!(rows[0].note, "2.50e0 pairs/s, 0 TFLOP/s");
    }
}
