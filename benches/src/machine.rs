//! The machine of a run: processor, memory, instruction sets, commit and compiler; and the memory of this
//! process.

use std::fmt;
use std::process::Command;

use serde::Serialize;
use uard_linalg::panels::{InstructionSet, Instructions};

/// The properties of the machine and the build that figures depend on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Name, family and model of the processor.
    pub processor: String,
    /// Threads that this process may run at once.
    pub cores: usize,
    /// Threads that our contestants and the peers use.
    pub threads: usize,
    /// Memory in GiB.
    pub memory_gib: Option<f64>,
    /// Instruction sets that have kernels and that this machine runs.
    pub instruction_sets: Vec<&'static str>,
    /// Instruction sets that this machine does not run, with the reason.
    pub skipped: Vec<String>,
    /// The commit, with `+changes` if files differ from it.
    pub commit: String,
    /// The compiler that is on the path.
    pub rustc: String,
    /// The operating system's name and release.
    pub system: String,
}

impl Machine {
    /// Reads the properties from the operating system, git and rustc; what cannot be read is `unknown`.
    pub fn find(threads: usize) -> Self {
        let (mut instruction_sets, mut skipped) = (Vec::new(), Vec::new());
        for set in InstructionSet::ALL {
            match Instructions::detect(set) {
                Ok(_) => instruction_sets.push(set.name()),
                Err(unavailable) => skipped.push(unavailable.to_string()),
            }
        }
        Self {
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            threads,
            memory_gib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| kibibytes(&text))
                .map(|kib| kib as f64 / f64::from(1 << 20)),
            instruction_sets,
            skipped,
            commit: commit(),
            rustc: output_of("rustc", &["--version"]).unwrap_or_else(unknown),
            system: output_of("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.to_owned()),
        }
    }
}

impl fmt::Display for Machine {
    /// Writes each property on a line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let memory = self.memory_gib;
        let memory = memory.map_or_else(String::new, |gib| format!(", {gib:.0} GiB"));
        let (processor, cores) = (&self.processor, self.cores);
        writeln!(
            f,
            "machine   {processor}, {cores} cores{memory}, {}",
            self.system
        )?;
        writeln!(f, "sets      {}", self.instruction_sets.join(", "))?;
        writeln!(f, "threads   {}", self.threads)?;
        writeln!(f, "built     commit {}, {}", self.commit, self.rustc)?;
        for skipped in &self.skipped {
            writeln!(f, "skipped   {skipped}")?;
        }
        Ok(())
    }
}

/// The resident memory of this process in KiB; `None` if the system does not report it.
pub fn resident_kib() -> Option<u64> {
    kibibytes(&field("/proc/self/status", "VmRSS")?)
}

/// Resets the peak of this process's memory, if the system can.
pub fn reset_peak() {
    let _unknown_here = std::fs::write("/proc/self/clear_refs", "5");
}

/// The peak resident memory of this process in KiB; `None` if the system does not report it.
pub fn peak_kib() -> Option<u64> {
    kibibytes(&field("/proc/self/status", "VmHWM")?)
}

/// The memory available to a new process in KiB; `None` if the system does not report it.
pub fn available_kib() -> Option<u64> {
    kibibytes(&field("/proc/meminfo", "MemAvailable")?)
}

fn processor() -> Option<String> {
    let part = |name| field("/proc/cpuinfo", name);
    let name = part("model name")?;
    match (part("cpu family"), part("model")) {
        (Some(family), Some(model)) => Some(format!("{name} family {family} model {model}")),
        _ => Some(name),
    }
}

fn commit() -> String {
    let Some(commit) = output_of("git", &["rev-parse", "--short", "HEAD"]) else {
        return unknown();
    };
    match output_of("git", &["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}+changes"),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The first value of a name in a file of `name: value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    value_in(&std::fs::read_to_string(path).ok()?, name)
}

fn value_in(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\nVmHWM:\t  1234 kB\n";
        assert_eq!(value_in(text, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(value_in(text, "model").as_deref(), Some("17"));
        assert_eq!(
            value_in(text, "VmHWM").and_then(|text| kibibytes(&text)),
            Some(1234)
        );
        assert_eq!(value_in(text, "cores"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_grows_with_touched_memory() {
        let before = peak_kib().unwrap();
        let touched = vec![1u8; 64 << 20];
        assert!(touched.iter().map(|&x| u64::from(x)).sum::<u64>() > 0);
        assert!(peak_kib().unwrap() >= before + (32 << 10));
    }
}
