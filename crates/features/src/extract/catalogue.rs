//! The encoders of photos by name, and their options.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uard_linalg::matmul::Matmul;

use super::PhotoEncoder;
use super::error::ExtractError;
use crate::backbone::{
    CandleModel, Cells, GridBackbone, InceptionV3, Network, Preprocessing, ResNet, Stage, Tokens,
    VISION_FILES, open_vision_folder,
};
use crate::detector::{BottomUpAttention, RegionLimits};
use crate::{Error, Result};
use uard_hub::Hub;
use uard_hub::source::Source;
use uard_hub::weights::{FILES, Weights};

/// An encoder of photos, written in files as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EncoderKind {
    /// Inception-v3 up to `Mixed_7a`; weights have timm's names.
    InceptionV3,
    /// ResNet-18; weights of ResNets have torchvision's and timm's names.
    Resnet18,
    /// ResNet-34.
    Resnet34,
    /// ResNet-50.
    Resnet50,
    /// ResNet-101.
    Resnet101,
    /// The detector of bottom-up attention: Faster R-CNN on ResNet-101, trained on Visual Genome.
    BottomUpAttention,
    /// The patches of a CLIP, SigLIP or DINOv2; family and sizes are read from the folder of the
    /// model.
    VisionTransformer,
    /// A network that candle-transformers computes.
    Candle(CandleModel),
}

/// The requested number of regions of a photo, written in files as a number, `"10-100"` or `"all"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CountInFile", into = "CountInFile")]
pub enum RegionCount {
    /// Every cell of a map.
    All,
    /// The same number for every photo.
    Exactly(usize),
    /// Between two numbers, depending on the photo: for detectors.
    Between(usize, usize),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CountInFile {
    Number(usize),
    Text(String),
}

impl TryFrom<CountInFile> for RegionCount {
    type Error = ExtractError;

    fn try_from(count: CountInFile) -> std::result::Result<Self, ExtractError> {
        match count {
            CountInFile::Number(count) => count.to_string().parse(),
            CountInFile::Text(text) => text.parse(),
        }
    }
}

impl From<RegionCount> for CountInFile {
    fn from(count: RegionCount) -> Self {
        match count {
            RegionCount::Exactly(count) => Self::Number(count),
            other => Self::Text(other.to_string()),
        }
    }
}

/// The choice of an encoder and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Which encoder.
    pub kind: EncoderKind,
    /// The number of regions of a photo.
    pub regions: RegionCount,
    /// The number type of the factors of its products.
    pub matmul: Matmul,
}

/// An encoder with its weights in memory.
pub type OpenEncoder = Box<dyn PhotoEncoder>;

impl EncoderKind {
    /// All encoders, in the order of messages and help texts.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [
            Self::InceptionV3,
            Self::Resnet18,
            Self::Resnet34,
            Self::Resnet50,
            Self::Resnet101,
            Self::BottomUpAttention,
            Self::VisionTransformer,
        ];
        own.into_iter().chain(CandleModel::all().map(Self::Candle))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::InceptionV3 => "inception-v3",
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
            Self::BottomUpAttention => "bottom-up-attention",
            Self::VisionTransformer => "vision-transformer",
            Self::Candle(model) => model.name(),
        }
    }

    /// The path of the weights on this machine: a file, or the folder of a vision transformer.
    /// Weights that are named on a hub are downloaded.
    ///
    /// # Errors
    /// When a file is missing or cannot be downloaded.
    pub fn weights(self, source: &Source, hub: &Hub) -> Result<PathBuf> {
        match self {
            Self::VisionTransformer => Ok(source.folder(hub, VISION_FILES)?),
            _ => Ok(source.file(hub, &FILES)?),
        }
    }

    /// The names of all encoders, for a message.
    pub fn names() -> String {
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        names.join(", ")
    }
}

impl fmt::Display for EncoderKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for EncoderKind {
    type Err = ExtractError;

    fn from_str(text: &str) -> std::result::Result<Self, ExtractError> {
        Self::all()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| ExtractError::UnknownEncoder {
                name: text.to_owned(),
                known: Self::names(),
            })
    }
}

impl TryFrom<String> for EncoderKind {
    type Error = ExtractError;

    fn try_from(name: String) -> std::result::Result<Self, ExtractError> {
        name.parse()
    }
}

impl From<EncoderKind> for String {
    fn from(kind: EncoderKind) -> Self {
        kind.name().to_owned()
    }
}

impl fmt::Display for RegionCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Exactly(count) => write!(formatter, "{count}"),
            Self::Between(least, most) => write!(formatter, "{least}-{most}"),
        }
    }
}

impl FromStr for RegionCount {
    type Err = ExtractError;

    fn from_str(text: &str) -> std::result::Result<Self, ExtractError> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|count| *count > 0);
        let found = match text.split_once('-') {
            _ if text == "all" => Some(Self::All),
            Some((least, most)) => number(least)
                .zip(number(most))
                .filter(|(least, most)| least <= most)
                .map(|(least, most)| Self::Between(least, most)),
            None => number(text).map(Self::Exactly),
        };
        found.ok_or_else(|| ExtractError::RegionCount {
            text: text.to_owned(),
        })
    }
}

