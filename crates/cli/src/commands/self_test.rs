//! `uard self-test`: whether the kernels compute on this machine what they should.

use std::path::PathBuf;

use anyhow::Context;
use comfy_table::Table;
use serde::Serialize;
use uard_core::device::DeviceChoice;

use crate::exit::Failed;
use crate::records::write_text;
use crate::self_test::{Check, Extent, OnCheck, engines_of_the_cpu, matching};
use crate::terminal::{note, print};

/// Arguments of `uard self-test`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every engine, rule and precision on seeded ragged batches: against scalar loops in \
    f64, gradients included, and twice for the same bytes. A line a check, and a table at the \
    end. Exit code 1 if a check fails.\n\n\
    Examples:\n  \
    uard self-test --device cuda\n  \
    uard self-test --device cpu --quick --json self-test.json"
)]
pub struct Arguments {
    /// Which kernels: cpu, cuda, or auto: cuda where it can be used, else cpu.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Small shapes only, as always on the CPU.
    #[arg(long)]
    quick: bool,
    /// Each kernel on one small batch: for tools that slow everything down, as racecheck does.
    #[arg(long, conflicts_with = "quick")]
    smallest: bool,
    /// Writes every check.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was checked, and how it ended.
#[derive(Debug, Serialize)]
struct Record<'a> {
    machine: &'a str,
    failed: usize,
    checks: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    name: &'a str,
    found: f64,
    limit: f64,
    passed: bool,
}

/// Checks and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let extent = match (arguments.smallest, arguments.quick) {
        (true, _) => Extent::Smallest,
        (_, true) => Extent::Quick,
        _ => Extent::Full,
    };
    let (mut checks, mut printed) = (Vec::new(), Ok(()));
    let mut on_check = |check: Check| {
        if printed.is_ok() {
            printed = print(&line(&check));
        }
        checks.push(check);
    };
    let machine = match arguments.device {
        DeviceChoice::Cpu => on_cpu(extent, &mut on_check)?,
        DeviceChoice::Cuda => {
            gpu::check(extent, &mut on_check).context("--device cuda cannot be used")?
        }
        DeviceChoice::Metal => {
            return Err(Failed("self-test has no kernels for Metal".to_owned()).into());
        }
        DeviceChoice::Auto => match gpu::reason_against() {
            None => gpu::check(extent, &mut on_check)?,
            Some(reason) => {
                note(&format!("device cpu: {reason}"));
                on_cpu(extent, &mut on_check)?
            }
        },
    };
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
    if let Some(path) = &arguments.json {
        write_text(path, &json(&machine, &checks, failed.len())?)?;
    }
    printed?;
    print(&format!("{machine}\n{}", table(&checks)))?;
    for check in failed.iter().take(20) {
        note(&line(check));
    }
    match failed.len() {
        0 => Ok(()),
        some => Err(Failed(format!("{some} of {} checks failed", checks.len())).into()),
    }
}

