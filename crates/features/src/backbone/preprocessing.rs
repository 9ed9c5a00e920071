//! How does a photo become the pixels that a network expects? Resized, cut and normalised, as a
//! value that can be written down beside the features.

use fast_image_resize as fir;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::VisionError;
use super::maps::Maps;
use super::photo::Photo;
use crate::{Error, Result};

/// The longest side that a network's photos have, in pixels.
const LARGEST_SIDE: u32 = 4096;

/// The most pixels that a photo is resized to before it is cut, 64 times 1024 x 1024. With a shorter
/// side of 256 that is a photo 1,024 times as long as wide, with 4,096 one of 4 to 1.
const LARGEST_RESULT: u64 = 1 << 26;

/// From a photo to normalised pixels.
///
/// ```text
/// pixel = (byte / 255 - mean) / deviation, for each colour
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// How it comes to the network's size.
    pub fit: Fit,
    /// How pixels between pixels are computed.
    pub filter: Filter,
    /// Of red, green and blue, from 0 to 1.
    pub mean: [f32; 3],
    /// Of red, green and blue, from 0 to 1.
    pub deviation: [f32; 3],
}

/// How a photo comes to the network's size, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fit {
    /// All of it is stretched or squeezed.
    Stretch {
        /// Of the result.
        width: u32,
        /// Of the result.
        height: u32,
    },
    /// Its shorter side becomes `shorter`, then a square is cut from the middle.
    Crop {
        /// The shorter side before the cut.
        shorter: u32,
        /// The side of the square, at most `shorter`.
        side: u32,
    },
}

/// A filter of resizing. Its support grows with the scale when a photo becomes smaller
/// ("antialias"), as in Pillow; bytes are rounded after each axis, as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Cubic, a = -0.5.
    Bicubic,
}

/// Where the network's pixels lie in the photo.
///
/// ```text
/// x of the photo = offset + x of the network scale
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    /// Across and down, in pixels of the photo.
    pub offset: (f32, f32),
    /// Pixels of the photo for each of the network, across and down.
    pub scale: (f32, f32),
}

impl Preprocessing {
    /// What TensorFlow's Inception networks expect: 299 x 299, -1 to 1. The whole photo is
    /// squeezed into the square, so that no region is lost.
    pub const INCEPTION: Self = Self {
        mean: [0.5; 3],
        deviation: [0.5; 3],
        ..Self::IMAGENET.squeezed(299)
    };

    /// What torchvision's ResNets expect: the shorter side becomes 256, the middle 224 x 224 are
    /// cut out, and colours have the mean and deviation of ImageNet.
    pub const IMAGENET: Self = Self {
        fit: Fit::Crop {
            shorter: 256,
            side: 224,
        },
        filter: Filter::Bilinear,
        mean: [0.485, 0.456, 0.406],
        deviation: [0.229, 0.224, 0.225],
    };

