//! Updates an index from folders of photos: finds what is new, changed, moved and removed, and encodes
//! what must be encoded.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use uard_data::store::Share;
use uard_features::backbone::PhotoLimits;
use uard_features::extract::Encoding;
use uard_search::{PhotoFile, Scan, ScanProblem, UpdatePlan, Writer};

use super::batch::{Batch, WrittenCounts};
use super::model::{EncoderChoice, IndexModel, LoadedEncoder, expect_encoder};
use super::photo;
use super::report::{Changes, Updated};
use crate::exit::wrong;
use crate::terminal::{bar_of_photos, photos_a_second};

/// How many problems of a scan an error quotes.
const QUOTED: usize = 3;

/// Folders of photos, and the index that they are kept in.
pub struct PhotoFolders<'a> {
    /// The folders and single photos, as paths without links (`Path::canonicalize`).
    pub roots: Vec<PathBuf>,
    /// The model of the index.
    pub model: IndexModel,
    /// Which photos are decoded.
    pub limits: PhotoLimits,
    /// Takes only one of several parts of the photos. Which part a photo belongs to is in its path, so that
    /// new photos change no other.
    pub part: Option<Share>,
    /// Ends the update after the batch that is being encoded, when it is set.
    pub stop: &'a AtomicBool,
}

/// The encoder of photos of a model, which is loaded when the first photo needs it. It is used with one model
/// only.
pub struct LazyEncoder {
    choice: EncoderChoice,
    loaded: Option<LoadedEncoder>,
}

impl From<EncoderChoice> for LazyEncoder {
    fn from(choice: EncoderChoice) -> Self {
        Self {
            choice,
            loaded: None,
        }
    }
}

/// What became of the files that had to be encoded.
#[derive(Default)]
struct EncodedFiles {
    written: WrittenCounts,
    /// Files that are left for the next update, because this one was stopped.
    remaining: usize,
    /// The speed in words.
    speed: String,
}

impl PhotoFolders<'_> {
    /// Makes the index equal to the folders. An index that does not exist is created.
    ///
    /// When it is stopped, the photos that were encoded are written.
    pub fn update(&self, encoder: &mut LazyEncoder) -> anyhow::Result<Updated> {
        let mut scan = self.scan()?;
        scan.files.retain(|file| self.is_in_part(&file.path));
        let name = || Ok(encoder.load(&self.model, &self.roots)?.name.clone());
        let mut writer = self.model.writer(name)?;
        let mut plan = writer.index().plan(&scan)?;
        // The photos of other parts may be in the same index.
        plan.removed.retain(|path| self.is_in_part(path));
        let removed = apply_moves(&plan, &mut writer)?;
        let files = [plan.new, plan.changed].concat();
        let encoded = match files.is_empty() {
            true => EncodedFiles::default(),
            false => self.encode(encoder, &files, &mut writer)?,
        };
        let mut unreadable = writer.index().unreadable()?;
        let is_given = |path: &Path| self.roots.iter().any(|root| path.starts_with(root));
        unreadable.retain(|photo| is_given(&photo.file.path));
        Ok(Updated {
            changes: Changes {
                new: encoded.written.new,
                changed: encoded.written.changed,
                moved: plan.moved.len(),
                removed,
                unchanged: plan.unchanged,
                unreadable: encoded.written.unreadable,
            },
            photos: writer.index().size()?.photos,
            remaining: encoded.remaining,
            speed: encoded.speed,
            unreadable,
            problems: [scan.unread, scan.skipped].concat(),
        })
    }

    fn is_in_part(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_encoded_bytes();
        self.part.is_none_or(|part| part.holds(bytes))
    }

    /// Lists the photos in the folders. A folder without photos counts as unread, so that the photos of
    /// a disk that is not mounted stay indexed.
    fn scan(&self) -> anyhow::Result<Scan> {
        let mut scan = Scan::folders(&self.roots);
        if scan.files.is_empty() {
            return Err(nothing_found(&self.roots, &scan));
        }
        for root in &self.roots {
            // Files are sorted, and a folder comes just before what it holds.
            let next = scan.files.partition_point(|file| file.path < *root);
            let holds_photos = scan
                .files
                .get(next)
                .is_some_and(|file| file.path.starts_with(root));
            if root.is_dir() && !holds_photos {
                scan.unread.push(ScanProblem {
                    path: root.clone(),
                    reason:
                        "no photo is there; photos that were indexed there stay in the index, and \
                             `uard index --remove` removes them"
                            .to_owned(),
                });
            }
        }
        Ok(scan)
    }

    fn encode(
        &self,
        encoder: &mut LazyEncoder,
        files: &[PhotoFile],
        writer: &mut Writer,
    ) -> anyhow::Result<EncodedFiles> {
        let encoder = encoder.load(&self.model, &self.roots)?;
        expect_encoder(writer.index(), self.model.folder(), &encoder.name)?;
        encoder.choice.remember(self.model.folder())?;
        let bar = bar_of_photos(files.len(), "indexing");
        let started = Instant::now();
        let mut batch = Batch::new(writer, &encoder.model);
        let mut done = 0;
        let encoding = Encoding {
            encoder: encoder.network.as_ref(),
            stop: self.stop,
        };
        let limits = self.limits;
        let decode = |file: &PhotoFile| photo::read(&file.path, limits);
        let ran = encoding.run(files, decode, |encoded| {
            done += encoded.len();
            bar.set_position(done as u64);
            bar.set_message(photos_a_second(done, started));
            encoded
                .into_iter()
                .try_for_each(|outcome| batch.add_outcome(outcome))
        });
        bar.finish_and_clear();
        // What was encoded before an error is kept.
        let written = batch.finish();
        ran?;
        Ok(EncodedFiles {
            written: written?,
            remaining: files.len() - done,
            speed: photos_a_second(done, started),
        })
    }
}

impl LazyEncoder {
    fn load(&mut self, model: &IndexModel, roots: &[PathBuf]) -> anyhow::Result<&LoadedEncoder> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => {
                let folder = roots.first().map_or(Path::new(""), PathBuf::as_path);
                let choice = self.choice.or_remembered(model.folder())?;
                LoadedEncoder::load(model.checkpoint(), &choice, folder)?
            }
        };
        Ok(self.loaded.insert(loaded))
    }
}

/// Moves and removes photos, and returns how many were removed.
fn apply_moves(plan: &UpdatePlan, writer: &mut Writer) -> anyhow::Result<usize> {
    if !plan.moved.is_empty() {
        writer.move_photos(&plan.moved)?;
    }
    match plan.removed.is_empty() {
        true => Ok(0),
        false => Ok(writer.remove(&plan.removed)?),
    }
}

fn nothing_found(roots: &[PathBuf], scan: &Scan) -> anyhow::Error {
    let roots: Vec<String> = roots
        .iter()
        .map(|root| root.display().to_string())
        .collect();
    let problems = scan.unread.iter().chain(&scan.skipped).take(QUOTED);
    let problems: String = problems.map(|problem| format!("; {problem}")).collect();
    wrong(format!(
        "{}: no photo was found; expected files that end in jpg, jpeg, png, webp or gif{problems}",
        roots.join(", ")
    ))
}
