//! The ground truth: which images and captions match.

use std::ops::Range;

use crate::{Error, Result, RetrievalDirection};

/// Largest number of characters of a wrong line that an error quotes.
const SHOWN_CHARACTERS: usize = 40;

/// The character that editors on Windows write before the first character of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The positives of every query, in both directions.
///
/// An image may match any number of captions, and a caption any number of images. The two directions
/// are stored separately, because some ground truths differ between them. An image or caption
/// without a positive is no query of its direction: it enters no mean, but it stays a candidate in
/// the rankings of other queries. An index named twice for one query counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroundTruth {
    captions_of_image: Vec<Vec<usize>>,
    images_of_caption: Vec<Vec<usize>>,
}

impl GroundTruth {
    /// Takes one image for each caption: `image_of_caption[caption]`, in any order.
    ///
    /// # Errors
    /// [`Error::UnknownImage`] for an index that is not below `images`.
    pub fn from_image_of_caption(image_of_caption: &[usize], images: usize) -> Result<Self> {
        let mut captions_of_image = vec![Vec::new(); images];
        for (caption, &image) in image_of_caption.iter().enumerate() {
            let captions = captions_of_image
                .get_mut(image)
                .ok_or(Error::UnknownImage {
                    caption,
                    image,
                    images,
                })?;
            captions.push(caption);
        }
        Ok(Self {
            captions_of_image,
            images_of_caption: image_of_caption.iter().map(|&image| vec![image]).collect(),
        })
    }

    /// For captions in the order of their images, `captions_per_image` for each image.
    ///
    /// # Errors
    /// [`Error::CaptionsPerImage`] when `captions` is not `captions_per_image * images`, or zero.
    pub fn per_image(captions_per_image: usize, images: usize, captions: usize) -> Result<Self> {
        let expected = captions_per_image.checked_mul(images);
        if captions == 0 || expected != Some(captions) {
            return Err(Error::CaptionsPerImage {
                captions_per_image,
                images,
                found: captions,
            });
        }
        let image_of_caption: Vec<usize> = (0..captions)
            .map(|caption| caption / captions_per_image)
            .collect();
        Self::from_image_of_caption(&image_of_caption, images)
    }

    /// For captions in the order of their images, the same number for each image.
    ///
    /// # Errors
    /// [`Error::Transposed`] when there are fewer captions than images, [`Error::NotAMultiple`] when
    /// `captions` is zero or not a multiple of `images`.
    pub fn in_order(images: usize, captions: usize) -> Result<Self> {
        if 0 < captions && captions < images {
            return Err(Error::Transposed { images, captions });
        }
        if images == 0 || captions == 0 || !captions.is_multiple_of(images) {
            return Err(Error::NotAMultiple { images, captions });
        }
        Self::per_image(captions / images, images, captions)
    }

    /// Reads the text of a map: one line for each caption, with the index of its image.
    ///
    /// White space around an index is ignored, and so are a byte order mark and empty lines at the
    /// end; an empty line in between is an error, because it would shift every caption after it.
    ///
    /// # Errors
    /// [`Error::MapLine`] with the line, from 1, that is not an index below `images`.
    pub fn from_map_text(text: &str, images: usize) -> Result<Self> {
        let mut image_of_caption = Vec::new();
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        for (index, line) in text.trim_end().lines().enumerate() {
            let image = line.trim().parse().ok().filter(|&image| image < images);
            let image = image.ok_or_else(|| Error::MapLine {
                line: index + 1,
                found: line.chars().take(SHOWN_CHARACTERS).collect(),
                images,
            })?;
            image_of_caption.push(image);
        }
        Self::from_image_of_caption(&image_of_caption, images)
    }

