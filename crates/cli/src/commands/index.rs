//! `uard index`: makes and updates an index of photos, and says what is in one.

use std::path::{Path, PathBuf};

use clap::{ArgAction, ArgGroup};
use uard_attention::Precision;
use uard_data::store::Share;
use uard_features::backbone::Truncated;
use uard_hub::source::Source;
use uard_linalg::matmul::Matmul;
use uard_search::{Index, Writer};

use super::extract::{matmul, photo_limits, truncated};
use super::{Format, Outcome};
use crate::exit::wrong;
use crate::index::adopting;
use crate::index::features::FeatureSource;
use crate::index::model::{EncoderChoice, IndexModel, IndexOptions};
use crate::index::paths::{IndexArgument, existing, resolved};
use crate::index::photos::{LazyEncoder, PhotoFolders};
use crate::index::report;
use crate::index::watching::FolderWatcher;
use crate::interrupt;
use crate::terminal::{note, print};

/// Arguments of `uard index`.
#[derive(Debug, clap::Args)]
#[command(
    group(
        ArgGroup::new("task")
            .args(["paths", "data", "adopt", "check", "stats", "compact", "remove"])
            .required(true)
    ),
    group(ArgGroup::new("upkeep").args(["check", "stats", "compact", "remove"])),
    after_help = "An update compares the folders with the index, and encodes new and changed photos only. \
    A photo that was moved or renamed is recognised by its content and keeps its number; photos that are \
    gone are removed. After Ctrl-C the same command continues. The index holds a copy of the model, \
    thumbnails and the boxes of regions, so that a search needs neither the run nor the photos.\n\
    Reads JPEG, PNG, WebP and GIF, and turns photos upright. Hidden files and those of operating systems \
    (@eaDir, Thumbs.db, …) are left out. Networks run on the CPU.\n\n\
    Examples:\n  \
    uard index ~/Pictures --model runs/mine\n  \
    uard index ~/Pictures ~/Camera --watch\n  \
    uard index ~/Pictures --model runs/mine --index ~/indexes/mine --weights hf:timm/inception_v3.tf_in1k\n  \
    uard index --data data/scenes --split test --model runs/scenes --index scenes-index\n  \
    uard index /photos --model runs/mine --index parts/3 --part 3/16\n  \
    uard index --adopt parts/* --index ~/indexes/mine\n  \
    uard index --stats --format json\n  \
    uard index --check\n  \
    uard index --remove ~/Pictures/old"
)]
pub struct Arguments {
    /// Folders with photos, also in their subfolders, and single photos. What was indexed in a folder
    /// and is no longer there is removed from the index; photos outside of the given folders stay.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    index: IndexArgument,
    /// The model that encodes the photos: a run, a checkpoint, or a file `best` or `latest` that names
    /// one. An existing index has a copy of its model, and takes no other.
    #[arg(long, value_name = "RUN|CHECKPOINT", conflicts_with = "upkeep")]
    model: Option<PathBuf>,
    /// The weights of the encoder of photos, instead of those that the model's configuration names: a
    /// file, a folder, or a name on a hub, hf:OWNER/NAME.
    #[arg(long, value_name = "FILE|DIR|hf:NAME", conflicts_with_all = ["data", "upkeep"])]
    weights: Option<Source>,
    /// Number type of the encoder's matrix products, instead of the configuration's: f32, or bf16, which
    /// is faster and less precise.
    #[arg(long, value_name = "TYPE", value_parser = matmul, conflicts_with_all = ["data", "upkeep"])]
    matmul: Option<Matmul>,
    /// Numbers that the regions are stored in: f32; bf16, half the size; or exact, both, whose results
    /// are those of f32 and come faster where the processor multiplies bf16. Default for a new index:
    /// f32.
    #[arg(long, value_name = "PRECISION", value_parser = precision, conflicts_with = "upkeep")]
    precision: Option<Precision>,
    /// Longest side that is decoded; larger photos are listed as unreadable, because a small file can
    /// decode to gigabytes. Default: 16384, and at most 512 MiB for one photo.
    #[arg(long, value_name = "PIXELS", conflicts_with_all = ["data", "upkeep"])]
    longest_side: Option<u32>,
    /// Accepts truncated and damaged JPEGs, whose missing part is grey.
    #[arg(
        long = "accept-truncated",
        action = ArgAction::SetTrue,
        value_parser = truncated(),
        conflicts_with_all = ["data", "upkeep"]
    )]
    truncated: Truncated,
    /// Takes one of several parts of the photos: 3/16 is the third of sixteen. Each part is an index of its
    /// own (--index), which other processes or machines make; --adopt makes one of them. A photo stays in its
    /// part while its path and the number of parts stay.
    #[arg(long, value_name = "K/N", conflicts_with_all = ["data", "upkeep", "adopt"])]
    part: Option<Share>,
    /// After the update, waits for changes in the folders, and updates the index after each, until
    /// Ctrl-C.
    #[arg(long, conflicts_with_all = ["data", "upkeep"])]
    watch: bool,
    /// A data directory, whose images are indexed by their features, without an encoder of photos.
    #[arg(long, value_name = "DIR", requires = "split")]
    data: Option<PathBuf>,
    /// The split of the data directory: test, photos, …
    #[arg(long, value_name = "NAME", value_parser = super::split_name, conflicts_with_all = ["paths", "upkeep"])]
    split: Option<String>,
    /// The folder of the pictures, named by id. Default: `images` in the data directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["paths", "upkeep"])]
    images: Option<PathBuf>,
    /// Adds the photos of these indexes, which the same model made, without encoding them again. Of two states
    /// of a file the newest stays. Photos that none of them has stay too: adopt into a new folder to leave
    /// out what was removed.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 1..,
        conflicts_with_all = [
            "upkeep", "data", "paths", "model", "weights", "matmul", "precision", "longest_side",
            "truncated", "watch", "part"
        ]
    )]
    adopt: Vec<PathBuf>,
    /// Reads the whole index and lists what is damaged, and how to mend it.
    #[arg(long)]
    check: bool,
    /// Prints what the index holds.
    #[arg(long)]
    stats: bool,
    /// Merges small files of the index, drops what is left of removed photos, and stores the mean of each photo's
    /// regions where a file of an earlier version lacks it.
    #[arg(long)]
    compact: bool,
    /// Removes a photo, or all photos in a folder, from the index. The files stay; the next update of
    /// their folder would add them again.
    #[arg(long, value_name = "PATH")]
    remove: Option<PathBuf>,
    /// The format of --stats.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["paths", "data", "check", "compact", "remove"])]
    format: Format,
}

