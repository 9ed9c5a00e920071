//! Judgements by COCO's numbers of images and captions, for the rows and columns of a matrix.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use uard_data::captions::read_lines;
use uard_eval::{GroundTruth, RetrievalDirection};
use uard_files::read_json;

use crate::exit::wrong;

/// The row of each image and the column of each caption, by COCO's number.
pub struct CocoNumbers {
    rows: HashMap<u64, usize>,
    columns: HashMap<u64, usize>,
    images: usize,
}

impl CocoNumbers {
    /// Reads the numbers of image and caption for each caption. `truth` says which row each caption belongs
    /// to.
    pub fn read(path: &Path, truth: &GroundTruth) -> anyhow::Result<Self> {
        let lines = read_lines(path)?;
        let image_of_caption = truth.positives(RetrievalDirection::TextToImage);
        if lines.len() != image_of_caption.len() {
            return Err(wrong(format!(
                "{}: expected a line for each of {} captions, found {}",
                path.display(),
                image_of_caption.len(),
                lines.len()
            )));
        }
        let mut numbers = Self {
            rows: HashMap::new(),
            columns: HashMap::new(),
            images: truth.images(),
        };
        for (caption, (line, images)) in lines.iter().zip(image_of_caption).enumerate() {
            numbers
                .add(line, images[0], caption)
                .with_context(|| format!("{}: line {}", path.display(), caption + 1))?;
        }
        Ok(numbers)
    }

    fn add(&mut self, line: &str, row: usize, column: usize) -> anyhow::Result<()> {
        let numbers = line.split_once('\t');
        let numbers = numbers.and_then(|(image, caption)| {
            Some((image.trim().parse().ok()?, caption.trim().parse().ok()?))
        });
        let Some((image, caption)) = numbers else {
            return Err(wrong(format!(
                "found `{line}`, expected COCO's numbers of image and caption with a tab between them"
            )));
        };
        let known = *self.rows.entry(image).or_insert(row);
        if known != row {
            return Err(wrong(format!(
                "image {image} is row {known} of the similarities and row {row}; is --map the right one?"
            )));
        }
        match self.columns.insert(caption, column) {
            None => Ok(()),
            Some(first) => Err(wrong(format!(
                "caption {caption} is there twice, first in line {}",
                first + 1
            ))),
        }
    }

    /// Reads which captions match an image, and which images match a caption.
    pub fn judgements(&self, images: &Path, captions: &Path) -> anyhow::Result<GroundTruth> {
        let of_images = lists(images, &self.rows, &self.columns, self.images)?;
        let of_captions = lists(captions, &self.columns, &self.rows, self.columns.len())?;
        Ok(GroundTruth::from_lists(of_images, of_captions)?)
    }
}

/// The positives of each query, by row or column.
fn lists(
    path: &Path,
    queries: &HashMap<u64, usize>,
    candidates: &HashMap<u64, usize>,
    count: usize,
) -> anyhow::Result<Vec<Vec<usize>>> {
    let expected = "lists of numbers by number, as {\"391895\": [770337, 771687]}";
    let judged: BTreeMap<u64, Vec<u64>> = read_json(path, expected)?;
    let unknown = |number: u64| {
        wrong(format!(
            "{}: {number} is not among the numbers of --caption-ids; judgements and similarities must be of \
             the same split, the first file by image and the second by caption",
            path.display()
        ))
    };
    let mut lists = vec![Vec::new(); count];
    for (query, positives) in judged {
        let &at = queries.get(&query).ok_or_else(|| unknown(query))?;
        for positive in positives {
            let candidate = candidates.get(&positive);
            lists[at].push(*candidate.ok_or_else(|| unknown(positive))?);
        }
    }
    Ok(lists)
}
