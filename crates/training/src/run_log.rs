//! The log of a run, `log.jsonl`: one JSON object a line for each step and each epoch.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};
use uard_report::record::LogLine;

const FILE: &str = "log.jsonl";

/// The open file `log.jsonl` of a run; each line is written when its step or epoch ends.
#[derive(Debug)]
pub struct RunLog {
    file: File,
    path: PathBuf,
}

impl RunLog {
    /// Starts an empty log in a run directory.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(run: &Path) -> Result<Self> {
        Self::with_lines(run.join(FILE), &[])
    }

    /// Continues a log at a checkpoint: keeps steps up to `step` and the first `epochs` epochs, and
    /// removes later lines and an incomplete last line. Returns the lines that were kept.
    ///
    /// # Errors
    /// When the file cannot be read or written. If there is no log, it starts empty.
    pub fn resume(run: &Path, step: usize, epochs: usize) -> Result<(Self, Vec<LogLine>)> {
        let path = run.join(FILE);
        let lines: Vec<LogLine> = match uard_files::read(&path) {
            Ok(bytes) => whole_lines(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(&path, "read")(error)),
        };
        let kept: Vec<LogLine> = lines
            .into_iter()
            .filter(|line| match line {
                LogLine::Step(record) => record.step <= step,
                LogLine::Epoch(record) => record.epoch <= epochs,
            })
            .collect();
        Ok((Self::with_lines(path, &kept)?, kept))
    }

    /// Replaces the file by one with these lines, and opens it for appending.
    fn with_lines(path: PathBuf, lines: &[LogLine]) -> Result<Self> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&json_line(line, &path)?);
        }
        uard_files::write(&path, text).map_err(Error::io(&path, "write"))?;
        let file = File::options().append(true).open(&path);
        let file = file.map_err(Error::io(&path, "open"))?;
        Ok(Self { file, path })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &LogLine) -> Result<()> {
        let text = json_line(line, &self.path)?;
        self.file
            .write_all(text.as_bytes())
            .map_err(Error::io(&self.path, "write"))
    }

    /// Waits until all lines are on disk. Called before a checkpoint is written, so that the log of
    /// a resumed run holds every step before its checkpoint.
    ///
    /// # Errors
    /// When the file cannot be synced.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(Error::io(&self.path, "write"))
    }
}

/// The lines before the first that cannot be parsed.
fn whole_lines(bytes: &[u8]) -> Vec<LogLine> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .map_while(|line| serde_json::from_str(line).ok())
        .collect()
}

fn json_line(line: &LogLine, path: &Path) -> Result<String> {
    let text = serde_json::to_string(line)
        .map_err(|error| Error::io(path, "write")(std::io::Error::other(error)))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use uard_report::record::StepRecord;

    fn step(step: usize) -> LogLine {
        LogLine::Step(StepRecord {
            epoch: 1,
            step,
            loss: 0.1 + step as f64,
            threshold: 0.2,
            learning_rate: 5e-4,
            gradient_norm: 1.0,
            seconds: 0.5,
        })
    }

    #[test]
    fn a_resumed_log_drops_the_lines_after_the_checkpoint() {
        let run = tempfile::tempdir().unwrap();
        let mut log = RunLog::create(run.path()).unwrap();
        for number in 1..=5 {
            log.append(&step(number)).unwrap();
        }
        log.file.write_all(b"{\"event\":\"st").unwrap();
        let (mut log, kept) = RunLog::resume(run.path(), 3, 0).unwrap();
        assert_eq!(kept, [step(1), step(2), step(3)]);
        log.append(&step(4)).unwrap();
        let (_, kept) = RunLog::resume(run.path(), 4, 0).unwrap();
        assert_eq!(kept, [step(1), step(2), step(3), step(4)]);
    }

    #[test]
    fn a_missing_log_starts_empty() {
        let run = tempfile::tempdir().unwrap();
        let (_, kept) = RunLog::resume(run.path(), 3, 1).unwrap();
        assert_eq!(kept, []);
    }
}
