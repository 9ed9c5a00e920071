//! The exit code of an error, and the sentence that a person reads.
//!
//! | code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: the device, the system, or a model that diverged |
//! | 2 | wrong usage or input: what was given, or a place that was given and cannot be written |
//! | 130 | stopped by Ctrl-C |

use std::fmt;
use std::io::{self, ErrorKind};

use uard_files::FileError;
use uard_hub::HubError;

use crate::terminal::printable;

/// The exit code of a run that was stopped, as shells have it for an interrupt.
pub const STOPPED: u8 = 130;

const FAILED: u8 = 1;
/// Wrong usage or input.
pub const WRONG: u8 = 2;

/// What CUDA and cuBLAS say inside of candle's errors.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

const TOO_LITTLE_MEMORY: &str = "the GPU has too little memory: close what else uses it, take \
    smaller batches (--set training.batch=N) or more parts of one (--set training.accumulation=N), \
    or use --device cpu";

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Whoever gave the arguments or files can mend it.
    Input,
    /// The device, the system, or this program.
    System,
}

/// Arguments or files that do not fit, found by this crate itself.
#[derive(Debug)]
pub struct WrongInput(pub String);

impl fmt::Display for WrongInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for WrongInput {}

/// What did not work out, through no fault of the arguments or files.
#[derive(Debug)]
pub struct Failed(pub String);

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// An error for `bail`-like use: wrong usage or input.
pub fn wrong(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(WrongInput(message.into()))
}

/// The exit code of an error: that of the first of its causes whose fault is known.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.chain().find_map(fault) {
        Some(Fault::Input) => WRONG,
        Some(Fault::System) | None => FAILED,
    }
}

/// The error with its causes, each said once.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = match cause.to_string() {
            cause if OUT_OF_MEMORY.iter().any(|said| cause.contains(said)) => {
                TOO_LITTLE_MEMORY.to_owned()
            }
            cause => cause,
        };
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    printable(&shortened(text))
}

/// A text that quotes a whole file, without its middle.
fn shortened(text: String) -> String {
    /// Letters that stay at either end.
    const KEPT: usize = 1000;
    let count = text.chars().count();
    if count <= 2 * KEPT {
        return text;
    }
    let first: String = text.chars().take(KEPT).collect();
    let last: String = text.chars().skip(count - KEPT).collect();
    format!("{first} … ({} letters) … {last}", count - 2 * KEPT)
}

fn fault(cause: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    if cause.is::<WrongInput>()
        || cause.is::<uard_eval::Error>()
        || cause.is::<uard_relevance::Error>()
    {
        return Some(Fault::Input);
    }
    None.or_else(|| cause.downcast_ref().map(of_training))
        .or_else(|| cause.downcast_ref().map(of_model))
        .or_else(|| cause.downcast_ref().map(of_features))
        .or_else(|| cause.downcast_ref().map(of_hub))
        .or_else(|| cause.downcast_ref().map(of_data))
        .or_else(|| cause.downcast_ref().map(of_file))
        .or_else(|| cause.downcast_ref().map(of_attention))
        .or_else(|| cause.downcast_ref().map(of_core))
        .or_else(|| cause.downcast_ref().map(of_io))
}

fn of_training(error: &uard_training::Error) -> Fault {
    use uard_training::Error;
    match error {
        Error::Model(error) => of_model(error),
        Error::File(error) => of_file(error),
        Error::NonFinite { .. } | Error::NoGradient { .. } | Error::Candle(_) => Fault::System,
        Error::Core(error) => of_core(error),
        Error::Features(error) => of_features(error),
        Error::Data(error) => of_data(error),
        Error::Attention(error) => of_attention(error),
        _ => Fault::Input,
    }
}