/// Checks the engines of the CPU, on small shapes even in the full extent: the large ones fill the
/// tiles of a GPU, and the scalar reference needs minutes for them.
fn on_cpu(extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<String> {
    let extent = match extent {
        Extent::Full => Extent::Quick,
        small => small,
    };
    let runs = engines_of_the_cpu(extent);
    matching::check(&runs, extent, on_check)?;
    Ok("cpu".to_owned())
}

/// A check and how it ended.
fn line(check: &Check) -> String {
    let Check { name, found, limit } = check;
    let passed = if check.passed() { "passed" } else { "FAILED" };
    match *limit > 0.0 {
        true => format!("{passed}  {name}: off by {found:.1e}, at most {limit:.0e} is allowed"),
        false => format!("{passed}  {name}"),
    }
}

fn json(machine: &str, checks: &[Check], failed: usize) -> anyhow::Result<String> {
    let entries = checks.iter().map(|check| Entry {
        name: &check.name,
        found: check.found,
        limit: check.limit,
        passed: check.passed(),
    });
    Ok(serde_json::to_string_pretty(&Record {
        machine,
        failed,
        checks: entries.collect(),
    })?)
}

/// A line for each kernel and what of it was checked: how many checks, how many failed, and the
/// largest share of its limit that a difference took.
fn table(checks: &[Check]) -> Table {
    let mut lines: Vec<(String, usize, usize, f64)> = Vec::new();
    for check in checks {
        let kind = kind(&check.name);
        let at = match lines.iter().position(|line| line.0 == kind) {
            Some(at) => at,
            None => {
                lines.push((kind, 0, 0, 0.0));
                lines.len() - 1
            }
        };
        let line = &mut lines[at];
        line.1 += 1;
        line.2 += usize::from(!check.passed());
        if check.limit > 0.0 {
            line.3 = line.3.max(check.found / check.limit);
        }
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["check", "done", "failed", "share of the limit"]);
    for (kind, done, failed, share) in lines {
        let share = format!("{:.0} %", 100.0 * share);
        table.add_row([kind, done.to_string(), failed.to_string(), share]);
    }
    table
}

/// The kernel before the batch, and what follows the colon.
fn kind(name: &str) -> String {
    let first = name
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    match name.rsplit_once(": ") {
        Some((_, what)) => format!("{first}: {what}"),
        None => first,
    }
}

#[cfg(feature = "cuda-kernels")]
mod gpu {
    use std::sync::Arc;

    use candle_core::Device;
    use uard_attention::{Engine, Running};
    use uard_core::device::DeviceChoice;
    use uard_core::gpu::{Driver, Machine};
    use uard_features::text::gru::kernel::{self, TOLERANCE};
    use uard_training::check::kernels;
    #[cfg(feature = "cuda")]
    use uard_training::check::on_device;

    use crate::self_test::{Check, Extent, OnCheck, matching, training};

    /// Why there is no GPU to check, if there is none.
    pub fn reason_against() -> Option<String> {
        Driver::open(0).err().map(|error| error.to_string())
    }

    /// The device whose tensors are checked too, where this build has candle's backend.
    fn device() -> anyhow::Result<Device> {
        match cfg!(feature = "cuda") {
            true => Ok(uard_core::device::open(DeviceChoice::Cuda)?.device),
            false => Ok(Device::Cpu),
        }
    }

    /// The GPU of the device's tensors, or the first.
    fn machine(device: &Device) -> anyhow::Result<Arc<dyn Machine>> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return Ok(uard_core::gpu::tensors::driver(device)?);
        }
        let _ = device;
        Ok(Arc::new(Driver::open(0)?))
    }

    /// Every kernel on the first GPU, and in a build with candle's backend a training step; returns
    /// the GPU's name.
    pub fn check(extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<String> {
        let device = device()?;
        let machine = machine(&device)?;
        let precisions = extent.of(Engine::Cuda.precisions()).iter();
        let runs = precisions
            .map(|&precision| Running::on_machine(Arc::clone(&machine), precision))
            .collect::<Result<Vec<_>, _>>()?;
        matching::check(&runs, extent, on_check)?;
        training::check(&machine, extent, on_check)?;
        on_check(Check {
            name: "gru gates".to_owned(),
            found: kernel::check(&*machine)?,
            limit: TOLERANCE,
        });
        kernels(&*machine)?.into_iter().for_each(&mut *on_check);
        #[cfg(feature = "cuda")]
        if extent != Extent::Smallest {
            on_device(&device)?.into_iter().for_each(&mut *on_check);
        }
        Ok(format!("cuda: {}", machine.name()))
    }
}

#[cfg(not(feature = "cuda-kernels"))]
mod gpu {
    use crate::exit::Failed;
    use crate::self_test::{Extent, OnCheck};

    /// This build knows of no GPU.
    pub fn reason_against() -> Option<String> {
        Some("this binary was built without `cuda-kernels`".to_owned())
    }

    /// Refused.
    pub fn check(_: Extent, _: OnCheck<'_>) -> anyhow::Result<String> {
        Err(Failed("this binary was built without `cuda-kernels`".to_owned()).into())
    }
}
