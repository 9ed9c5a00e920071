//! `uard extract`: from photographs to region features.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use uard_core::device::DeviceChoice;
use uard_data::store::{Element, FeatureStore, Finished, StoreWriter, store_path, write_padded};
use uard_features::backbone::{CandleModel, PhotoLimits, Truncated};
use uard_features::extract::{
    EncoderKind, EncoderOptions, Extracted, Extraction, PhotoList, Progress, RegionCount,
};
use uard_files::UnfinishedFile;
use uard_hub::source::Source;
use uard_linalg::matmul::Matmul;

use super::Outcome;
use super::import::Layout;
use crate::exit::wrong;
use crate::hub::hub;
use crate::interrupt;
use crate::terminal::{bar_of_photos, note};

/// What stands below the arguments, before the names of networks.
const AFTER_HELP: &str = "Writes OUT/{split}_store: features, boxes in pixels, photo sizes and ids, and where \
    they come from. Photos that cannot be read are listed in its unreadable.tsv with the reason, \
    those that end early among them. \
    A run that was stopped goes on with the same command, and ends with the same bytes.\n\
    JPEG, PNG, WebP and GIF are read, whatever their names end with, and turned upright. \
    Networks run on the CPU.\n\n\
    Examples:\n  \
    uard extract --encoder inception-v3 --weights inception_v3.safetensors --images photos --out features\n  \
    uard extract --encoder resnet50 --weights resnet50.safetensors --images list.txt --out features \
    --split train --matmul bf16 --element f16\n  \
    uard extract --encoder vision-transformer --weights hf:facebook/dinov2-base --images photos --out features\n  \
    uard extract --encoder candle:fastvit_t8 --weights hf:timm/fastvit_t8.apple_in1k --images photos --out features";

/// Arguments of `uard extract`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub struct Arguments {
    /// inception-v3, resnet18, resnet34, resnet50 or resnet101 for the cells of a grid;
    /// vision-transformer (CLIP, SigLIP, DINOv2) for patches; bottom-up-attention for the boxes of
    /// a detector; candle:NAME for the cells of a network that candle-transformers computes, listed
    /// below.
    #[arg(long, value_name = "NAME")]
    encoder: EncoderKind,
    /// The encoder's weights: safetensors, or what torch.save wrote of a state dict; for a vision
    /// transformer its folder with config.json. Or a name on a hub, hf:OWNER/NAME.
    #[arg(long, value_name = "FILE|DIR|hf:NAME")]
    weights: Source,
    /// A folder of photos and of folders of photos, a text file with the path of one on each line
    /// (relative to that file), or one photo. Hidden files and what systems leave beside photos
    /// (@eaDir, Thumbs.db, …) are passed over.
    #[arg(long, value_name = "DIR|LIST|PHOTO")]
    images: PathBuf,
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the photos are called among others in that directory: train, dev, test, …
    #[arg(long, value_name = "NAME", value_parser = super::split_name, default_value = "photos")]
    split: String,
    /// Regions of a photo: a number, all cells of a grid, or the least and most of a detector.
    #[arg(long, value_name = "N|all|N-N", default_value = "36")]
    regions: RegionCount,
    /// Numbers that features are stored in: f32, or f16 for half the size.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = element)]
    element: Element,
    /// Numbers of the network's products: f32, or bf16, which is faster and rounds.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = matmul)]
    matmul: Matmul,
    /// store, or scan for {split}_ims.npy, {split}_ids.txt and {split}_boxes.npy beside it.
    #[arg(long, value_enum, default_value_t)]
    layout: Layout,
    /// Photos with a longer side are listed as unreadable: a small file can ask for gigabytes.
    /// Every photo within it is decoded, whatever memory that takes (11 bytes a pixel at most).
    /// Not given: 16384, and no photo that takes more than 512 MiB.
    #[arg(long, value_name = "PIXELS")]
    longest_side: Option<u32>,
    /// Takes JPEGs that end early or are broken: what is missing of them is grey, and their
    /// features are far from what they should be. Other formats are listed in any case.
    #[arg(long)]
    accept_truncated: bool,
    /// Where the network runs: auto or cpu.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn after_help() -> String {
    let networks: Vec<&str> = CandleModel::all().map(CandleModel::name).collect();
    format!(
        "{AFTER_HELP}\n\nNetworks of candle-transformers, with the weights of timm (fastvit, eva02) or \
         of Hugging Face; the whole photo is squeezed into the square that each was trained on:\n  {}",
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

fn matmul(text: &str) -> Result<Matmul, String> {
    match text {
        "f32" => Ok(Matmul::F32),
        "bf16" => Ok(Matmul::Bf16),
        _ => Err("expected f32 or bf16".to_owned()),
    }
}

/// Extracts, and says how many photos there are and how fast it went.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    if !matches!(arguments.device, DeviceChoice::Auto | DeviceChoice::Cpu) {
        return Err(wrong(
            "--device: encoders of photos run on the CPU; leave it out, or say cpu".to_owned(),
        ));
    }
    let photos = PhotoList::open(&arguments.images)?;
    let to = (arguments.out.as_path(), arguments.split.as_str());
    check_place(to, arguments.layout)?;
    let options = EncoderOptions {
        kind: arguments.encoder,
        regions: arguments.regions,
        matmul: arguments.matmul,
    };
    let weights = arguments.encoder.weights(&arguments.weights, &hub())?;
    let encoder = options.open(&weights)?;
    let extraction = Extraction {
        encoder: encoder.as_ref(),
        name: options.kind.name(),
        weights: &weights,
        limits: limits(arguments),
        element: arguments.element,
    };
    let outcome = extract(&extraction, to, &photos)?;
    if outcome == Outcome::Done && arguments.layout == Layout::Scan {
        let (out, split) = to;
        write_padded(&FeatureStore::open(out, split)?, out, split)?;
        let array = out.join(format!("{split}_ims.npy"));
        note(&format!("the same features in {}", array.display()));
    }
    Ok(outcome)
}

