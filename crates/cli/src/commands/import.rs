//! `uard import`: how do region features that others published become a data directory?

use std::path::PathBuf;

use clap::ValueEnum;
use uard_features::import::{self, Destination};
use uard_features::store;

use crate::terminal::{advance, bar, note};

/// Arguments of `uard import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every image is checked; the first that is broken stops the import, with file, line and reason. An \
    import that was stopped goes on where it was when the same command is given again. Images \
    keep the order of the dump, in folders that of their names (numbers by value); put \
    captions in that order beside the features, as {split}_caps.txt, or with {split}_map.txt \
    in any other.\n\n\
    Examples:\n  \
    uard import --format butd-tsv trainval_36.tsv --split train --out data/coco\n  \
    uard import --format lxmert-tsv train2014_obj36.tsv val2014_obj36.tsv --split train --out data/coco\n  \
    uard import --format npz bua-caffe/train2014 --split train --out data/coco --element f16\n  \
    uard import --format cocobu data --split train --out data/coco\n  \
    uard import --format scan coco_precomp --split testall --out data/coco\n  \
    uard import --format lxmert-tsv val2014_obj36.tsv --split dev --out data/scan --layout scan"
)]
pub struct Arguments {
    /// What the dump looks like.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Format,
    /// The dump: TSV files, folders of npz files, an HDF5 file (NAME_ids.txt beside it names its
    /// images), the folder with cocobu_att and cocobu_box, or a SCAN directory.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Data directory to write to; made where it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The split to write; with --format scan also the one to read.
    #[arg(long, value_name = "NAME", value_parser = super::split_name, default_value = "train")]
    split: String,
    /// How features are written: store keeps all that is known of a region; scan is the padded
    /// array that other programs read, and needs the room twice while it is made.
    #[arg(long, value_enum, default_value_t)]
    layout: Layout,
    /// In which numbers features are written.
    #[arg(long, value_enum, default_value_t)]
    element: Element,
}

/// The dumps that are published.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Bottom-up attention: image_id, image_w, image_h, num_boxes, boxes, features.
    ButdTsv,
    /// LXMERT: img_id, img_h, img_w, classes and attributes, num_boxes, boxes, features.
    LxmertTsv,
    /// MILVLG: a file for each image, with x, bbox, num_bbox, image_h, image_w.
    Npz,
    /// One file with image_features and image_bb.
    Hdf5,
    /// cocobu_att/{id}.npz and cocobu_box/{id}.npy.
    Cocobu,
    /// {split}_ims.npy, with counts, ids and boxes where they are there.
    Scan,
}

impl From<Format> for import::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::ButdTsv => Self::ButdTsv,
            Format::LxmertTsv => Self::LxmertTsv,
            Format::Npz => Self::Npz,
            Format::Hdf5 => Self::Hdf5,
            Format::Cocobu => Self::Cocobu,
            Format::Scan => Self::Scan,
        }
    }
}

/// How features lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Layout {
    /// {split}_store/
    #[default]
    Store,
    /// {split}_ims.npy, {split}_ids.txt, {split}_boxes.npy, {split}_counts.npy
    Scan,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Element {
    /// As published.
    #[default]
    F32,
    /// Half the room, eleven bits of precision.
    F16,
}

/// Imports, with a bar.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let format = import::Format::from(arguments.format);
    let mut dump = import::open(format, &arguments.paths, &arguments.split)?;
    let to = Destination {
        dir: &arguments.out,
        split: &arguments.split,
        element: match arguments.element {
            Element::F32 => store::Element::F32,
            Element::F16 => store::Element::F16,
        },
        layout: match arguments.layout {
            Layout::Store => import::Layout::Store,
            Layout::Scan => import::Layout::Scan,
        },
    };
    let bar = bar(0, "importing");
    let mut on_progress = |done: u64, total: u64| advance(&bar, done as usize, total as usize);
    let finished = import::import((format, &mut *dump), &to, &mut on_progress)?;
    bar.finish_and_clear();
    note(&format!(
        "{} images of split {} in {}; {}_caps.txt belongs beside them, captions in this order",
        finished.images,
        arguments.split,
        arguments.out.display(),
        arguments.split
    ));
    Ok(())
}
