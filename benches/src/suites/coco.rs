//! How fast is COCO?
use super::{Found, Setting};
/// Runs.
pub fn run(_: &Setting, _: &mut Found) -> anyhow::Result<()> {
    Ok(())
}
/// Serves.
pub fn serve() -> anyhow::Result<()> {
    Ok(())
}