    /// What CLIP expects, by the mean and deviation of its own photos: the shorter side becomes
    /// 224, and the middle is cut out.
    pub const CLIP: Self = Self {
        fit: Fit::Crop {
            shorter: 224,
            side: 224,
        },
        filter: Filter::Bicubic,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// The same colours of the whole photo, squeezed into a square: a crop would lose the regions
    /// at the border.
    pub const fn squeezed(self, side: u32) -> Self {
        Self {
            fit: Fit::Stretch {
                width: side,
                height: side,
            },
            ..self
        }
    }

    /// Height and width of the result.
    pub fn size(&self) -> (usize, usize) {
        match self.fit {
            Fit::Stretch { width, height } => (height as usize, width as usize),
            Fit::Crop { side, .. } => (side as usize, side as usize),
        }
    }

    /// Photos as the network expects them, over all threads.
    ///
    /// # Shapes
    /// Returns [N, height, width, 3].
    ///
    /// # Errors
    /// When a size is zero, or a crop larger than what it is cut from.
    pub fn apply(&self, photos: &[Photo]) -> Result<Maps<f32>> {
        self.check()?;
        let (height, width) = self.size();
        let shape = [photos.len(), height, width, 3];
        let mut values = vec![0.0; shape.iter().product()];
        let outcomes: Vec<Result<()>> = values
            .par_chunks_mut(height * width * 3)
            .zip(photos)
            .map(|(out, photo)| self.apply_to(photo, out))
            .collect();
        outcomes.into_iter().collect::<Result<()>>()?;
        Ok(Maps::new(values, shape))
    }

    /// The bytes of a photo after resizing and cutting, [height, width, 3].
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub fn resized(&self, photo: &Photo) -> Result<Vec<u8>> {
        self.check()?;
        let placed = self.placed(photo);
        let failed = |cause: &dyn std::fmt::Display| {
            Error::Vision(VisionError::Resize {
                width: photo.width(),
                height: photo.height(),
                cause: cause.to_string(),
            })
        };
        let (width, height) = (photo.width(), photo.height());
        let kind = fir::PixelType::U8x3;
        let source = fir::images::ImageRef::new(width, height, photo.pixels(), kind)
            .map_err(|error| failed(&error))?;
        let pixels = u64::from(placed.whole.0) * u64::from(placed.whole.1);
        if pixels > LARGEST_RESULT {
            return Err(failed(&format_args!(
                "it is too narrow: with a shorter side of {} pixels it would have {pixels}, more than \
                 the limit of {LARGEST_RESULT}",
                placed.whole.0.min(placed.whole.1)
            )));
        }
        let mut whole = fir::images::Image::new(placed.whole.0, placed.whole.1, kind);
        let filter = match self.filter {
            Filter::Bilinear => fir::FilterType::Bilinear,
            Filter::Bicubic => fir::FilterType::CatmullRom,
        };
        let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(filter));
        fir::Resizer::new()
            .resize(&source, &mut whole, &options)
            .map_err(|error| failed(&error))?;
        let (height, width) = self.size();
        let row = placed.whole.0 as usize * 3;
        let rows = whole.buffer().chunks_exact(row);
        let rows = rows.skip(placed.corner.1 as usize).take(height);
        let first = placed.corner.0 as usize * 3;
        Ok(rows
            .flat_map(|row| &row[first..first + width * 3])
            .copied()
            .collect())
    }

    fn apply_to(&self, photo: &Photo, out: &mut [f32]) -> Result<()> {
        let bytes = self.resized(photo)?;
        // One of 256 numbers for each colour.
        let numbers: [[f32; 256]; 3] = std::array::from_fn(|colour| {
            std::array::from_fn(|byte| {
                (byte as f32 / 255.0 - self.mean[colour]) / self.deviation[colour]
            })
        });
        for (out, pixel) in out.chunks_exact_mut(3).zip(bytes.chunks_exact(3)) {
            for ((out, byte), numbers) in out.iter_mut().zip(pixel).zip(&numbers) {
                *out = numbers[usize::from(*byte)];
            }
        }
        Ok(())
    }

    /// Whether sides and crop are possible.
    pub(super) fn check(&self) -> Result<()> {
        let side = |side: u32| (1..=LARGEST_SIDE).contains(&side);
        let is_possible = match self.fit {
            Fit::Stretch { width, height } => side(width) && side(height),
            Fit::Crop { shorter, side: cut } => side(shorter) && side(cut) && cut <= shorter,
        };
        match is_possible {
            true => Ok(()),
            false => Err(Error::Vision(VisionError::Preprocessing { fit: self.fit })),
        }
    }

    fn placed(&self, photo: &Photo) -> Placed {
        match self.fit {
            Fit::Stretch { width, height } => Placed {
                whole: (width, height),
                corner: (0, 0),
            },
            Fit::Crop { shorter, side } => {
                let (width, height) = (photo.width(), photo.height());
                let longer = |long: u32, short: u32| {
                    let longer = u64::from(shorter) * u64::from(long) / u64::from(short);
                    u32::try_from(longer).unwrap_or(u32::MAX)
                };
                let whole = match width <= height {
                    true => (shorter, longer(height, width)),
                    false => (longer(width, height), shorter),
                };
                let middle = |whole: u32| half_to_even(whole - side);
                Placed {
                    whole,
                    corner: (middle(whole.0), middle(whole.1)),
                }
            }
        }
    }

