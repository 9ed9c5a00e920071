//! How fast is COCO?
use super::{Found, Setting};
use uard_attention::Precision;
/// Runs.
pub fn run(_: &Setting, _: &mut Found) -> anyhow::Result<()> {
    Ok(())
}
/// Serves.
pub fn serve(_: Precision) -> anyhow::Result<()> {
    Ok(())
}
