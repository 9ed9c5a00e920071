//! Can the engine that was asked for do what was asked of it?

use anyhow::Context;
use candle_core::Device;
use uard_attention::{Engine, Error, Precision, Running};

use crate::exit::{Failed, wrong};
use crate::terminal::note;

/// What runs when an engine is asked for by `--kernel` and a precision by `--precision`, before
/// anything is read for it; says when another engine runs than was named.
///
/// Refuses an engine that this machine lacks, and a precision that the engine has not.
pub fn open(
    engine: Engine,
    precision: Option<Precision>,
    device: &Device,
) -> anyhow::Result<Running> {
    let running = match engine.open(precision, device) {
        Ok(running) => running,
        Err(error @ Error::PrecisionMissing { asked, .. }) => {
            let asked = format!("--kernel {engine} --precision {asked}");
            return Err(wrong(format!("{asked}: {error}")));
        }
        Err(error @ Error::NotBuilt { .. }) => {
            return Err(Failed(format!("--kernel {error}")).into());
        }
        #[cfg(feature = "cuda-kernels")]
        Err(error @ Error::Gpu(_)) => {
            return Err(error).with_context(|| format!("--kernel {engine} cannot run"));
        }
        Err(error) => return Err(wrong(error.to_string())),
    };
    if let Some(missing) = running.fallback() {
        note(&format!("{missing}; {} runs instead", running.engine()));
    }
    Ok(running)
}
