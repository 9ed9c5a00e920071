//! `uard extract`: computes region features of photographs and writes them to a feature store, whole or in
//! parts that are joined.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::ArgAction;
use clap::builder::{BoolValueParser, TypedValueParser};
use uard_core::device::DeviceChoice;
use uard_data::import::Layout;
use uard_data::store::{
    Element, FeatureStore, Finished, Share, Shares, StoreWriter, store_path, write_padded,
};
use uard_features::backbone::{CandleModel, PhotoLimits, Truncated};
use uard_features::extract::{
    EncoderKind, EncoderOptions, Extracted, Extraction, PhotoList, Progress, RegionCount,
    StorePlace,
};
use uard_files::UnfinishedFile;
use uard_hub::source::Source;
use uard_linalg::matmul::Matmul;

use super::Outcome;
use crate::exit::wrong;
use crate::hub::hub;
use crate::interrupt;
use crate::terminal::{bar_of_photos, note, photos_a_second};

/// The help below the arguments, except for the names of networks.
const AFTER_HELP: &str = "Writes OUT/{split}_store: features, boxes in pixels, photo sizes and ids, the encoder \
    and the SHA-256 of its weights. Photos that cannot be read, truncated ones among them, are \
    listed in its unreadable.tsv with the reason. \
    To continue a run that was stopped, give the same command again: the result has the same bytes.\n\
    Reads JPEG, PNG, WebP and GIF, whatever the names of the files, and turns photos upright. \
    Networks run on the CPU.\n\
    Several processes or machines share the work with --part: each writes a store of its own, \
    OUT/{split}-3-of-16_store, and --join makes of all of them the store that one process would have \
    written, byte by byte. The parts can be removed then.\n\n\
    Examples:\n  \
    uard extract --encoder inception-v3 --weights inception_v3.safetensors --images photos --out features\n  \
    uard extract --encoder resnet50 --weights resnet50.safetensors --images list.txt --out features \
    --split train --matmul bf16 --element f16\n  \
    uard extract --encoder vision-transformer --weights hf:facebook/dinov2-base --images photos --out features\n  \
    uard extract --encoder candle:fastvit_t8 --weights hf:timm/fastvit_t8.apple_in1k --images photos --out features\n  \
    uard extract --encoder inception-v3 --weights inception_v3.safetensors --images photos --out features \
    --part $SLURM_ARRAY_TASK_ID/16\n  \
    uard extract --join features --out features";

