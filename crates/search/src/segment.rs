//! Segments: files of packed regions that are written completely and never changed.
//!
//! A segment holds an image for each of its photos, with the photo's regions, and after them, in the same
//! order, as many images with one region, the mean of a photo's regions. Segments of earlier versions end
//! before the means.
//!
//! A segment is written under a hidden name and brought to disk, then renamed, then listed in the
//! database by a transaction. A segment that no transaction lists belongs to a writer that was
//! interrupted, and the next writer removes it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;
use uard_attention::PackedRegions;
use uard_attention::packed::RegionsBuilder;
use uard_core::Regions;
use uard_files::{FileError, UnfinishedFile};

use crate::index::ModelIdentity;
use crate::{Error, Result};

const NAME_START: &str = "segment-";
const NAME_END: &str = ".packed";

/// A moment in the work of a writer, at which tests look at the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterStep {
    /// Before the file of a segment is created.
    Create,
    /// Before some bytes of it are written.
    Write,
    /// Before it is brought to disk and renamed.
    Finish,
    /// After that.
    Finished,
    /// Before a transaction is committed.
    Commit,
    /// After that.
    Committed,
    /// Before a segment that the database does not list is removed.
    Remove,
    /// After that.
    Removed,
}

/// A function that tests run at every step of a writer: it looks at the folder, or lets the step
/// fail. Outside of tests there is none.
#[derive(Default)]
pub(crate) struct StepHook(pub Option<Box<dyn FnMut(WriterStep) -> io::Result<()> + Send>>);

impl fmt::Debug for StepHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("StepHook").finish_non_exhaustive()
    }
}

impl StepHook {
    /// Calls the function, if there is one.
    ///
    /// # Errors
    /// The function's error.
    pub fn run(&mut self, step: WriterStep) -> io::Result<()> {
        match &mut self.0 {
            Some(hook) => hook(step),
            None => Ok(()),
        }
    }
}

/// The path of a segment.
pub(crate) fn path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("{NAME_START}{number}{NAME_END}"))
}

/// A segment in memory.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    /// An image for each photo, then their means if they are stored.
    pub regions: PackedRegions,
    /// How many photos it was written with.
    pub photos: usize,
    /// The means of a segment without them, after they were asked for.
    computed: OnceLock<PackedRegions>,
}

impl Segment {
    /// Maps the segment at a path, which must have the width and precision of the index, and regions of
    /// `photos` photos.
    pub fn open(path: &Path, model: &ModelIdentity, photos: usize) -> Result<Self> {
        let regions = PackedRegions::open(path)?;
        let found = (regions.width(), regions.precision());
        if found != (model.width, model.precision) {
            return Err(Error::SegmentShape {
                path: path.to_owned(),
                expected: format!("width {} in {}", model.width, model.precision),
                found: format!("width {} in {}", found.0, found.1),
            });
        }
        let counts = regions.counts();
        let means = counts.get(photos..).unwrap_or_default();
        let is_whole = counts.len() == photos || means.len() == photos;
        match is_whole && means.iter().all(|&count| count == 1) {
            true => Ok(Self::new(path, regions, photos)),
            false => Err(Error::SegmentImages {
                path: path.to_owned(),
                photos,
                images: counts.len(),
            }),
        }
    }

    /// A segment whose number of images fits that of its photos.
    pub fn new(path: &Path, regions: PackedRegions, photos: usize) -> Self {
        Self {
            path: path.to_owned(),
            regions,
            photos,
            computed: OnceLock::new(),
        }
    }

    /// Whether the means are stored.
    pub fn has_means(&self) -> bool {
        self.regions.images() > self.photos
    }

    /// Images with one region, the mean of a photo's, and the first of them. Means that are not stored are
    /// computed by the first call, which reads all regions.
    ///
    /// # Errors
    /// When they are computed from damaged regions.
    pub fn means(&self) -> Result<Means<'_>> {
        if self.has_means() {
            return Ok(Means {
                packed: &self.regions,
                first: self.photos,
            });
        }
        let packed = match self.computed.get() {
            Some(packed) => packed,
            None => {
                let packed = self.packed_means(0..self.photos)?;
                self.computed.get_or_init(|| packed)
            }
        };
        Ok(Means { packed, first: 0 })
    }

    /// Computes the means of some photos.
    fn packed_means(&self, positions: Range<usize>) -> Result<PackedRegions> {
        let compute = || {
            let mean = |position| Ok(self.regions.image(position)?.means()?);
            let means = positions.into_par_iter().map(mean);
            let means: Vec<Regions> = means.collect::<Result<_, uard_attention::Error>>()?;
            let (width, precision) = (self.regions.width(), self.regions.precision());
            let mut packed = PackedRegions::builder(width, precision)?;
            for mean in &means {
                packed.push(mean)?;
            }
            Ok(packed.finish())
        };
        compute().map_err(|error: uard_attention::Error| Error::Means {
            path: self.path.clone(),
            cause: error.to_string(),
        })
    }
}