/// Refuses a directory that cannot be written before weights are downloaded and read.
fn check_place((out, split): (&Path, &str), layout: Layout) -> anyhow::Result<()> {
    StoreWriter::check_place(out, split)?;
    if layout == Layout::Scan {
        let array = out.join(format!("{split}_ims.npy"));
        UnfinishedFile::create(&array)
            .with_context(|| format!("cannot write {}", array.display()))?;
    }
    Ok(())
}

fn limits(arguments: &Arguments) -> PhotoLimits {
    PhotoLimits {
        truncated: match arguments.accept_truncated {
            true => Truncated::Accepted,
            false => Truncated::Refused,
        },
        ..arguments
            .longest_side
            .map_or_else(PhotoLimits::default, PhotoLimits::up_to)
    }
}

/// Extracts one split with a bar.
pub fn extract(
    extraction: &Extraction<'_>,
    (out, split): (&Path, &str),
    photos: &PhotoList,
) -> anyhow::Result<Outcome> {
    let stop = interrupt::watch();
    let bar = bar_of_photos(photos.photos().len(), split);
    let started = Instant::now();
    let on_progress = |progress: Progress| {
        bar.set_position(progress.done as u64);
        bar.set_message(speed(progress.done - progress.before, started));
    };
    let extracted = extraction.run((out, split), photos.photos(), &on_progress, stop);
    bar.finish_and_clear();
    let store = store_path(out, split);
    match extracted? {
        Extracted::Stopped => {
            let whole = "whole parts are kept; the same command goes on";
            note(&format!("stopped in {}: {whole}", store.display()));
            Ok(Outcome::Stopped)
        }
        Extracted::Finished(Finished { images, unreadable }) => {
            let speed = speed(images + unreadable, started);
            note(&format!("{images} photos in {}, {speed}", store.display()));
            if unreadable > 0 {
                let list = store.join("unreadable.tsv");
                note(&format!(
                    "{unreadable} could not be read: {}",
                    list.display()
                ));
            }
            Ok(Outcome::Done)
        }
    }
}

fn speed(photos: usize, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    format!("{:.1} photos a second", photos as f64 / seconds)
}
