//! The exit code and the printed message of an error.
//!
//! | code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: the device, the system, or a model that diverged |
//! | 2 | wrong usage or input: arguments, files, or an output path that cannot be written |
//! | 130 | stopped by Ctrl-C |

use std::io::{self, ErrorKind};

use uard_files::FileError;
use uard_hub::HubError;

use crate::terminal::printable;

/// The exit code of a run that Ctrl-C stopped: the one that shells use for an interrupt.
pub const STOPPED: u8 = 130;

const FAILED: u8 = 1;
/// The exit code of wrong usage or input.
pub const WRONG: u8 = 2;

/// The codes of CUDA and cuBLAS for too little memory, which stand in the text of candle's errors.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

const TOO_LITTLE_MEMORY: &str = "the GPU has too little memory: close other programs that use it, \
    train with smaller batches (--set training.batch=N) or with each batch in more parts (--set \
    training.accumulation=N), or use --device cpu";

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The fault of the user, who can mend it by other arguments or files.
    Input,
    /// The fault of the device, the system or this program.
    System,
}

/// An error in the arguments or files that this crate itself found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongInput(pub String);

/// A [`WrongInput`] error with this message.
pub fn wrong(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(WrongInput(message.into()))
}

/// The exit code of an error, decided by the first error in its chain of causes with a known [`Fault`].
pub fn code(error: &anyhow::Error) -> u8 {
    match error.chain().find_map(fault) {
        Some(Fault::Input) => WRONG,
        Some(Fault::System) | None => FAILED,
    }
}