    /// Takes a list for each query of both directions, which may differ.
    ///
    /// `captions_of_image[image]` are the positives of an image query, `images_of_caption[caption]`
    /// those of a caption query. An entry with an empty list is not a query.
    ///
    /// # Errors
    /// [`Error::UnknownCaption`] or [`Error::UnknownImage`] for an index out of range.
    ///
    /// # Source
    /// The format of ECCV Caption (Chun et al., 2022) and CrissCrossed Captions (Parekh et al., 2021).
    pub fn from_lists(
        mut captions_of_image: Vec<Vec<usize>>,
        mut images_of_caption: Vec<Vec<usize>>,
    ) -> Result<Self> {
        let (images, captions) = (captions_of_image.len(), images_of_caption.len());
        if let Some((image, caption)) = first_beyond(&captions_of_image, captions) {
            return Err(Error::UnknownCaption {
                image,
                caption,
                captions,
            });
        }
        if let Some((caption, image)) = first_beyond(&images_of_caption, images) {
            return Err(Error::UnknownImage {
                caption,
                image,
                images,
            });
        }
        for list in captions_of_image.iter_mut().chain(&mut images_of_caption) {
            list.sort_unstable();
            list.dedup();
        }
        Ok(Self {
            captions_of_image,
            images_of_caption,
        })
    }

    /// Number of images, with and without captions.
    pub fn images(&self) -> usize {
        self.captions_of_image.len()
    }

    /// Number of captions, with and without images.
    pub fn captions(&self) -> usize {
        self.images_of_caption.len()
    }

    /// The positives of each query of a direction, ascending; an empty list is not a query.
    pub fn positives(&self, direction: RetrievalDirection) -> &[Vec<usize>] {
        match direction {
            RetrievalDirection::ImageToText => &self.captions_of_image,
            RetrievalDirection::TextToImage => &self.images_of_caption,
        }
    }

    /// The captions that match one of these images, in either direction, ascending.
    pub(crate) fn captions_of(&self, images: &Range<usize>) -> Vec<usize> {
        let mut belongs: Vec<bool> = self
            .images_of_caption
            .iter()
            .map(|positives| positives.iter().any(|image| images.contains(image)))
            .collect();
        for &caption in self.captions_of_image[images.clone()].iter().flatten() {
            belongs[caption] = true;
        }
        (0..belongs.len())
            .filter(|&caption| belongs[caption])
            .collect()
    }

    /// The ground truth of some images and some captions (ascending), renumbered from 0.
    pub(crate) fn part(&self, images: Range<usize>, captions: &[usize]) -> Self {
        let image_lists = &self.captions_of_image[images.clone()];
        let captions_of_image = image_lists
            .iter()
            .map(|list| {
                list.iter()
                    .filter_map(|caption| captions.binary_search(caption).ok())
                    .collect()
            })
            .collect();
        let images_of_caption = captions
            .iter()
            .map(|&caption| {
                self.images_of_caption[caption]
                    .iter()
                    .filter(|image| images.contains(image))
                    .map(|image| image - images.start)
                    .collect()
            })
            .collect();
        Self {
            captions_of_image,
            images_of_caption,
        }
    }
}