/// Arguments of `uard extract`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub struct Arguments {
    /// inception-v3, resnet18, resnet34, resnet50 or resnet101 for the cells of a grid;
    /// vision-transformer (CLIP, SigLIP, DINOv2) for patches; bottom-up-attention for the boxes of
    /// a detector; candle:NAME for the cells of a network that candle-transformers computes, listed
    /// below.
    #[arg(long, value_name = "NAME", required_unless_present = "join")]
    encoder: Option<EncoderKind>,
    /// The encoder's weights: a safetensors file, a state dict that torch.save wrote, for a vision
    /// transformer a folder with config.json, or a name on a hub, hf:OWNER/NAME.
    #[arg(
        long,
        value_name = "FILE|DIR|hf:NAME",
        required_unless_present = "join"
    )]
    weights: Option<Source>,
    /// A folder with photos, also in its subfolders; a text file with the path of one photo on each
    /// line, relative to that file; or one photo. Hidden files and files of operating systems
    /// (@eaDir, Thumbs.db, …) are left out.
    #[arg(long, value_name = "DIR|LIST|PHOTO", required_unless_present = "join")]
    images: Option<PathBuf>,
    /// Extracts one of several parts of the list: 3/16 is the third of sixteen.
    #[arg(long, value_name = "K/N")]
    part: Option<Share>,
    /// Joins the parts of a split, which lie in these directories, instead of extracting.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 1..,
        conflicts_with_all = [
            "encoder", "weights", "images", "part", "regions", "element", "matmul", "longest_side",
            "truncated", "device"
        ]
    )]
    join: Vec<PathBuf>,
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the split to write: train, dev, test, …
    #[arg(long, value_name = "NAME", value_parser = super::split_name, default_value = "photos")]
    split: String,
    /// Regions of a photo: a number, `all` for all cells of a grid, or for a detector the lowest and
    /// the highest number, as in 10-100.
    #[arg(long, value_name = "N|all|N-N", default_value = "36")]
    regions: RegionCount,
    /// Number type of the stored features: f32, or f16 for half the size.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = element)]
    element: Element,
    /// Number type of the network's matrix products: f32, or bf16, which is faster and less precise.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = matmul)]
    matmul: Matmul,
    /// Files to write: store, or scan, which writes {split}_ims.npy, {split}_ids.txt and
    /// {split}_boxes.npy beside the store.
    #[arg(long, value_enum, default_value_t, conflicts_with = "part")]
    layout: Layout,
    /// Longest side that is decoded; larger photos are listed as unreadable, because a small file can
    /// decode to gigabytes. Photos up to PIXELS are decoded whatever memory they need (at most 11
    /// bytes a pixel). Default: 16384, and at most 512 MiB for one photo.
    #[arg(long, value_name = "PIXELS")]
    longest_side: Option<u32>,
    /// Accepts truncated and damaged JPEGs. Their missing part is grey, and their features differ
    /// much from those of the whole photo. Damaged photos of other formats are always listed as
    /// unreadable.
    #[arg(long = "accept-truncated", action = ArgAction::SetTrue, value_parser = truncated())]
    truncated: Truncated,
    /// The device of the network: auto or cpu.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn after_help() -> String {
    let networks: Vec<&str> = CandleModel::all().map(CandleModel::name).collect();
    format!(
        "{AFTER_HELP}\n\nNetworks of candle-transformers, with weights of timm (fastvit, eva02) or of \
         Hugging Face. The whole photo is resized to the square that the network was trained on:\n  {}",
        networks.join("\n  ")
    )
}

fn element(text: &str) -> Result<Element, String> {
    match text {
        "f32" => Ok(Element::F32),
        "f16" => Ok(Element::F16),
        _ => Err("expected f32 or f16".to_owned()),
    }
}

/// Parses the number type of matrix products.
pub fn matmul(text: &str) -> Result<Matmul, String> {
    match text {
        "f32" => Ok(Matmul::F32),
        "bf16" => Ok(Matmul::Bf16),
        _ => Err("expected f32 or bf16".to_owned()),
    }
}

/// Parses `--accept-truncated`.
pub fn truncated() -> impl TypedValueParser<Value = Truncated> {
    BoolValueParser::new().map(|is_given| match is_given {
        true => Truncated::Accepted,
        false => Truncated::Refused,
    })
}

/// Extracts or joins features, and prints the number of photos and the speed.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let (out, split) = (arguments.out.as_path(), arguments.split.as_str());
    let outcome = match (&arguments.encoder, &arguments.weights, &arguments.images) {
        (Some(kind), Some(weights), Some(images)) => {
            let options = EncoderOptions {
                kind: *kind,
                regions: arguments.regions,
                matmul: arguments.matmul,
            };
            extract_images(arguments, options, weights, images)?
        }
        _ => join(&arguments.join, out, split)?,
    };
    if outcome == Outcome::Done && arguments.layout == Layout::Scan {
        write_padded(&FeatureStore::open(out, split)?, out, split)?;
        let array = out.join(format!("{split}_ims.npy"));
        note(&format!(
            "the same features as an array: {}",
            array.display()
        ));
    }
    Ok(outcome)
}