/// The error and its causes in one line; a cause that repeats earlier text is left out.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = match cause.to_string() {
            cause if OUT_OF_MEMORY.iter().any(|code| cause.contains(code)) => {
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

/// Replaces the middle of a text of more than 2,000 characters, such as one that quotes a whole file.
fn shortened(text: String) -> String {
    /// Characters that stay at either end.
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
    None.or_else(|| cause.downcast_ref().map(fault_of_training))
        .or_else(|| cause.downcast_ref().map(fault_of_model))
        .or_else(|| cause.downcast_ref().map(fault_of_features))
        .or_else(|| cause.downcast_ref().map(fault_of_hub))
        .or_else(|| cause.downcast_ref().map(fault_of_data))
        .or_else(|| cause.downcast_ref().map(fault_of_file))
        .or_else(|| cause.downcast_ref().map(fault_of_search))
        .or_else(|| cause.downcast_ref().map(fault_of_service))
        .or_else(|| cause.downcast_ref().map(fault_of_attention))
        .or_else(|| cause.downcast_ref().map(fault_of_core))
        .or_else(|| cause.downcast_ref().map(fault_of_io))
}

fn fault_of_training(error: &uard_training::Error) -> Fault {
    use uard_training::Error;
    match error {
        Error::Model(error) => fault_of_model(error),
        Error::File(error) => fault_of_file(error),
        Error::NonFinite { .. } | Error::NoGradient { .. } | Error::Candle(_) => Fault::System,
        #[cfg(feature = "cuda-kernels")]
        Error::Gpu(_) => Fault::System,
        Error::Core(error) => fault_of_core(error),
        Error::Features(error) => fault_of_features(error),
        Error::Data(error) => fault_of_data(error),
        Error::Attention(error) => fault_of_attention(error),
        _ => Fault::Input,
    }
}

fn fault_of_model(error: &uard_model::Error) -> Fault {
    use uard_model::Error;
    match error {
        Error::SaveFailed { source, .. } => fault_of_io(source),
        Error::File(error) => fault_of_file(error),
        Error::Core(error) => fault_of_core(error),
        Error::Features(error) => fault_of_features(error),
        Error::Data(error) => fault_of_data(error),
        Error::Attention(error) => fault_of_attention(error),
        Error::Candle(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn fault_of_features(error: &uard_features::Error) -> Fault {
    use uard_features::Error;
    match error {
        Error::File(error) => fault_of_file(error),
        Error::Data(error) => fault_of_data(error),
        Error::Hub(error) => fault_of_hub(error),
        Error::Core(error) => fault_of_core(error),
        Error::Candle(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn fault_of_file(error: &FileError) -> Fault {
    match error {
        FileError::Io { source, .. } => fault_of_io(source),
        _ => Fault::Input,
    }
}

fn fault_of_data(error: &uard_data::Error) -> Fault {
    match error {
        uard_data::Error::File(error) => fault_of_file(error),
        _ => Fault::Input,
    }
}

/// The network and other programs are the system's fault; names, tokens and offline copies are the
/// user's.
fn fault_of_hub(error: &uard_hub::Error) -> Fault {
    use uard_hub::Error;
    match error {
        Error::File(error) => fault_of_file(error),
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

/// SQLite's errors are those of a full disk or a damaged file.
fn fault_of_search(error: &uard_search::Error) -> Fault {
    use uard_search::Error;
    match error {
        Error::File(error) => fault_of_file(error),
        Error::Packed(error) => fault_of_attention(error),
        Error::Model(error) => fault_of_model(error),
        Error::Locked { source, .. } => fault_of_io(source),
        _ => Fault::Input,
    }
}

fn fault_of_service(error: &uard_serve::Error) -> Fault {
    use uard_serve::Error;
    match error {
        Error::Search(error) => fault_of_search(error),
        Error::Run { .. } => Fault::System,
        _ => Fault::Input,
    }
}

fn fault_of_attention(error: &uard_attention::Error) -> Fault {
    use uard_attention::Error;
    match error {
        Error::Core(error) => fault_of_core(error),
        Error::File(error) => fault_of_file(error),
        Error::Candle(_) => Fault::System,
        #[cfg(feature = "cuda-kernels")]
        Error::Gpu(_) => Fault::System,
        _ => Fault::Input,
    }
}

fn fault_of_core(error: &uard_core::Error) -> Fault {
    match error {
        uard_core::Error::Candle(_) | uard_core::Error::DeviceUnavailable { .. } => Fault::System,
        #[cfg(feature = "cuda-kernels")]
        uard_core::Error::Gpu(_) => Fault::System,
        _ => Fault::Input,
    }
}

/// Errors that another path or a free disk would mend are the user's fault, all others the system's.
fn fault_of_io(error: &io::Error) -> Fault {
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
    fn each_cause_is_printed_once() {
        let source = io::Error::new(ErrorKind::NotFound, "no such file");
        let inner = FileError::Io {
            action: "read",
            path: "a.npy".into(),
            source,
        };
        let error = anyhow::Error::new(uard_training::Error::from(inner)).context("scoring");
        assert_eq!(message(&error), "scoring: cannot read a.npy: no such file");
    }

    #[test]
    fn a_message_that_quotes_a_file_is_shortened() {
        let text = message(&anyhow::anyhow!(
            "found {}, expected a",
            "x".repeat(100_000)
        ));
        assert!(text.starts_with("found xxx") && text.ends_with("xx, expected a"));
        assert!(text.chars().count() < 2_100, "{}", text.len());
    }

    #[test]
    fn control_characters_of_a_file_do_not_reach_the_terminal() {
        let error = anyhow::anyhow!("found `\u{1b}[31mred\u{7}`\nin line 2");
        assert_eq!(message(&error), "found `\\u{1b}[31mred\\u{7}`\nin line 2");
    }

    #[test]
    fn too_little_memory_of_a_gpu_is_reported_with_advice() {
        for cause in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, …)",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
        ] {
            let inner = candle_core::Error::Msg(cause.to_owned());
            let error = anyhow::Error::new(uard_training::Error::Candle(inner)).context("step 3");
            let text = message(&error);
            assert!(
                text.starts_with("step 3: the GPU has too little memory"),
                "{text}"
            );
            assert!(
                text.contains("--device cpu") && !text.contains("Error("),
                "{text}"
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

    #[cfg(feature = "cuda-kernels")]
    #[test]
    fn a_gpu_that_fails_while_training_is_not_the_users_fault() {
        let failed = uard_core::gpu::GpuError::Failed {
            action: "copy".to_owned(),
            cause: "CUDA_ERROR_ECC_UNCORRECTABLE".to_owned(),
        };
        let error = uard_training::Error::from(failed);
        assert_eq!(code(&anyhow::Error::new(error)), FAILED);
    }
}