fn of_model(error: &uard_model::Error) -> Fault {
    use uard_model::Error;
    match error {
        Error::SaveFailed { source, .. } => of_io(source),
        Error::File(error) => of_file(error),
        Error::Core(error) => of_core(error),
        Error::Features(error) => of_features(error),
        Error::Data(error) => of_data(error),
        Error::Attention(error) => of_attention(error),
        Error::Candle(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn of_features(error: &uard_features::Error) -> Fault {
    use uard_features::Error;
    match error {
        Error::File(error) => of_file(error),
        Error::Data(error) => of_data(error),
        Error::Hub(error) => of_hub(error),
        Error::Core(error) => of_core(error),
        Error::Candle(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn of_file(error: &FileError) -> Fault {
    match error {
        FileError::Io { source, .. } => of_io(source),
        _ => Fault::Input,
    }
}

fn of_data(error: &uard_data::Error) -> Fault {
    match error {
        uard_data::Error::File(error) => of_file(error),
        _ => Fault::Input,
    }
}

/// Names, tokens and offline copies are given; networks and other programs are as they are.
fn of_hub(error: &uard_hub::Error) -> Fault {
    use uard_hub::Error;
    match error {
        Error::File(error) => of_file(error),
        Error::Hub(
            HubError::Unreachable { .. }
            | HubError::Answer { .. }
            | HubError::Interrupted { .. }
            | HubError::Busy { .. }
            | HubError::Truncated { .. }
            | HubError::Changed { .. },
        )
        | Error::Candle(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn of_attention(error: &uard_attention::Error) -> Fault {
    use uard_attention::Error;
    match error {
        Error::Core(error) => of_core(error),
        Error::File(error) => of_file(error),
        Error::Candle(_) => Fault::System,
        #[cfg(feature = "cuda-kernels")]
        Error::Gpu(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn of_core(error: &uard_core::Error) -> Fault {
    match error {
        uard_core::Error::Candle(_) | uard_core::Error::DeviceUnavailable { .. } => Fault::System,
        #[cfg(feature = "cuda-kernels")]
        uard_core::Error::Gpu(_) => Fault::System,
        _ => Fault::Input,
    }
}

/// A path that cannot be used, a full disk included, is mended by whoever named it.
fn of_io(error: &io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::ResourceBusy
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileTooLarge
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidData
        | ErrorKind::InvalidFilename
        | ErrorKind::UnexpectedEof => Fault::Input,
        _ => Fault::System,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn each_cause_is_said_once() {
        let source = io::Error::new(ErrorKind::NotFound, "no such file");
        let inner = FileError::Io {
            action: "read",
            path: "a.npy".into(),
            source,
        };
        let error = anyhow::Error::new(uard_training::Error::from(inner)).context("scoring");
        assert_eq!(sentence(&error), "scoring: cannot read a.npy: no such file");
    }

    #[test]
    fn a_sentence_that_quotes_a_file_is_shortened() {
        let said = sentence(&anyhow::anyhow!(
            "found {}, expected a",
            "x".repeat(100_000)
        ));
        assert!(said.starts_with("found xxx") && said.ends_with("xx, expected a"));
        assert!(said.chars().count() < 2_100, "{}", said.len());
    }

    #[test]
    fn control_characters_of_a_file_do_not_reach_the_terminal() {
        let error = anyhow::anyhow!("found `\u{1b}[31mred\u{7}`\nin line 2");
        assert_eq!(sentence(&error), "found `\\u{1b}[31mred\\u{7}`\nin line 2");
    }

    #[test]
    fn too_little_memory_of_a_gpu_is_said_with_advice() {
        for cause in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, …)",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
        ] {
            let inner = candle_core::Error::Msg(cause.to_owned());
            let error = anyhow::Error::new(uard_training::Error::Candle(inner)).context("step 3");
            let said = sentence(&error);
            assert!(
                said.starts_with("step 3: the GPU has too little memory"),
                "{said}"
            );
            assert!(
                said.contains("--device cpu") && !said.contains("Error("),
                "{said}"
            );
            assert_eq!(code(&error), FAILED);
        }
    }

    #[test]
    fn the_fault_is_found_below_contexts_and_wrapping_errors() {
        let kind = |kind: ErrorKind| {
            let source = io::Error::from(kind);
            let inner = FileError::Io {
                action: "read",
                path: "a.npy".into(),
                source,
            };
            let wrapped = uard_training::Error::Features(uard_features::Error::Data(inner.into()));
            code(&Err::<(), _>(wrapped).context("training").unwrap_err())
        };
        assert_eq!(kind(ErrorKind::NotFound), WRONG);
        assert_eq!(kind(ErrorKind::StorageFull), WRONG);
        assert_eq!(kind(ErrorKind::Other), FAILED);
    }

    #[test]
    fn unknown_errors_and_diverged_models_have_failed() {
        assert_eq!(code(&anyhow::anyhow!("something else")), FAILED);
        let diverged = uard_training::Error::NonFinite {
            tensor: "loss".to_owned(),
            step: 3,
        };
        assert_eq!(code(&anyhow::Error::new(diverged)), FAILED);
    }
}