fn precision(text: &str) -> Result<Precision, String> {
    match text.parse() {
        Ok(precision @ (Precision::F32 | Precision::Bf16 | Precision::Exact)) => Ok(precision),
        _ => Err("expected f32, bf16 or exact".to_owned()),
    }
}

/// Does what the arguments ask for.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let folder = arguments.index.folder()?;
    if let Some(data) = &arguments.data {
        return update_from_features(arguments, data, &folder);
    }
    if !arguments.paths.is_empty() {
        return update_from_photos(arguments, &folder);
    }
    if !arguments.adopt.is_empty() {
        let updated = adopting::adopt(&folder, &arguments.adopt, interrupt::watch())?;
        updated.print(&folder);
        return Ok(updated.outcome());
    }
    if arguments.check {
        report::print_check(&Index::open(&folder)?.check(), &folder)?;
    } else if arguments.stats {
        report::print_contents(&Index::open(&folder)?, &folder, arguments.format)?;
    } else if arguments.compact {
        print(&report::compaction(Writer::open(&folder)?.compact()?))?;
    } else if let Some(path) = &arguments.remove {
        remove(path, &folder)?;
    }
    Ok(Outcome::Done)
}

fn update_from_photos(arguments: &Arguments, folder: &Path) -> anyhow::Result<Outcome> {
    let roots = arguments.paths.iter().map(|path| existing(path));
    let roots = roots.collect::<anyhow::Result<Vec<PathBuf>>>()?;
    let mut encoder = LazyEncoder::from(EncoderChoice {
        weights: arguments.weights.clone(),
        matmul: arguments.matmul,
    });
    let photos = PhotoFolders {
        model: IndexModel::open(options(arguments, folder.to_owned()))?,
        limits: photo_limits(arguments.longest_side, arguments.truncated),
        part: arguments.part,
        stop: interrupt::watch(),
        roots,
    };
    // Started first, so that it sees what changes during the first update.
    let watcher = arguments
        .watch
        .then(|| FolderWatcher::start(&photos.roots, folder))
        .transpose()?;
    let updated = photos.update(&mut encoder)?;
    updated.print(folder);
    // One part of a few photos may have none.
    if arguments.part.is_none() {
        updated.expect_photos()?;
    }
    match (watcher, updated.outcome()) {
        (Some(watcher), Outcome::Done) => {
            note("waiting for changes; Ctrl-C ends");
            Ok(watcher.run(interrupt::watch(), || {
                let updated = photos.update(&mut encoder)?;
                if updated.has_changes() {
                    updated.print(folder);
                }
                Ok(updated.outcome())
            }))
        }
        (_, outcome) => Ok(outcome),
    }
}

fn update_from_features(
    arguments: &Arguments,
    data: &Path,
    folder: &Path,
) -> anyhow::Result<Outcome> {
    let split = arguments.split.as_deref().unwrap_or_default();
    let source = FeatureSource::open(data, split, arguments.images.as_deref())?;
    let model = IndexModel::open(options(arguments, folder.to_owned()))?;
    let updated = source.update(&model)?;
    updated.print(folder);
    Ok(updated.outcome())
}

fn options(arguments: &Arguments, folder: PathBuf) -> IndexOptions {
    IndexOptions {
        folder,
        model: arguments.model.clone(),
        precision: arguments.precision,
    }
}

/// Removes a photo, or all photos in a folder.
fn remove(path: &Path, folder: &Path) -> anyhow::Result<()> {
    let path = resolved(path);
    let mut writer = Writer::open(folder)?;
    let before = writer.index().size()?;
    let removed = writer.remove(std::slice::from_ref(&path))? + writer.remove_folder(&path)?;
    let after = writer.index().size()?;
    if removed == 0 && after.unreadable == before.unreadable {
        return Err(wrong(format!(
            "{}: the index {} has no photo there",
            path.display(),
            folder.display()
        )));
    }
    print(&format!("{removed} photos removed, {} left", after.photos))
}
