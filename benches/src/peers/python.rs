//! PyTorch as a peer, if `UARD_BENCH_PYTHON` names a Python that has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use tempfile::TempDir;
use uard_core::{Regions, Words};
use uard_data::npy::{write_f32, write_i64};

use crate::workers::Worker;

const VARIABLE: &str = "UARD_BENCH_PYTHON";

const SCRIPTS: [(&str, &str); 3] = [
    ("scan.py", include_str!("../../peers/scan.py")),
    ("matching.py", include_str!("../../peers/matching.py")),
    ("training.py", include_str!("../../peers/training.py")),
];

/// A Python that has torch, and a folder through which arrays are exchanged.
pub struct Python {
    program: PathBuf,
    folder: TempDir,
    threads: usize,
}

impl Python {
    /// Starts the Python that `UARD_BENCH_PYTHON` names, or without this variable `default`, and
    /// checks that it has torch and numpy. The inner error is the reason why PyTorch takes no part.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn find(threads: usize, default: Option<&str>) -> anyhow::Result<Result<Self, String>> {
        let program = std::env::var_os(VARIABLE).or_else(|| default.map(Into::into));
        let Some(program) = program.map(PathBuf::from) else {
            let reason = format!("set {VARIABLE} to a Python that has torch and numpy");
            return Ok(Err(reason));
        };
        let imported = Command::new(&program)
            .args(["-c", "import torch, numpy"])
            .output();
        let reason = match imported {
            Ok(output) if output.status.success() => None,
            Ok(output) => String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .map(str::to_owned)
                .or_else(|| Some(output.status.to_string())),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            return Ok(Err(format!("{}: {reason}", program.display())));
        }
        let folder = TempDir::new().context("making a folder for arrays")?;
        for (name, text) in SCRIPTS {
            let script = folder.path().join(name);
            std::fs::write(&script, text)
                .with_context(|| format!("writing {}", script.display()))?;
        }
        Ok(Ok(Self {
            program,
            folder,
            threads,
        }))
    }

    /// Writes regions and words to the arrays that workers read when they start.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_arrays(&self, regions: &Regions, words: &Words) -> anyhow::Result<()> {
        for (name, rows) in [("regions", regions.rows()), ("words", words.rows())] {
            let (entries, longest, width) = rows.dims3()?;
            let values = rows.flatten_all()?.to_vec1::<f32>()?;
            write_f32(&self.file(name), &[entries, longest, width], &values)?;
        }
        self.write_counts(words.counts())
    }

    /// Writes the number of words of each caption.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_counts(&self, counts: &[usize]) -> anyhow::Result<()> {
        let counts: Vec<i64> = counts.iter().map(|&count| count as i64).collect();
        Ok(write_i64(&self.file("counts"), &[counts.len()], &counts)?)
    }

    /// Starts scan.py with its argument FORM, and waits until it has read its arrays.
    ///
    /// # Errors
    /// If it fails to start.
    pub fn start(&self, form: &str) -> anyhow::Result<Worker> {
        self.start_script("scan.py", form, &[self.threads.to_string()])
    }

    /// Starts one of the scripts with its argument FORM, and further arguments after the folder.
    ///
    /// # Errors
    /// If it fails to start.
    pub fn start_script(
        &self,
        script: &str,
        form: &str,
        arguments: &[String],
    ) -> anyhow::Result<Worker> {
        let mut command = Command::new(&self.program);
        command
            .arg("-B")
            .arg(self.folder.path().join(script))
            .arg(form)
            .arg(self.folder.path())
            .args(arguments)
            .env(
                "TORCHINDUCTOR_CACHE_DIR",
                self.folder.path().join("compiled"),
            );
        Worker::start(&mut command).with_context(|| format!("the form `{form}` of {script}"))
    }

    /// The similarities of a worker's last round, row-major [I, C].
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_similarities(&self, worker: &mut Worker) -> anyhow::Result<Vec<f32>> {
        let path = self.file("found");
        worker.save(&path)?;
        Ok(uard_data::npy::read_f32(&path)?.values)
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name).with_extension("npy")
    }
}
