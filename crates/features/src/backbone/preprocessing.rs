//! Preprocessing of photos for a network: resize, crop, normalise. Its settings are a value that is
//! stored with the features.

use fast_image_resize as fir;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::VisionError;
use super::maps::{Maps, Size};
use super::photo::Photo;
use crate::{Error, Result};

/// The longest side of preprocessed photos, in pixels.
const LARGEST_SIDE: u32 = 4096;

/// The most pixels of a photo that is resized and not yet cropped, 64 times 1024 x 1024. With a
/// shorter side of 256 the longer side may be 1,024 times as long, with a shorter side of 4,096
/// four times.
const LARGEST_RESULT: u64 = 1 << 26;

/// How a photo is resized, cropped and normalised.
///
/// ```text
/// pixel = (byte / 255 - mean) / deviation, for each colour
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// How height and width are brought to those of the network.
    pub fit: Fit,
    /// The interpolation of resizing.
    pub filter: Filter,
    /// Means of red, green and blue, from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviations of red, green and blue, from 0 to 1.
    pub deviation: [f32; 3],
}

/// How a photo's height and width are brought to those of the network, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fit {
    /// The whole photo is resized; its ratio of sides may change.
    Stretch {
        /// Width of the result.
        width: u32,
        /// Height of the result.
        height: u32,
    },
    /// The photo is resized until its shorter side is `shorter`, then a square is cropped from the
    /// middle.
    Crop {
        /// The shorter side before the crop.
        shorter: u32,
        /// The side of the square, at most `shorter`.
        side: u32,
    },
}

/// The interpolation of resizing. As in Pillow, its support grows with the scale when a photo
/// becomes smaller ("antialias"), and values are rounded to bytes after each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Linear, a support of 1 pixel.
    Bilinear,
    /// Cubic convolution with a = -0.5, a support of 2 pixels.
    Bicubic,
}

/// Where the network's pixels lie in the photo: an offset and a scale along each axis.
///
/// ```text
/// x in the photo = x_offset + x_scale * x in the network's pixels, and the same for y
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    /// The offset of x, in pixels of the photo.
    pub x_offset: f32,
    /// The offset of y, in pixels of the photo.
    pub y_offset: f32,
    /// The scale of x: pixels of the photo for each pixel of the network.
    pub x_scale: f32,
    /// The scale of y: pixels of the photo for each pixel of the network.
    pub y_scale: f32,
}

impl Preprocessing {
    /// The preprocessing of TensorFlow's Inception networks, 299 x 299 pixels from -1 to 1, except
    /// that the whole photo is resized to the square: a crop would lose the regions at the border.
    pub const INCEPTION: Self = Self {
        mean: [0.5; 3],
        deviation: [0.5; 3],
        ..Self::IMAGENET.stretched(299)
    };

    /// The preprocessing of torchvision's ResNets: the shorter side becomes 256, 224 x 224 pixels
    /// are cropped from the middle, and colours are normalised with ImageNet's mean and deviation.
    pub const IMAGENET: Self = Self {
        fit: Fit::Crop {
            shorter: 256,
            side: 224,
        },
        filter: Filter::Bilinear,
        mean: [0.485, 0.456, 0.406],
        deviation: [0.229, 0.224, 0.225],
    };

