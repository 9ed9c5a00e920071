//! `uard self-test`: do the kernels compute on this machine what they should?

use std::path::PathBuf;

use anyhow::Context;
use comfy_table::Table;
use serde::Serialize;
use uard_attention::kernel::check::{Check, Extent, packed};
use uard_core::device::DeviceChoice;

use crate::exit::Failed;
use crate::terminal::{note, print};
use crate::whole_file::write_text;

/// Arguments of `uard self-test`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every kernel on seeded ragged batches: against scalar loops or the composed form \
    in f64, gradients included, and twice for the same bytes. Exit code 1 if a check fails.\n\n\
    Examples:\n  \
    uard self-test --device cuda\n  \
    uard self-test --device cpu --quick --json self-test.json"
)]
pub struct Arguments {
    /// Which kernels: cpu, cuda, or auto: cuda where it can be used, else cpu.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Small shapes only.
    #[arg(long)]
    quick: bool,
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
    let extent = if arguments.quick {
        Extent::Quick
    } else {
        Extent::Full
    };
    let (machine, checks) = match arguments.device {
        DeviceChoice::Cpu => on_cpu(extent)?,
        DeviceChoice::Cuda => gpu::checked(extent).context("--device cuda cannot be used")?,
        DeviceChoice::Metal => {
            return Err(Failed("self-test has no kernels for Metal".to_owned()).into());
        }
        DeviceChoice::Auto => match gpu::reason_against() {
            None => gpu::checked(extent)?,
            Some(reason) => {
                note(&format!("device cpu: {reason}"));
                on_cpu(extent)?
            }
        },
    };
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
    if let Some(path) = &arguments.json {
        write_text(path, &json(&machine, &checks, failed.len())?)?;
    }
    print(&format!("{machine}\n{}", table(&checks)))?;
    for check in failed.iter().take(20) {
        note(&format!(
            "{}: off by {:.3e}, at most {:.0e} is allowed",
            check.name, check.found, check.limit
        ));
    }
    match failed.len() {
        0 => Ok(()),
        some => Err(Failed(format!("{some} of {} checks failed", checks.len())).into()),
    }
}

fn on_cpu(extent: Extent) -> anyhow::Result<(String, Vec<Check>)> {
    Ok(("cpu".to_owned(), packed::matching(extent)?))
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
    use candle_core::Device;
    use uard_attention::kernel::check::{Check, Extent};
    use uard_attention::kernel::cuda::check::{matching, precision, training};
    use uard_attention::kernel::cuda::open;
    use uard_core::device::DeviceChoice;
    use uard_core::gpu::Driver;
    use uard_features::text::gru::kernel::{self, TOLERANCE};

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

    /// Every kernel on the first GPU, and in a build with candle's backend a training step.
    pub fn checked(extent: Extent) -> anyhow::Result<(String, Vec<Check>)> {
        let device = device()?;
        let driver = open(&device)?;
        let mut checks = matching(&driver, extent)?;
        checks.extend(precision(&driver, extent)?);
        checks.extend(training(&*driver, extent)?);
        checks.push(Check {
            name: "gru gates".to_owned(),
            found: kernel::check(&*driver)?,
            limit: TOLERANCE,
        });
        checks.extend(uard_training::check::kernels(&*driver)?);
        #[cfg(feature = "cuda")]
        checks.extend(uard_training::check::on_device(&device)?);
        Ok((format!("cuda: {}", driver.name()), checks))
    }
}

#[cfg(not(feature = "cuda-kernels"))]
mod gpu {
    use uard_attention::kernel::check::{Check, Extent};

    use crate::exit::Failed;

    /// This build knows of no GPU.
    pub fn reason_against() -> Option<String> {
        Some("this binary was built without `cuda-kernels`".to_owned())
    }

    /// Refused.
    pub fn checked(_: Extent) -> anyhow::Result<(String, Vec<Check>)> {
        Err(Failed("this binary was built without `cuda-kernels`".to_owned()).into())
    }
}