/// The mean of the regions of each photo of a segment, scaled to unit length.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    /// Images with one region.
    pub packed: &'a PackedRegions,
    /// The image of the first photo.
    pub first: usize,
}

/// Packs the regions of photos and their means for a new segment.
pub(crate) struct SegmentBuilder {
    regions: RegionsBuilder,
    means: RegionsBuilder,
    /// The number of regions of each photo.
    counts: Vec<usize>,
}

impl SegmentBuilder {
    /// A segment without photos.
    pub fn new(model: &ModelIdentity) -> Result<Self> {
        let builder = || PackedRegions::builder(model.width, model.precision);
        Ok(Self {
            regions: builder()?,
            means: builder()?,
            counts: Vec::new(),
        })
    }

    /// Adds the regions of photos. After an error the builder is of no use.
    ///
    /// # Errors
    /// When they have another width, or a number is not finite.
    pub fn push(&mut self, regions: &Regions) -> Result<()> {
        let means = regions.means().map_err(uard_attention::Error::from)?;
        self.regions.push(regions)?;
        self.means.push(&means)?;
        self.counts.extend(regions.counts());
        Ok(())
    }

    /// Adds the regions of a photo of another segment. After an error the builder is of no use.
    ///
    /// # Errors
    /// When they have another width or precision.
    pub fn push_photo(&mut self, segment: &Segment, position: usize) -> Result<()> {
        let means = &mut self.means;
        match segment.has_means() {
            true => means.push_packed(&segment.regions, &[segment.photos + position])?,
            false => means.push_packed(&segment.packed_means(position..position + 1)?, &[0])?,
        }
        self.regions.push_packed(&segment.regions, &[position])?;
        self.counts.push(segment.regions.counts()[position]);
        Ok(())
    }

    /// The number of regions of each photo.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The images of the photos, followed by their means.
    pub fn finish(mut self) -> Result<PackedRegions> {
        let means = self.means.finish();
        let all: Vec<usize> = (0..means.images()).collect();
        self.regions.push_packed(&means, &all)?;
        Ok(self.regions.finish())
    }
}

/// Writes a segment, brings it to disk and gives it its name. The database does not list it yet.
pub(crate) fn write(path: &Path, regions: &PackedRegions, hook: &mut StepHook) -> Result<()> {
    let written = write_steps(path, regions, hook);
    Ok(written.map_err(FileError::io(path, "write"))?)
}

fn write_steps(path: &Path, regions: &PackedRegions, hook: &mut StepHook) -> io::Result<()> {
    hook.run(WriterStep::Create)?;
    let mut file = UnfinishedFile::create(path)?;
    regions.write_to(HookedFile {
        file: &mut file,
        hook,
    })?;
    hook.run(WriterStep::Finish)?;
    file.finish()?;
    hook.run(WriterStep::Finished)
}

/// Removes the segments whose numbers are not `listed`.
pub(crate) fn remove_unlisted(
    folder: &Path,
    listed: &BTreeSet<i64>,
    hook: &mut StepHook,
) -> Result<()> {
    for (number, path) in find_all(folder)? {
        if !listed.contains(&number) {
            let mut run = |step| hook.run(step).map_err(FileError::io(&path, "remove"));
            run(WriterStep::Remove)?;
            // On Windows a file that a reader has mapped cannot be removed. The next writer tries
            // again.
            let _ = fs::remove_file(&path);
            run(WriterStep::Removed)?;
        }
    }
    Ok(())
}

/// Number and path of each segment in a folder, listed in the database or not, in order.
pub(crate) fn find_all(folder: &Path) -> Result<Vec<(i64, PathBuf)>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::io(folder, "list"))? {
        let entry = entry.map_err(FileError::io(folder, "list"))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME_START));
        let number = number.and_then(|rest| rest.strip_suffix(NAME_END)?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// A file that runs a hook before each write.
struct HookedFile<'a> {
    file: &'a mut UnfinishedFile,
    hook: &'a mut StepHook,
}

impl Write for HookedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hook.run(WriterStep::Write)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