    /// The preprocessing of CLIP: the shorter side becomes 224, the middle square is cropped, and
    /// colours are normalised with the mean and deviation of CLIP's own photos.
    pub const CLIP: Self = Self {
        fit: Fit::Crop {
            shorter: 224,
            side: 224,
        },
        filter: Filter::Bicubic,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// The same preprocessing, except that the whole photo is resized to a square: a crop would
    /// lose the regions at the border.
    pub const fn stretched(self, side: u32) -> Self {
        Self {
            fit: Fit::Stretch {
                width: side,
                height: side,
            },
            ..self
        }
    }

    /// Height and width of the result.
    pub fn size(&self) -> Size {
        match self.fit {
            Fit::Stretch { width, height } => Size::new(height as usize, width as usize),
            Fit::Crop { side, .. } => Size::square(side as usize),
        }
    }

    /// Preprocesses photos, on all threads.
    ///
    /// # Shapes
    /// Returns [N, height, width, 3].
    ///
    /// # Errors
    /// When a side is zero or longer than 4096, a crop is larger than the resized photo, or a photo
    /// cannot be resized.
    pub fn apply(&self, photos: &[Photo]) -> Result<Maps<f32>> {
        self.check()?;
        let Size { height, width } = self.size();
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

    /// The bytes of a photo after resizing and cropping, [height, width, 3].
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub fn resized(&self, photo: &Photo) -> Result<Vec<u8>> {
        self.check()?;
        let resized = self.resize_and_crop(photo);
        let failed = |cause: &dyn std::fmt::Display| {
            Error::Vision(VisionError::Resize {
                width: photo.width(),
                height: photo.height(),
                cause: cause.to_string(),
            })
        };
        let (width, height) = (photo.width(), photo.height());
        let source = TypedImageRef::from_buffer(width, height, photo.pixels())
            .map_err(|error| failed(&error))?;
        let pixels = u64::from(resized.width) * u64::from(resized.height);
        if pixels > LARGEST_RESULT {
            return Err(failed(&format_args!(
                "it is too narrow: with a shorter side of {} pixels it would have {pixels}, more than \
                 the limit of {LARGEST_RESULT}",
                resized.width.min(resized.height)
            )));
        }
        let mut whole = TypedImage::new(resized.width, resized.height);
        let filter = match self.filter {
            Filter::Bilinear => fir::FilterType::Bilinear,
            Filter::Bicubic => fir::FilterType::CatmullRom,
        };
        let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(filter));
        // `resize` would compile the loops of every type of pixel that the crate knows.
        fir::Resizer::new()
            .resize_typed::<U8x3>(&source, &mut whole, &options)
            .map_err(|error| failed(&error))?;
        let Size { height, width } = self.size();
        let rows = whole.pixels().chunks_exact(resized.width as usize);
        let rows = rows.skip(resized.top as usize).take(height);
        let pixels = rows.flat_map(|row| &row[resized.left as usize..][..width]);
        Ok(pixels.flat_map(|pixel| pixel.0).collect())
    }

    fn apply_to(&self, photo: &Photo, out: &mut [f32]) -> Result<()> {
        let bytes = self.resized(photo)?;
        // The normalised value of each of the 256 bytes, for each colour.
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

    /// Refuses sides of zero or above the limit, and a crop larger than the resized photo.
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

    fn resize_and_crop(&self, photo: &Photo) -> ResizeAndCrop {
        match self.fit {
            Fit::Stretch { width, height } => ResizeAndCrop {
                width,
                height,
                left: 0,
                top: 0,
            },
            Fit::Crop { shorter, side } => {
                let (width, height) = (photo.width(), photo.height());
                let longer = |long: u32, short: u32| {
                    let longer = u64::from(shorter) * u64::from(long) / u64::from(short);
                    u32::try_from(longer).unwrap_or(u32::MAX)
                };
                let (width, height) = match width <= height {
                    true => (shorter, longer(height, width)),
                    false => (longer(width, height), shorter),
                };
                ResizeAndCrop {
                    width,
                    height,
                    left: half_to_even(width - side),
                    top: half_to_even(height - side),
                }
            }
        }
    }

    /// Where the network's pixels lie in a photo.
    pub(crate) fn placement(&self, photo: &Photo) -> Placement {
        let resized = self.resize_and_crop(photo);
        let x_scale = photo.width() as f32 / resized.width as f32;
        let y_scale = photo.height() as f32 / resized.height as f32;
        Placement {
            x_offset: resized.left as f32 * x_scale,
            y_offset: resized.top as f32 * y_scale,
            x_scale,
            y_scale,
        }
    }
}

/// What a photo is resized to, and the upper left pixel of the crop.
struct ResizeAndCrop {
    width: u32,
    height: u32,
    left: u32,
    top: u32,
}

/// Half of a number, a tie to the even one: torchvision's offset of a crop from the middle.
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
        assert_eq!((placement.x_offset, placement.y_offset), (20.0, 8.0));
        assert_eq!((placement.x_scale, placement.y_scale), (2.0, 2.0));
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
    fn impossible_sizes_are_refused() {
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
            assert!(message.contains("cannot be resized to"), "{message}");
        }
    }

    #[test]
    fn settings_are_the_same_after_writing_and_reading_json() {
        let written = serde_json::to_string(&Preprocessing::IMAGENET).unwrap();
        let read: Preprocessing = serde_json::from_str(&written).unwrap();
        assert_eq!(read, Preprocessing::IMAGENET);
        assert!(
            written.contains(r#""crop":{"shorter":256,"side":224}"#),
            "{written}"
        );
    }
}
