//! `uard self-test`: checks the kernels on this machine against scalar loops and prints the results.

use std::path::PathBuf;

use anyhow::{Context, bail};
use comfy_table::Table;
use serde::Serialize;
use uard_core::device::DeviceChoice;

use crate::records::write_text;
use crate::self_test::{Check, Extent, OnCheck, engines_of_the_cpu, matching};
use crate::terminal::{note, print};

/// Arguments of `uard self-test`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs every engine with every rule and precision on seeded ragged batches, and compares it \
    with scalar loops in f64, gradients included. Each result is computed twice and must have the \
    same bytes. Prints a line for each check, and a table at the end. Exit code 1 if a check \
    fails.\n\n\
    Examples:\n  \
    uard self-test --device cuda\n  \
    uard self-test --device cpu --quick --json self-test.json"
)]
pub struct Arguments {
    /// The device whose kernels are checked: cpu, cuda, or auto, which is cuda if it can be used, else
    /// cpu.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Checks small shapes only, as is always done on the CPU.
    #[arg(long)]
    quick: bool,
    /// Checks each kernel on one small batch only, for tools that slow kernels down, such as racecheck.
    #[arg(long, conflicts_with = "quick")]
    smallest: bool,
    /// File for the result of every check.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The content of the file of `--json`.
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

/// Runs the checks and prints their results.
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
        DeviceChoice::Cpu => check_cpu(extent, &mut on_check)?,
        DeviceChoice::Cuda => {
            gpu::check(extent, &mut on_check).context("--device cuda cannot be used")?
        }
        DeviceChoice::Metal => {
            bail!("--device metal: there are no kernels for Metal to check; give cpu or cuda")
        }
        DeviceChoice::Auto => match gpu::reason_against() {
            None => gpu::check(extent, &mut on_check)?,
            Some(reason) => {
                note(&format!("device cpu: {reason}"));
                check_cpu(extent, &mut on_check)?
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
        count => bail!("{count} of {} checks failed", checks.len()),
    }
}

/// Checks the engines of the CPU. The full extent is reduced to small shapes: the large ones are there to
/// fill the tiles of a GPU, and the scalar reference needs minutes for them.
fn check_cpu(extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<String> {
    let extent = match extent {
        Extent::Full => Extent::Quick,
        small => small,
    };
    let runs = engines_of_the_cpu(extent);
    matching::check(&runs, extent, on_check)?;
    Ok("cpu".to_owned())
}

/// The printed line of a check.
fn line(check: &Check) -> String {
    let Check { name, found, limit } = check;
    let passed = if check.passed() { "passed" } else { "FAILED" };
    match *limit > 0.0 {
        true => format!("{passed}  {name}: off by {found:.1e}, at most {limit:.0e} allowed"),
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

/// A row for each kernel and checked result: the number of checks, the number of failed ones, and the
/// largest difference as a share of its limit.
fn table(checks: &[Check]) -> Table {
    let mut rows: Vec<(String, usize, usize, f64)> = Vec::new();
    for check in checks {
        let group = group(&check.name);
        let at = match rows.iter().position(|row| row.0 == group) {
            Some(at) => at,
            None => {
                rows.push((group, 0, 0, 0.0));
                rows.len() - 1
            }
        };
        let row = &mut rows[at];
        row.1 += 1;
        row.2 += usize::from(!check.passed());
        if check.limit > 0.0 {
            row.3 = row.3.max(check.found / check.limit);
        }
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["check", "done", "failed", "largest share of the limit"]);
    for (group, done, failed, share) in rows {
        let share = format!("{:.0} %", 100.0 * share);
        table.add_row([group, done.to_string(), failed.to_string(), share]);
    }
    table
}

/// Shortens the name of a check to kernel, rule and checked result, as in `amx masked: counts`.
fn group(name: &str) -> String {
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
    use uard_core::gpu::{Driver, Gpu};
    use uard_features::text::gru::kernel::{self, TOLERANCE};
    use uard_training::check::kernels;
    #[cfg(feature = "cuda")]
    use uard_training::check::on_device;

    use crate::self_test::{Check, Extent, OnCheck, matching, training};

    /// Why no GPU can be checked; `None` if one can.
    pub fn reason_against() -> Option<String> {
        Driver::open(0).err().map(|error| error.to_string())
    }

    /// The device of the checked tensors: the GPU in a build with candle's CUDA backend, else the CPU.
    fn device() -> anyhow::Result<Device> {
        match cfg!(feature = "cuda") {
            true => Ok(uard_core::device::open(DeviceChoice::Cuda)?.device),
            false => Ok(Device::Cpu),
        }
    }

    /// The GPU of the device's tensors, or the first GPU.
    fn open_gpu(device: &Device) -> anyhow::Result<Arc<dyn Gpu>> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return Ok(uard_core::gpu::tensors::driver(device)?);
        }
        let _ = device;
        Ok(Arc::new(Driver::open(0)?))
    }

    /// Checks every kernel on the first GPU, and in a build with candle's CUDA backend a training step.
    /// Returns the GPU's name.
    pub fn check(extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<String> {
        let device = device()?;
        let gpu = open_gpu(&device)?;
        let precisions = extent.select(Engine::Cuda.precisions()).iter();
        let runs = precisions
            .map(|&precision| Running::on_gpu(Arc::clone(&gpu), precision))
            .collect::<Result<Vec<_>, _>>()?;
        matching::check(&runs, extent, on_check)?;
        training::check(&gpu, extent, on_check)?;
        on_check(Check {
            name: "gru gates".to_owned(),
            found: kernel::check(&*gpu)?,
            limit: TOLERANCE,
        });
        kernels(&*gpu)?.into_iter().for_each(&mut *on_check);
        #[cfg(feature = "cuda")]
        if extent != Extent::Smallest {
            on_device(&device)?.into_iter().for_each(&mut *on_check);
        }
        Ok(format!("cuda: {}", gpu.name()))
    }
}

#[cfg(not(feature = "cuda-kernels"))]
mod gpu {
    use anyhow::bail;

    use crate::self_test::{Extent, OnCheck};

    /// The reason is always that this build has no kernels for a GPU.
    pub fn reason_against() -> Option<String> {
        Some("this binary was built without the feature `cuda-kernels`".to_owned())
    }

    /// Always fails, because this build has no kernels for a GPU.
    pub fn check(_: Extent, _: OnCheck<'_>) -> anyhow::Result<String> {
        bail!("this binary was built without the feature `cuda-kernels`")
    }
}
