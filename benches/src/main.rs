//! Races our kernels and operators against their peers, on the same data, in one run.
//!
//! `cargo xtask bench` builds and starts it. The ceilings of this run come first and last; what
//! lies between is refused when they moved or when our own rounds spread: no quiet run, no record.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that a person reads"
)]

mod arguments;
mod ceilings;
mod machine;
mod peers;
mod race;
mod report;
mod suites;
mod threads;
mod workers;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;

use arguments::{Arguments, Suite};
use ceilings::{Ceilings, Probe};
use machine::Machine;
use peers::python::Python;
use report::Report;
use suites::{Found, Setting};
use uard_benches::workload::{Shape, WIDTH};
use workers::Job;

/// As `uard` has it: the operators are measured with the allocator that they run with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = threads::settle(arguments.threads).and_then(|threads| match arguments.worker {
        Some(job) => serve(job).map(|()| ExitCode::SUCCESS),
        None => run(&arguments, threads),
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(job: Job) -> anyhow::Result<()> {
    match job {
        Job::Operator(batch, _) | Job::Composed(batch) => suites::train::serve_matcher(batch, job),
        Job::Coco(precision, images, captions) => {
            let shape = Shape {
                images,
                captions,
                width: WIDTH,
            };
            suites::coco::serve(precision, shape)
        }
    }
}

fn run(arguments: &Arguments, threads: usize) -> anyhow::Result<ExitCode> {
    let on_gpu = arguments.on_gpu()?;
    let machine = Machine::find(threads);
    println!("{machine}");
    if on_gpu {
        return run_on_gpu(arguments, machine);
    }
    let single = threads::single()?;
    let mut found = Found::default();
    let python = Python::find(threads, None)?;
    if let Err(reason) = &python {
        found.miss("PyTorch", reason);
    }
    let python = python.as_ref().ok();
    eprintln!("ceilings");
    let mut probe = Probe::new(threads, &single, python)?;
    let ceilings = probe.measure()?;
    let setting = Setting {
        arguments,
        threads,
        single: &single,
        python,
        ceilings: &ceilings,
    };
    for skipped in &machine.skipped {
        found.miss("kernel", skipped);
    }
    if arguments.suite.holds(Suite::Kernels) {
        suites::kernels::run(&setting, &mut found)?;
    }
    if arguments.suite.holds(Suite::Train) {
        suites::train::run(&setting, &mut found)?;
    }
    if arguments.suite.holds(Suite::Coco) {
        suites::coco::run(&setting, &mut found)?;
    }
    eprintln!("ceilings again");
    let ceilings_after = probe.measure()?;
    conclude((machine, found), (ceilings, ceilings_after), arguments)
}

/// The suite of a GPU: the processor's ceilings say nothing about it.
fn run_on_gpu(arguments: &Arguments, machine: Machine) -> anyhow::Result<ExitCode> {
    let python = Python::find(machine.threads, Some("python3"))?;
    let mut found = Found::default();
    if let Err(reason) = &python {
        found.miss("PyTorch", reason);
    }
    let (single, ceilings) = (threads::single()?, Ceilings::default());
    let setting = Setting {
        arguments,
        threads: machine.threads,
        single: &single,
        python: python.as_ref().ok(),
        ceilings: &ceilings,
    };
    suites::gpu::run(&setting, &mut found)?;
    conclude((machine, found), Default::default(), arguments)
}

/// Makes a report of what was found, and tells it.
fn conclude(
    (machine, found): (Machine, Found),
    (ceilings, ceilings_after): (Ceilings, Ceilings),
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let report = Report {
        command: std::env::args().collect(),
        finished: now.context("reading the clock")?.as_secs(),
        noise: Report::complaints(&ceilings, &ceilings_after, &found.races),
        machine,
        ceilings,
        ceilings_after,
        races: found.races,
        promises: found.promises,
        requirements: found.requirements,
        gpu: found.gpu,
        missing: found.missing,
    };
    tell(&report, arguments)
}

/// Ends the tables; writes a quiet run, and of a noisy one as much as was allowed.
fn tell(report: &Report, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let quiet = report.noise.is_empty();
    let wrong = |requirement: &report::Requirement| requirement.fatal && !requirement.met;
    let right = match report.requirements.iter().any(wrong) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    };
    report.print_end();
    let path = arguments.json.as_deref();
    if let Some(path) = path.filter(|_| quiet || arguments.allow_noise) {
        report.write_json(path)?;
    }
    for complaint in &report.noise {
        eprintln!("noisy: {complaint}");
    }
    match (quiet, arguments.allow_noise) {
        (true, _) => {
            if let Some(path) = &arguments.record {
                report.append_record(path)?;
            }
            Ok(right)
        }
        (false, true) => {
            eprintln!("warning: this run was noisy; its figures are no record");
            Ok(right)
        }
        (false, false) => {
            eprintln!(
                "refused: the figures above are no record, and none was written; run again on a \
                 quiet machine"
            );
            Ok(ExitCode::FAILURE)
        }
    }
}