fn extract_images(
    arguments: &Arguments,
    options: EncoderOptions,
    weights: &Source,
    images: &Path,
) -> anyhow::Result<Outcome> {
    if !matches!(arguments.device, DeviceChoice::Auto | DeviceChoice::Cpu) {
        return Err(wrong(
            "--device: encoders of photos run on the CPU only; leave --device out, or give cpu"
                .to_owned(),
        ));
    }
    let photos = PhotoList::open(images)?;
    let place = StorePlace {
        dir: &arguments.out,
        split: &arguments.split,
        share: arguments.part,
    };
    check_writable(place, arguments.layout)?;
    let weights = options.kind.weights(weights, &hub())?;
    let encoder = options.open(&weights)?;
    let extraction = Extraction {
        encoder: encoder.as_ref(),
        name: options.kind.name(),
        weights: &weights,
        limits: photo_limits(arguments.longest_side, arguments.truncated),
        element: arguments.element,
    };
    extract(&extraction, place, &photos)
}

/// Joins the parts of a split with a progress bar.
fn join(dirs: &[PathBuf], out: &Path, split: &str) -> anyhow::Result<Outcome> {
    let shares = Shares::open(dirs, split)?;
    let stop = interrupt::watch();
    let entries = shares.entries();
    let bar = bar_of_photos(entries, split);
    let mut on_entries = |written: usize| bar.set_position(written as u64);
    let joined = shares.join(out, split, &mut on_entries, stop);
    bar.finish_and_clear();
    let store = store_path(out, split);
    match joined? {
        None => Ok(stopped(&store)),
        Some(finished) => {
            let Finished { images, unreadable } = finished;
            note(&format!("{images} photos joined in {}", store.display()));
            note_unreadable(unreadable, &store);
            Ok(Outcome::Done)
        }
    }
}

/// Refuses an output directory that cannot be written, before weights are downloaded and read.
fn check_writable(place: StorePlace<'_>, layout: Layout) -> anyhow::Result<()> {
    StoreWriter::check_writable(&place.path())?;
    if layout == Layout::Scan {
        let array = place.dir.join(format!("{}_ims.npy", place.split));
        UnfinishedFile::create(&array)
            .with_context(|| format!("cannot write {}", array.display()))?;
    }
    Ok(())
}

/// The limits that `--longest-side` and `--accept-truncated` ask for.
pub fn photo_limits(longest_side: Option<u32>, truncated: Truncated) -> PhotoLimits {
    PhotoLimits {
        truncated,
        ..longest_side.map_or_else(PhotoLimits::default, PhotoLimits::up_to)
    }
}

/// Extracts one split, or a share of it, with a progress bar.
pub fn extract(
    extraction: &Extraction<'_>,
    place: StorePlace<'_>,
    photos: &PhotoList,
) -> anyhow::Result<Outcome> {
    let stop = interrupt::watch();
    let bar = bar_of_photos(photos.photos().len(), place.split);
    let started = Instant::now();
    let on_progress = |progress: Progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(photos_a_second(progress.done - progress.before, started));
    };
    let extracted = extraction.run(place, photos.photos(), &on_progress, stop);
    bar.finish_and_clear();
    let store = place.path();
    match extracted? {
        Extracted::Stopped => Ok(stopped(&store)),
        Extracted::Finished(Finished { images, unreadable }) => {
            let speed = photos_a_second(images + unreadable, started);
            note(&format!(
                "{images} photos written to {}, {speed}",
                store.display()
            ));
            note_unreadable(unreadable, &store);
            Ok(Outcome::Done)
        }
    }
}

fn stopped(store: &Path) -> Outcome {
    note(&format!(
        "stopped: the finished parts in {} are kept; the same command continues",
        store.display()
    ));
    Outcome::Stopped
}

fn note_unreadable(unreadable: usize, store: &Path) {
    if unreadable > 0 {
        let list = store.join("unreadable.tsv");
        note(&format!(
            "{unreadable} photos could not be read: see {}",
            list.display()
        ));
    }
}