    /// Where the network's pixels lie in a photo.
    pub(crate) fn placement(&self, photo: &Photo) -> Placement {
        let placed = self.placed(photo);
        let scale = (
            photo.width() as f32 / placed.whole.0 as f32,
            photo.height() as f32 / placed.whole.1 as f32,
        );
        Placement {
            offset: (
                placed.corner.0 as f32 * scale.0,
                placed.corner.1 as f32 * scale.1,
            ),
            scale,
        }
    }
}

/// A photo after resizing: its size, and the first pixel that is kept, across and down.
struct Placed {
    whole: (u32, u32),
    corner: (u32, u32),
}

/// Half of a number, a tie to the even one: where torchvision cuts.
fn half_to_even(number: u32) -> u32 {
    let half = number / 2;
    half + (number % 2) * (half % 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(width: u32, height: u32) -> Photo {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels = pixels.flat_map(|(x, y)| [x as u8, y as u8, (x + y) as u8]);
        Photo::new(pixels.collect(), width, height).unwrap()
    }

    #[test]
    fn a_photo_of_the_right_size_is_only_normalised() {
        let photo = photo(299, 299);
        let pixels = Preprocessing::INCEPTION.apply(std::slice::from_ref(&photo));
        let pixels = pixels.unwrap();
        assert_eq!(pixels.shape(), [1, 299, 299, 3]);
        for (found, byte) in pixels.values().iter().zip(photo.pixels()) {
            let expected = f32::from(*byte) / 127.5 - 1.0;
            assert!((found - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_crop_is_cut_from_the_middle() {
        let preprocessing = Preprocessing {
            fit: Fit::Crop {
                shorter: 20,
                side: 11,
            },
            ..Preprocessing::IMAGENET
        };
        let bytes = preprocessing.resized(&photo(30, 20)).unwrap();
        // (30 - 11) / 2 = 9.5 and (20 - 11) / 2 = 4.5, ties to even.
        assert_eq!(bytes[..3], [10, 4, 14]);
        assert_eq!(bytes.len(), 11 * 11 * 3);
        let placement = preprocessing.placement(&photo(60, 40));
        assert_eq!(placement.offset, (20.0, 8.0));
        assert_eq!(placement.scale, (2.0, 2.0));
    }

    #[test]
    fn a_photo_too_narrow_to_be_resized_is_refused() {
        let message = Preprocessing::IMAGENET
            .resized(&photo(10_000, 1))
            .unwrap_err()
            .to_string();
        assert!(message.contains("10000 x 1"), "{message}");
        assert!(message.contains("too narrow"), "{message}");
        assert!(Preprocessing::IMAGENET.resized(&photo(1_000, 1)).is_ok());
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for fit in [
            Fit::Stretch {
                width: 5,
                height: u32::MAX,
            },
            Fit::Stretch {
                width: 0,
                height: 5,
            },
            Fit::Crop {
                shorter: 10,
                side: 11,
            },
        ] {
            let preprocessing = Preprocessing {
                fit,
                ..Preprocessing::IMAGENET
            };
            let message = preprocessing.apply(&[]).unwrap_err().to_string();
            assert!(message.contains("cannot be made into"), "{message}");
        }
    }

    #[test]
    fn it_is_written_down_and_read_back() {
        let written = serde_json::to_string(&Preprocessing::IMAGENET).unwrap();
        let read: Preprocessing = serde_json::from_str(&written).unwrap();
        assert_eq!(read, Preprocessing::IMAGENET);
        assert!(
            written.contains(r#""crop":{"shorter":256,"side":224}"#),
            "{written}"
        );
    }
}
