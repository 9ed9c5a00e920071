//! `uard import`: converts published region features and captions to a data directory.

use std::path::PathBuf;

use uard_data::import::{
    self, CaptionFormat, CaptionSource, Destination, Format, Layout, WrittenCaptions,
};
use uard_data::store::Element;

use crate::terminal::{advance, bar, note};

/// Arguments of `uard import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Features: every image is checked; the first damaged one stops the import with its file, line and \
    the reason. To continue an import that was stopped, give the same command again. \
    Images keep the order of the dump; those of a folder are ordered by name (numbers by value).\n\n\
    Captions: written to DIR as {split}_caps.txt. If DIR has features of the split, the captions are \
    ordered as the features are: images are matched by name (with or without folder and extension) \
    or by COCO's number. {split}_map.txt is written too if images have different numbers of \
    captions; {split}_caption_ids.txt if the file has COCO's numbers, for `uard recall \
    --judgements`. So import the features first, or both with one command. If DIR has no features of the \
    split, {split}_ids.txt names the images, one a line: with the photos, such a folder can be given \
    to `uard train --images`. Images without features and features without captions are counted and \
    listed in {split}_unmatched.tsv.\n\n\
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
    /// The format of the feature dump.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        requires = "paths",
        required_unless_present = "captions"
    )]
    format: Option<Format>,
    /// The feature dump: TSV files, folders of npz files, an HDF5 file (with the names of its images
    /// in NAME_ids.txt beside it), the folder with cocobu_att and cocobu_box, or a SCAN directory.
    #[arg(value_name = "PATH", requires = "format")]
    paths: Vec<PathBuf>,
    /// A file of captions: dataset_*.json of Karpathy, captions_*.json of COCO, the lines of
    /// Flickr8k and Flickr30k (NAME.jpg#k, a tab, the caption), or with --image-list one caption a
    /// line. Several files, each with its own --captions, are read as one list.
    #[arg(long, value_name = "FILE")]
    captions: Vec<PathBuf>,
    /// The format of the caption files; without it the format is recognised from their content.
    #[arg(long, value_enum, value_name = "FORMAT", requires = "captions")]
    caption_format: Option<CaptionFormat>,
    /// The images to take captions of, one name a line, in this order. In the format `lines`, line n
    /// of each caption file belongs to the image of line n.
    #[arg(long, value_name = "FILE", requires = "captions")]
    image_list: Option<PathBuf>,
    /// Data directory to write to; created if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The split to write, by default train; with --format scan also the split to read. Captions of
    /// Karpathy name their splits (restval is added to train, val is dev): without --split all of
    /// them are written, with --split only that one.
    #[arg(long, value_name = "NAME", value_parser = super::split_name)]
    split: Option<String>,
    /// Files to write: store keeps everything that the dump says of a region; scan is the padded
    /// array that other programs read, and needs twice the disk space while it is written.
    #[arg(long, value_enum, default_value_t)]
    layout: Layout,
    /// Number type of the written features.
    #[arg(long, value_enum, default_value_t)]
    element: Element,
}

/// Imports features, captions, or both in this order.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(format) = arguments.format {
        import_features(arguments, format)?;
    }
    if arguments.captions.is_empty() {
        return Ok(());
    }
    let source = CaptionSource {
        files: &arguments.captions,
        format: arguments.caption_format,
        image_list: arguments.image_list.as_deref(),
    };
    let split = match (&arguments.split, arguments.format) {
        (None, Some(_)) => Some(TRAIN),
        (split, _) => split.as_deref(),
    };
    for written in import::import_captions(&source, &arguments.out, split)? {
        note(&summary(&written, arguments));
    }
    Ok(())
}

/// The split of features without `--split`.
const TRAIN: &str = "train";

fn import_features(arguments: &Arguments, format: Format) -> anyhow::Result<()> {
    let split = arguments.split.as_deref().unwrap_or(TRAIN);
    let mut dump = import::open(format, &arguments.paths, split)?;
    let destination = Destination {
        dir: &arguments.out,
        split,
        element: arguments.element,
        layout: arguments.layout,
    };
    let bar = bar(0, "importing");
    let mut on_progress = |done: u64, total: u64| advance(&bar, done as usize, total as usize);
    let imported = import::import(format, &mut *dump, &destination, &mut on_progress)?;
    bar.finish_and_clear();
    let boxes = match imported.has_boxes {
        true => "",
        false => "; the dump has no boxes, so reports cannot show regions",
    };
    note(&format!(
        "features of {} images of split {split} written to {}{boxes}",
        imported.images,
        arguments.out.display(),
    ));
    if arguments.captions.is_empty() {
        note(&format!(
            "to train on them, add captions: uard import --captions FILE --split {split}, or write \
             {split}_caps.txt in the order of the images"
        ));
    }
    Ok(())
}

fn summary(written: &WrittenCaptions, arguments: &Arguments) -> String {
    let WrittenCaptions {
        split,
        images,
        captions,
        ..
    } = written;
    let mut text = format!(
        "{captions} captions of {images} images of split {split} written to {}",
        arguments.out.display()
    );
    if !written.has_features {
        text += &format!(
            "; it holds no features of {split}, so {split}_ids.txt gives the order of the images"
        );
    }
    if let Some(list) = &written.unmatched {
        text += &format!(
            "\nleft out: {} images without features, {} without captions, {} with an empty caption; see \
             {}",
            written.without_features,
            written.without_captions,
            written.with_empty_captions,
            list.display()
        );
    }
    text
}
