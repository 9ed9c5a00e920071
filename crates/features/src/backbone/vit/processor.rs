//! Reads the preprocessing of a vision transformer from `preprocessor_config.json`; values that the
//! file lacks are those of the model's family.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::{VisionConfig, VisionFamily};
use crate::backbone::preprocessing::{Filter, Fit, Preprocessing};
use crate::transformer::ConfigChecks;
use crate::{Error, Result};
use uard_files::read_json;

pub(super) const FILE: &str = "preprocessor_config.json";

/// The numbers by which Pillow's filters are named in the file.
const BILINEAR: u32 = 2;
const BICUBIC: u32 = 3;

/// The keys of the file that are read. Defaults are those of every supported family.
#[derive(Debug, Deserialize)]
struct ProcessorConfig {
    #[serde(default = "yes")]
    do_resize: bool,
    size: Option<Size>,
    #[serde(default = "bicubic")]
    resample: u32,
    /// SigLIP's files lack this key, and SigLIP does not crop.
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "bytes_to_unit")]
    rescale_factor: f64,
    #[serde(default = "yes")]
    do_normalize: bool,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

/// A size, in any of the published forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
enum Size {
    /// The shorter side, or the side of a square crop.
    Side(u32),
    Shorter {
        shortest_edge: u32,
    },
    Both {
        height: u32,
        width: u32,
    },
}

fn yes() -> bool {
    true
}

fn bicubic() -> u32 {
    BICUBIC
}

/// The factor from bytes to numbers from 0 to 1.
fn bytes_to_unit() -> f64 {
    1.0 / 255.0
}

impl Preprocessing {
    /// Reads `preprocessor_config.json` of a vision transformer's folder. Without the file, or for
    /// a missing key, the value is that of [`Preprocessing::for_vision`].
    ///
    /// # Errors
    /// When the file has another form, or a value that is not supported; the error names its key.
    pub fn open(folder: &Path, config: &VisionConfig) -> Result<Self> {
        let path = folder.join(FILE);
        let family = Self::for_vision(config);
        if !path.exists() {
            return Ok(family);
        }
        let expected = "the preprocessor_config.json of a CLIP, SigLIP or DINOv2";
        let processor: ProcessorConfig = read_json(&path, expected)?;
        processor.check(&path)?;
        processor.preprocessing(&path, family)
    }

    /// The preprocessing of a family. CLIP resizes the shorter side to `image_size` and crops the
    /// middle, SigLIP resizes the whole photo to `image_size`, DINOv2 resizes the shorter side to
    /// 256 and crops 224.
    pub fn for_vision(config: &VisionConfig) -> Self {
        let side = config.image_size as u32;
        match config.family {
            VisionFamily::Clip => Self {
                fit: Fit::Crop {
                    shorter: side,
                    side,
                },
                ..Self::CLIP
            },
            VisionFamily::Siglip => Self {
                filter: Filter::Bicubic,
                mean: [0.5; 3],
                deviation: [0.5; 3],
                ..Self::IMAGENET.stretched(side)
            },
            VisionFamily::Dinov2 | VisionFamily::Dinov2WithRegisters => Self {
                filter: Filter::Bicubic,
                ..Self::IMAGENET
            },
        }
    }
}

impl ProcessorConfig {
    /// Refuses values that are not supported.
    fn check(&self, path: &Path) -> Result<()> {
        let checks = ConfigChecks(path);
        for (key, value) in [
            ("do_resize", self.do_resize),
            ("do_rescale", self.do_rescale),
        ] {
            if !value {
                checks.refuse(key, "true", false)?;
            }
        }
        // Files round this factor to 16 digits.
        if (self.rescale_factor - bytes_to_unit()).abs() > 1e-9 {
            checks.refuse("rescale_factor", "1/255", self.rescale_factor)?;
        }
        match self.resample {
            BILINEAR | BICUBIC => Ok(()),
            other => checks.refuse("resample", "2 (bilinear) or 3 (bicubic)", other),
        }
    }

    /// The preprocessing of the file; missing keys have the values of the family.
    fn preprocessing(&self, path: &Path, family: Preprocessing) -> Result<Preprocessing> {
        let (mean, deviation) = match self.do_normalize {
            true => (
                self.image_mean.unwrap_or(family.mean),
                self.image_std.unwrap_or(family.deviation),
            ),
            false => ([0.0; 3], [1.0; 3]),
        };
        let filter = match self.resample {
            BILINEAR => Filter::Bilinear,
            _ => Filter::Bicubic,
        };
        let is_usable = |numbers: [f32; 3]| numbers.iter().all(|number| number.is_finite());
        if !is_usable(mean) || !is_usable(deviation.map(f32::recip)) {
            let found = format!("{mean:?} and {deviation:?}");
            let expected = "finite numbers, and no deviation of zero";
            ConfigChecks(path).refuse("image_mean and image_std", expected, found)?;
        }
        Ok(Preprocessing {
            fit: self.fit(path, family.fit)?,
            filter,
            mean,
            deviation,
        })
    }

    fn fit(&self, path: &Path, family: Fit) -> Result<Fit> {
        let (size, crop, crops) = match family {
            Fit::Stretch { width, height } => (Size::Both { height, width }, None, false),
            Fit::Crop { shorter, side } => (Size::Side(shorter), Some(Size::Side(side)), true),
        };
        let size = self.size.unwrap_or(size);
        let crops = self.do_center_crop.unwrap_or(crops);
        let crop = self.crop_size.or(crop).filter(|_| crops);
        match (size, crop) {
            (Size::Both { height, width }, None) => Ok(Fit::Stretch { width, height }),
            (Size::Both { height, width }, Some(crop))
                if crop.square() == Some(height) && height == width =>
            {
                Ok(Fit::Stretch { width, height })
            }
            (
                Size::Side(shorter)
                | Size::Shorter {
                    shortest_edge: shorter,
                },
                Some(crop),
            ) => match crop.square() {
                Some(side) if side <= shorter => Ok(Fit::Crop { shorter, side }),
                _ => Err(refused(
                    path,
                    "crop_size",
                    "a square of at most size",
                    &crop,
                )),
            },
            (size, _) => Err(refused(
                path,
                "size",
                "the shorter side with a square crop, or height and width without a crop",
                &size,
            )),
        }
    }
}

impl Size {
    /// The side, where height and width are equal.
    fn square(self) -> Option<u32> {
        match self {
            Self::Side(side) => Some(side),
            Self::Both { height, width } if height == width => Some(height),
            Self::Both { .. } | Self::Shorter { .. } => None,
        }
    }
}

fn refused(path: &Path, key: &'static str, expected: &str, found: &Size) -> Error {
    Error::ModelConfig {
        path: path.to_owned(),
        key,
        expected: expected.to_owned(),
        found: serde_json::to_string(found).unwrap_or_default(),
    }
}