/// The first list that names an index not below `limit`, and that index.
fn first_beyond(lists: &[Vec<usize>], limit: usize) -> Option<(usize, usize)> {
    lists.iter().enumerate().find_map(|(position, list)| {
        let index = list.iter().find(|&&index| index >= limit)?;
        Some((position, *index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetrievalDirection::{ImageToText, TextToImage};

    #[test]
    fn captions_may_come_in_any_order_and_number() {
        let truth = GroundTruth::from_image_of_caption(&[2, 0, 2], 3).unwrap();
        assert_eq!(truth.positives(ImageToText), [vec![1], vec![], vec![0, 2]]);
        assert_eq!(truth.positives(TextToImage), [[2], [0], [2]]);
    }

    #[test]
    fn in_order_accepts_every_multiple() {
        for k in [1, 2, 5, 7] {
            let truth = GroundTruth::in_order(3, 3 * k).unwrap();
            assert_eq!(truth, GroundTruth::per_image(k, 3, 3 * k).unwrap());
            assert!(truth.positives(ImageToText).iter().all(|x| x.len() == k));
        }
        let truth = GroundTruth::in_order(2, 4).unwrap();
        assert_eq!(truth.positives(TextToImage), [[0], [0], [1], [1]]);
    }

    #[test]
    fn other_numbers_of_captions_are_refused_with_both_numbers() {
        let text = GroundTruth::in_order(1000, 4999).unwrap_err().to_string();
        assert!(text.contains("found 4999 captions for 1000 images"));
        assert!(text.contains("multiple of 1000"));
        assert!(GroundTruth::in_order(0, 5).is_err());
        assert!(GroundTruth::in_order(5, 0).is_err());
        let text = GroundTruth::in_order(250, 50).unwrap_err().to_string();
        assert!(text.contains("250 rows and 50 columns looks transposed"));
        let text = GroundTruth::per_image(5, 10, 49).unwrap_err().to_string();
        assert!(text.contains("found 49 captions, expected 5 for each of 10 images"));
        assert!(GroundTruth::per_image(0, 10, 0).is_err());
    }

    #[test]
    fn map_text_gives_the_image_of_each_line() {
        let expected = GroundTruth::from_image_of_caption(&[1, 0, 1], 2).unwrap();
        for text in [
            "1\n0\n1",
            "1\n0\n1\n",
            " 1 \r\n0\r\n1\r\n",
            "\u{feff}1\n0\n1",
            "1\n0\n1\n\n \r\n",
        ] {
            assert_eq!(GroundTruth::from_map_text(text, 2).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_map_line_is_named() {
        let cases = [
            ("0\nx\n", 2, "\"x\""),
            ("0\n\n1\n", 2, "\"\""),
            ("0\n1\n2\n", 3, "\"2\""),
            ("-1", 1, "\"-1\""),
        ];
        for (text, line, found) in cases {
            let message = GroundTruth::from_map_text(text, 2).unwrap_err().to_string();
            assert!(message.contains(&format!("line {line} ")), "{message}");
            assert!(message.contains(found), "{message}");
        }
    }

    #[test]
    fn unknown_indices_are_refused() {
        let error = GroundTruth::from_image_of_caption(&[0, 2], 2).unwrap_err();
        let unknown_image = |images| Error::UnknownImage {
            caption: 1,
            image: 2,
            images,
        };
        assert_eq!(error, unknown_image(2));
        let error = GroundTruth::from_lists(vec![vec![0]], vec![vec![0], vec![2]]);
        assert_eq!(error.unwrap_err(), unknown_image(1));
        let error = GroundTruth::from_lists(vec![vec![0], vec![1]], vec![vec![0]]);
        let unknown_caption = Error::UnknownCaption {
            image: 1,
            caption: 1,
            captions: 1,
        };
        assert_eq!(error.unwrap_err(), unknown_caption);
    }

    #[test]
    fn directions_of_explicit_lists_may_differ_and_repeats_count_once() {
        let truth = GroundTruth::from_lists(vec![vec![1, 0, 1]], vec![vec![], vec![0, 0]]).unwrap();
        assert_eq!(truth.positives(ImageToText), [[0, 1]]);
        assert_eq!(truth.positives(TextToImage), [vec![], vec![0]]);
    }

    #[test]
    fn part_keeps_only_its_own_pairs_renumbered() {
        let truth = GroundTruth::from_lists(
            vec![vec![0], vec![1, 3], vec![2]],
            vec![vec![0], vec![1, 2], vec![2], vec![]],
        )
        .unwrap();
        let captions = truth.captions_of(&(1..3));
        assert_eq!(captions, [1, 2, 3]);
        let part = truth.part(1..3, &captions);
        assert_eq!(part.positives(ImageToText), [vec![0, 2], vec![1]]);
        assert_eq!(part.positives(TextToImage), [vec![0, 1], vec![1], vec![]]);
    }
}