impl EncoderOptions {
    /// Reads the weights at the path of [`EncoderKind::weights`] and builds the network.
    ///
    /// # Errors
    /// When the weights cannot be read or are those of another network, or when the encoder does
    /// not support the number of regions or the number type.
    pub fn open(self, weights: &Path) -> Result<OpenEncoder> {
        match self.kind {
            EncoderKind::InceptionV3 => self.grid(weights, Preprocessing::INCEPTION, |weights| {
                InceptionV3::default().load(weights, self.matmul)
            }),
            EncoderKind::Resnet18 => self.resnet(weights, ResNet::R18),
            EncoderKind::Resnet34 => self.resnet(weights, ResNet::R34),
            EncoderKind::Resnet50 => self.resnet(weights, ResNet::R50),
            EncoderKind::Resnet101 => self.resnet(weights, ResNet::R101),
            EncoderKind::BottomUpAttention => self.bottom_up(&Weights::open(weights)?),
            EncoderKind::VisionTransformer => {
                let cells = self.cells()?;
                let backbone = open_vision_folder(weights, Tokens::Hidden, cells, self.matmul)?;
                Ok(Box::new(backbone))
            }
            EncoderKind::Candle(_) if self.matmul != Matmul::F32 => {
                Err(Error::Extract(ExtractError::MatmulOfEncoder {
                    encoder: self.kind.name(),
                    matmul: self.matmul.to_string(),
                }))
            }
            EncoderKind::Candle(model) => self.grid(weights, model.preprocessing(), |weights| {
                model.load(weights)
            }),
        }
    }

    fn resnet(self, weights: &Path, config: ResNet) -> Result<OpenEncoder> {
        let preprocessing = Preprocessing::IMAGENET.stretched(224);
        self.grid(weights, preprocessing, |weights| {
            config.load(weights, Stage::C5, self.matmul)
        })
    }

    /// An encoder whose regions are the cells of a network's map. The number of regions is checked
    /// before the weights are read.
    fn grid(
        self,
        weights: &Path,
        preprocessing: Preprocessing,
        load: impl FnOnce(&Weights) -> Result<Network>,
    ) -> Result<OpenEncoder> {
        let cells = self.cells()?;
        let network = load(&Weights::open(weights)?)?;
        Ok(Box::new(GridBackbone::new(network, preprocessing, cells)?))
    }

    fn cells(self) -> Result<Cells> {
        match self.regions {
            RegionCount::All => Ok(Cells::All),
            RegionCount::Exactly(count) if count.isqrt().pow(2) == count => Ok(Cells::Grid {
                side: count.isqrt(),
            }),
            _ => Err(self.unsupported_regions(
                "its regions are the cells of a square grid, so ask for a square number such as 36, or all",
            )),
        }
    }

    fn bottom_up(self, weights: &Weights) -> Result<OpenEncoder> {
        let regions = match self.regions {
            RegionCount::Exactly(count) => RegionLimits {
                least: count,
                most: count,
                ..RegionLimits::fixed()
            },
            RegionCount::Between(least, most) => RegionLimits {
                least,
                most,
                ..RegionLimits::adaptive()
            },
            RegionCount::All => {
                return Err(self.unsupported_regions(
                    "it orders regions by confidence, so ask for a number such as 36, or a range such as 10-100",
                ));
            }
        };
        let detector = BottomUpAttention {
            regions,
            ..BottomUpAttention::default()
        };
        Ok(Box::new(detector.load(weights, self.matmul)?))
    }

    fn unsupported_regions(self, expected: &'static str) -> Error {
        Error::Extract(ExtractError::RegionsOfEncoder {
            encoder: self.kind.name(),
            regions: self.regions.to_string(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::*;

    #[test]
    fn names_and_counts_are_the_same_after_writing_and_reading() {
        for kind in EncoderKind::all() {
            assert_eq!(kind.name().parse::<EncoderKind>().unwrap(), kind);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
        }
        for text in ["all", "36", "10-100"] {
            let count = text.parse::<RegionCount>().unwrap();
            assert_eq!(count.to_string(), text);
            let json = serde_json::to_string(&count).unwrap();
            assert_eq!(serde_json::from_str::<RegionCount>(&json).unwrap(), count);
        }
        for wrong in ["", "0", "100-10", "-", "some", "3-"] {
            assert!(wrong.parse::<RegionCount>().is_err(), "{wrong}");
        }
        let message = "vgg".parse::<EncoderKind>().unwrap_err().to_string();
        assert!(message.contains("inception-v3"), "{message}");
    }

    #[test]
    fn detectors_support_ranges_of_regions_and_grids_do_not() {
        let options = |kind, regions: &str| EncoderOptions {
            kind,
            regions: regions.parse().unwrap(),
            matmul: Matmul::F32,
        };
        let drawn = || Weights::drawn(Draws::new(1));
        let message = |found: Result<OpenEncoder>| found.err().unwrap().to_string();
        let all = options(EncoderKind::BottomUpAttention, "all").bottom_up(&drawn());
        assert!(message(all).contains("such as 10-100"));
        let encoder = options(EncoderKind::BottomUpAttention, "10-50").bottom_up(&drawn());
        let encoder = encoder.unwrap();
        assert_eq!((encoder.most_regions(), encoder.width()), (50, 2048));
        assert_eq!(encoder.extras().len(), 4);
        let settings = encoder.settings().unwrap();
        let regions = &settings["detector"]["bottom_up_attention"]["regions"];
        assert_eq!(regions["most"], 50);
        let grid = options(EncoderKind::Resnet18, "10-50").cells();
        assert!(grid.unwrap_err().to_string().contains("a square number"));
    }
}
