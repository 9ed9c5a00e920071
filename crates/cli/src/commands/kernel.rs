//! Opens the engine of `--kernel` in the precision of `--precision`.

use anyhow::{Context, bail};
use candle_core::Device;
use uard_attention::{Engine, Error, Precision, Running};

use crate::exit::wrong;
use crate::terminal::note;

/// Opens an engine before any input is read, and prints a note if another engine replaces it.
///
/// Refuses an engine that cannot run on this machine, and a precision that the engine lacks.
pub fn open(
    engine: Engine,
    precision: Option<Precision>,
    device: &Device,
) -> anyhow::Result<Running> {
    let running = match engine.open(precision, device) {
        Ok(running) => running,
        Err(error @ Error::PrecisionMissing { asked, .. }) => {
            return Err(wrong(format!(
                "--kernel {engine} --precision {asked}: {error}"
            )));
        }
        Err(error @ Error::NotBuilt { .. }) => bail!("--kernel {error}"),
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
