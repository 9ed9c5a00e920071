//! `uard recall`: computes recall from a similarity matrix of any model.

use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_eval::{
    Error, GroundTruth, SimilarityMatrix, ensemble, evaluate_folds, evaluate_judgements,
};

use super::Format;
use crate::arrays::similarities;
use crate::coco::CocoNumbers;
use crate::exit::wrong;
use crate::tables::{judged_retrieval, retrieval};
use crate::terminal::{note, print, print_json};

/// Arguments of `uard recall`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A query counts as found if any of its matches is among the first K. A mismatched candidate \
    of equal similarity is ranked before the match.\n\n\
    Examples:\n  \
    uard recall --similarities S.npy\n  \
    uard recall --similarities S.npy --map MAP.txt --format json\n  \
    uard recall --similarities coco5k.npy --folds 5\n  \
    uard recall --similarities A.npy --similarities B.npy      # the mean of two models\n  \
    uard recall --similarities scan5n.npy --repeated-images 5  # arrays of SCAN\n  \
    uard recall --similarities coco5k.npy --caption-ids test_caption_ids.txt \\\n             \
    --judgements eccv_image_to_caption.json eccv_caption_to_image.json"
)]
pub struct Arguments {
    /// Similarities [images, captions], npy of f16, f32 or f64. Given several times, the matrices of an
    /// ensemble, which are averaged.
    #[arg(long, value_name = "S.npy", required = true)]
    similarities: Vec<PathBuf>,
    /// The image index of each caption, from 0, one a line. Without it every image has the same
    /// number of captions, in the order of the images.
    #[arg(long, value_name = "MAP.txt")]
    map: Option<PathBuf>,
    /// Number of neighbouring rows of the same image, of which the first is ranked, as in SCAN's
    /// evaluation. 1: every row is an image, even if some rows are equal.
    #[arg(long, value_name = "K")]
    repeated_images: Option<usize>,
    /// Averages the recall of K folds of equal size; 1 ranks all images at once.
    #[arg(long, value_name = "K", default_value_t = 1)]
    folds: usize,
    /// Judgements of which captions match an image, and of which images match a caption, instead of the
    /// captions that were written for an image: two JSON files, as the package eccv_caption has them for
    /// ECCV Caption and CxC, with lists of COCO's numbers by number. Prints mAP@R, R-precision and recall;
    /// images and captions without judgements are ranked, but not asked for.
    #[arg(
        long,
        value_names = ["IMAGES.json", "CAPTIONS.json"],
        num_args = 2,
        requires = "caption_ids",
        conflicts_with_all = ["folds", "repeated_images"]
    )]
    judgements: Vec<PathBuf>,
    /// COCO's numbers of image and caption for each caption, one a line with a tab between them, as
    /// `uard import --captions` writes them.
    #[arg(long, value_name = "IDS.txt", requires = "judgements")]
    caption_ids: Option<PathBuf>,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Ranks the matrix and prints recall.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let paths = &arguments.similarities;
    let matrices: anyhow::Result<Vec<SimilarityMatrix>> =
        paths.iter().map(|path| similarities(path)).collect();
    let matrix = ensemble(&matrices?)?;
    let matrix = match arguments.repeated_images {
        Some(times) => matrix
            .without_repeated(times)
            .context("--repeated-images")?,
        None => {
            check_repeated(&matrix)?;
            matrix
        }
    };
    let truth = truth(arguments.map.as_deref(), &matrix)?;
    if let ([images, captions], Some(numbers)) = (&arguments.judgements[..], &arguments.caption_ids)
    {
        let numbers = CocoNumbers::read(numbers, &truth)?;
        let judged = numbers.judgements(images, captions)?;
        let report = evaluate_judgements(&matrix, &judged)?;
        return match arguments.format {
            Format::Json => print_json(&report),
            Format::Table => print(&judged_retrieval(&report)),
        };
    }
    let report = evaluate_folds(&matrix, &truth, arguments.folds)?;
    match arguments.format {
        Format::Json => print_json(&report),
        Format::Table => print(&retrieval(&report)),
    }
}

/// Refuses a matrix of which at least half of the rows repeat an earlier one; prints a note if fewer do.
fn check_repeated(matrix: &SimilarityMatrix) -> anyhow::Result<()> {
    let repeated = matrix.repeated_images();
    let Some(&(row, first)) = repeated.first() else {
        return Ok(());
    };
    let images = matrix.images();
    let different = images - repeated.len();
    let found = format!(
        "{} of {images} rows of the similarities equal an earlier row (row {row} equals row {first}); \
         equal rows tie, and ties lower recall",
        repeated.len()
    );
    if different == 1 || 2 * different > images {
        note(&format!("note: {found}"));
        return Ok(());
    }
    let times = images / different;
    let remedy = match matrix.without_repeated(times) {
        Ok(_) => format!(
            "each image has {times} rows, as in arrays of SCAN: add --repeated-images {times} to rank \
             rows 0, {times}, {}, … only",
            2 * times
        ),
        Err(_) => "keep one row of each image".to_owned(),
    };
    Err(wrong(format!(
        "{found}: {remedy}; or add --repeated-images 1 to rank all rows as different images"
    )))
}

fn truth(map: Option<&Path>, matrix: &SimilarityMatrix) -> anyhow::Result<GroundTruth> {
    let (images, captions) = (matrix.images(), matrix.captions());
    let Some(path) = map else {
        return GroundTruth::in_order(images, captions).map_err(|error| match error {
            Error::NotAMultiple { .. } => anyhow::Error::new(error)
                .context("--map MAP.txt is needed, because captions are no multiple of images"),
            _ => error.into(),
        });
    };
    let named = || path.display().to_string();
    let text =
        uard_files::read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
    let truth = GroundTruth::from_map_text(&text, images).with_context(named)?;
    if captions < images && truth.captions() == images {
        return Err(Error::Transposed { images, captions }).with_context(named);
    }
    Ok(truth)
}
