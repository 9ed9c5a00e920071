//! `uard import`: region features and captions that others published, brought into a data directory.

use std::path::PathBuf;

use clap::ValueEnum;
use uard_data::import::{self, CaptionSource, Destination, WrittenCaptions};
use uard_data::store;

use crate::terminal::{advance, bar, note};

/// Arguments of `uard import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Features: every image is checked; the first that is broken stops the import, with file, line and \
    reason. An import that was stopped goes on where it was when the same command is given again. \
    Images keep the order of the dump, in folders that of their names (numbers by value).\n\n\
    Captions: written to DIR as {split}_caps.txt. Where DIR has features of the split, captions are \
    put into their order, by the names of the images (with or without folder and ending; COCO's \
    numbers too), with {split}_map.txt where images differ in their captions: so import the \
    features first, or both with one command. Where it has none, {split}_ids.txt names the images, \
    a line each: such a folder with photos is what `uard train --images` takes. Images without \
    features, and features without captions, are counted here and listed in {split}_unmatched.tsv.\n\n\
    Examples:\n  \
    uard import --format butd-tsv trainval_36.tsv --split train --out data/coco\n  \
    uard import --format lxmert-tsv train2014_obj36.tsv val2014_obj36.tsv --split train --out data/coco\n  \
    uard import --format npz bua-caffe/train2014 --split train --out data/coco --element f16\n  \
    uard import --format cocobu data --split train --out data/coco\n  \
    uard import --format scan coco_precomp --split testall --out data/coco\n  \
    uard import --format lxmert-tsv val2014_obj36.tsv --split dev --out data/scan --layout scan\n  \
    uard import --captions dataset_flickr30k.json --out data/f30k\n  \
    uard import --captions captions_train2014.json --split train --out data/coco\n  \
    uard import --captions Flickr8k.token.txt --image-list Flickr_8k.devImages.txt --split dev --out data/f8k\n  \
    uard import --captions train.1.en --captions train.2.en --image-list train_images.txt --out data/multi30k"
)]
pub struct Arguments {
    /// What the dump of features looks like.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        requires = "paths",
        required_unless_present = "captions"
    )]
    format: Option<Format>,
    /// The dump: TSV files, folders of npz files, an HDF5 file (NAME_ids.txt beside it names its
    /// images), the folder with cocobu_att and cocobu_box, or a SCAN directory.
    #[arg(value_name = "PATH", requires = "format")]
    paths: Vec<PathBuf>,
    /// A file of captions: dataset_*.json of Karpathy, captions_*.json of COCO, the lines of
    /// Flickr8k and Flickr30k (NAME.jpg#k, a tab, the caption), or captions alone, one a line, with
    /// --image-list. May be given several times: the files are one list.
    #[arg(long, value_name = "FILE")]
    captions: Vec<PathBuf>,
    /// What the files of captions look like; told by their content if it is not said.
    #[arg(long, value_enum, value_name = "FORMAT", requires = "captions")]
    caption_format: Option<CaptionFormat>,
    /// The images to take captions of, a name a line, in this order. Captions alone are about the
    /// images of the same lines.
    #[arg(long, value_name = "FILE", requires = "captions")]
    image_list: Option<PathBuf>,
    /// Data directory to write to; made where it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The split to write, train if it is not said; with --format scan also the one to read.
    /// Captions of Karpathy have splits (restval joins train, val is dev): without --split all are
    /// written, with it that one.
    #[arg(long, value_name = "NAME", value_parser = super::split_name)]
    split: Option<String>,
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
    /// MILVLG: a file for each image, with x (or feat, features) and, as far as known, bbox,
    /// num_bbox, image_h, image_w.
    Npz,
    /// One file with image_features and, if known, image_bb.
    Hdf5,
    /// cocobu_att/{id}.npz and, if it is there, cocobu_box/{id}.npy.
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

/// The forms in which captions are published.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CaptionFormat {
    /// dataset_*.json: images with split and sentences.
    Karpathy,
    /// captions_*.json: images, and annotations about them.
    Coco,
    /// NAME.jpg#k, a tab, the caption: one a line.
    Tokens,
    /// Captions alone, one a line, about the images of --image-list.
    Lines,
}

impl From<CaptionFormat> for import::CaptionFormat {
    fn from(format: CaptionFormat) -> Self {
        match format {
            CaptionFormat::Karpathy => Self::Karpathy,
            CaptionFormat::Coco => Self::Coco,
            CaptionFormat::Tokens => Self::Tokens,
            CaptionFormat::Lines => Self::Lines,
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

/// Imports features, captions, or one after the other.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(format) = arguments.format {
        import_features(arguments, format.into())?;
    }
    if arguments.captions.is_empty() {
        return Ok(());
    }
    let source = CaptionSource {
        files: &arguments.captions,
        format: arguments.caption_format.map(Into::into),
        image_list: arguments.image_list.as_deref(),
    };
    let split = match (&arguments.split, arguments.format) {
        (None, Some(_)) => Some(TRAIN),
        (split, _) => split.as_deref(),
    };
    for written in import::import_captions(&source, &arguments.out, split)? {
        note(&said(&written, arguments));
    }
    Ok(())
}

/// The split of features, unless another is named.
const TRAIN: &str = "train";

fn import_features(arguments: &Arguments, format: import::Format) -> anyhow::Result<()> {
    let split = arguments.split.as_deref().unwrap_or(TRAIN);
    let mut dump = import::open(format, &arguments.paths, split)?;
    let to = Destination {
        dir: &arguments.out,
        split,
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
    let imported = import::import((format, &mut *dump), &to, &mut on_progress)?;
    bar.finish_and_clear();
    let boxes = match imported.has_boxes {
        true => "",
        false => ", features alone: the dump has no boxes, so reports cannot show regions",
    };
    note(&format!(
        "{} images of split {split} in {}{boxes}",
        imported.images,
        arguments.out.display(),
    ));
    if arguments.captions.is_empty() {
        note(&format!(
            "captions belong beside them: uard import --captions FILE, or {split}_caps.txt in this order"
        ));
    }
    Ok(())
}

fn said(written: &WrittenCaptions, arguments: &Arguments) -> String {
    let WrittenCaptions {
        split,
        images,
        captions,
        ..
    } = written;
    let mut text = format!(
        "{captions} captions of {images} images of split {split} in {}",
        arguments.out.display()
    );
    if !written.has_features {
        text += &format!("; no features of {split} are there, so {split}_ids.txt names the images");
    }
    if let Some(list) = &written.unmatched {
        text += &format!(
            "\n{} images without features, {} without captions, {} with an empty caption left out: {}",
            written.without_features,
            written.without_captions,
            written.with_empty_captions,
            list.display()
        );
    }
    text
}
