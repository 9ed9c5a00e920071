//! Races our kernels and operators against their peers, on the same data, in one run.
//!
//! `cargo xtask bench` builds and starts it. Ceilings are measured before and after the races. If they
//! changed, or if our own rounds are uneven, the run is noisy and its figures are refused as a record.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that a person reads"
)]

mod arguments;
mod ceilings;
mod machine;
mod noise;
mod peers;
mod race;
mod report;
mod statistics;
mod step;
mod suites;
mod threads;
mod workers;
mod workload;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;

use arguments::{Arguments, Suite};
use ceilings::{Ceilings, Probe};
use machine::Machine;
use peers::python::Python;
use report::Report;
use suites::{BenchContext, SuiteResults};
use workers::Job;
use workload::{Shape, WIDTH};

/// The allocator of `uard`, so that operators are measured with the allocator that they run with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = threads::configure(arguments.threads).and_then(|threads| match arguments.worker {
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
    let mut results = SuiteResults::default();
    let python = Python::find(threads, None)?;
    if let Err(reason) = &python {
        results.record_missing("PyTorch", reason);
    }
    let python = python.as_ref().ok();
    eprintln!("ceilings");
    let mut probe = Probe::new(threads, &single, python)?;
    let ceilings = probe.measure()?;
    let context = BenchContext {
        arguments,
        threads,
        single: &single,
        python,
        ceilings: &ceilings,
    };
    for skipped in &machine.skipped {
        results.record_missing("kernel", skipped);
    }
    if arguments.suite.includes(Suite::Kernels) {
        suites::kernels::run(&context, &mut results)?;
    }
    if arguments.suite.includes(Suite::Train) {
        suites::train::run(&context, &mut results)?;
    }
    if arguments.suite.includes(Suite::Coco) {
        suites::coco::run(&context, &mut results)?;
    }
    eprintln!("ceilings again");
    let ceilings_after = probe.measure()?;
    conclude(machine, results, ceilings, ceilings_after, arguments)
}

/// Runs the suite of a GPU, without the CPU's ceilings.
fn run_on_gpu(arguments: &Arguments, machine: Machine) -> anyhow::Result<ExitCode> {
    let python = Python::find(machine.threads, Some("python3"))?;
    let mut results = SuiteResults::default();
    if let Err(reason) = &python {
        results.record_missing("PyTorch", reason);
    }
    let (single, ceilings) = (threads::single()?, Ceilings::default());
    let context = BenchContext {
        arguments,
        threads: machine.threads,
        single: &single,
        python: python.as_ref().ok(),
        ceilings: &ceilings,
    };
    suites::gpu::run(&context, &mut results)?;
    let none = Ceilings::default();
    conclude(machine, results, none.clone(), none, arguments)
}

/// Makes the report of a run, prints and writes it.
fn conclude(
    machine: Machine,
    results: SuiteResults,
    ceilings: Ceilings,
    ceilings_after: Ceilings,
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let report = Report {
        command: std::env::args().collect(),
        finished: now.context("reading the clock")?.as_secs(),
        noise: Report::complaints(&ceilings, &ceilings_after, &results.races),
        machine,
        ceilings,
        ceilings_after,
        races: results.races,
        promises: results.promises,
        requirements: results.requirements,
        gpu: results.gpu,
        missing: results.missing,
    };
    finish(&report, arguments)
}

/// Prints the end of the report. Writes a quiet run to the files of `--json` and `--record`; a noisy run is
/// refused, or with `--allow-noise` written to that of `--json` only.
fn finish(report: &Report, arguments: &Arguments) -> anyhow::Result<ExitCode> {
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
            eprintln!("warning: this run was noisy, so its figures are not appended to a record");
            Ok(right)
        }
        (false, false) => {
            eprintln!(
                "refused: this run was noisy, so its figures were not written; run again on an idle \
                 machine, or add --allow-noise"
            );
            Ok(ExitCode::FAILURE)
        }
    }
}
