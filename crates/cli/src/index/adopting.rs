//! Makes one index of several that the same model has made.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use uard_search::{AdoptionCounts, Error, Index, MODEL};

use super::model::{EncoderChoice, IndexModel, IndexOptions};
use super::report::{Changes, Updated};
use crate::exit::wrong;
use crate::terminal::{advance, bar};

/// Adds the photos of `others` to the index in `folder`. A new index gets model, encoder and precision of
/// the first.
pub fn adopt(folder: &Path, others: &[PathBuf], stop: &AtomicBool) -> anyhow::Result<Updated> {
    let Some(first) = others.first() else {
        return Err(wrong("expected one or more folders of indexes"));
    };
    let first = Index::open(first)?;
    for other in others {
        first.expect_alike(&Index::open(other)?)?;
    }
    let is_new = matches!(Index::open(folder), Err(Error::NoIndex { .. }));
    let model = IndexModel::open(IndexOptions {
        folder: folder.to_owned(),
        model: is_new.then(|| first.folder().join(MODEL)),
        precision: is_new.then_some(first.model().precision),
    })?;
    let mut writer = model.writer(|| Ok(first.model().encoder.clone()))?;
    if is_new {
        let choice = EncoderChoice::default().or_remembered(first.folder())?;
        choice.remember(folder)?;
    }
    let bar = bar(others.len(), "adopting");
    let mut on_index = |done: usize| advance(&bar, done, others.len());
    let adopted = writer.adopt(others, &mut on_index, stop);
    bar.finish_and_clear();
    let AdoptionCounts {
        new,
        changed,
        unchanged,
        unreadable,
        remaining,
    } = adopted?;
    Ok(Updated {
        changes: Changes {
            new,
            changed,
            unchanged,
            unreadable,
            ..Changes::default()
        },
        photos: writer.index().size()?.photos,
        remaining,
        speed: String::new(),
        unreadable: writer.index().unreadable()?,
        problems: Vec::new(),
    })
}
