//! An image to be stored in a feature store, and the checks that it must pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{CheckResult, EntryProblem};
use super::manifest::{BOXES, Element, Manifest, SIZES};

/// How many pixels a box may reach out of its image, because detectors clip to its width or to one
/// pixel less, and round.
const TOLERANCE: f32 = 1.0;

/// Images whose shorter side has at most so many pixels may have all boxes within the first pixel.
const LEAST_SIDE: u32 = 4;

/// How much a box in fractions of its image may exceed 1 by rounding.
const FRACTION_TOLERANCE: f32 = 1e-3;

/// An image to be stored.
///
/// # Shapes
/// R regions, at least one, of width F.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// The id, which no other image of the store has.
    pub id: String,
    /// The size of the image in pixels.
    pub size: Option<Size>,
    /// `[R]`: x1, y1, x2, y2 in pixels.
    pub boxes: Option<Vec<[f32; 4]>>,
    /// `[R, F]`
    pub features: Vec<f32>,
    /// Other numbers of each region by name, such as classes and confidences.
    pub extras: BTreeMap<String, Column>,
}

/// An image's height and width in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The number of rows of pixels.
    pub height: u32,
    /// The number of columns of pixels.
    pub width: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "height {} and width {}", self.height, self.width)
    }
}

/// A number for each region of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// `[R]`: for example class ids.
    Integers(Vec<i64>),
    /// `[R]`: for example confidences.
    Reals(Vec<f32>),
}

impl Column {
    /// The number of regions.
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Reals(values) => values.len(),
        }
    }

    /// Whether the column has no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entry {
    /// The number of regions whose features have this width, rounded down.
    pub(super) fn regions(&self, width: usize) -> usize {
        self.features.len() / width
    }

    /// Checks features, columns and boxes against the store's manifest.
    pub(super) fn check(&self, manifest: &Manifest) -> CheckResult {
        self.check_features(manifest)?;
        self.check_columns(manifest)?;
        self.check_boxes()
    }

    fn check_features(&self, manifest: &Manifest) -> CheckResult {
        let width = manifest.width;
        if self.features.is_empty() {
            return Err(EntryProblem::NoRegions);
        }
        if !self.features.len().is_multiple_of(width) {
            let numbers = self.features.len();
            return Err(EntryProblem::Width { numbers, width });
        }
        let limit = match manifest.element {
            Element::F16 => f32::from(half::f16::MAX),
            Element::F32 => f32::MAX,
        };
        let is_bad = |value: &f32| value.is_nan() || value.abs() > limit;
        let bad = self.features.iter().position(is_bad);
        let Some(at) = bad else { return Ok(()) };
        let (region, feature, value) = (at / width, at % width, self.features[at]);
        Err(match value.is_finite() {
            true => EntryProblem::TooLarge {
                region,
                feature,
                value,
            },
            false => EntryProblem::NotFinite {
                region,
                feature,
                value,
            },
        })
    }

    fn check_columns(&self, manifest: &Manifest) -> CheckResult {
        let found = self.columns();
        if found != manifest.columns {
            return Err(EntryProblem::Columns {
                expected: listed(&manifest.columns),
                found: listed(&found),
            });
        }
        let regions = self.regions(manifest.width);
        let boxes = self.boxes.iter().map(|boxes| (BOXES, boxes.len()));
        let extras = self.extras.iter();
        let extras = extras.map(|(name, column)| (name.as_str(), column.len()));
        if let Some((column, found)) = boxes.chain(extras).find(|(_, found)| *found != regions) {
            return Err(EntryProblem::ColumnLength {
                column: column.to_owned(),
                regions,
                found,
            });
        }
        for (name, column) in &self.extras {
            let Column::Reals(values) = column else {
                continue;
            };
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(EntryProblem::ColumnValues {
                    column: name.clone(),
                    expected: "finite numbers",
                    found: value.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The names of its columns beside features, as in [`Manifest::columns`].
    pub fn columns(&self) -> BTreeSet<String> {
        let boxes = self.boxes.iter().map(|_| BOXES);
        let sizes = self.size.iter().map(|_| SIZES);
        let extras = self.extras.keys().map(String::as_str);
        boxes
            .chain(sizes)
            .chain(extras)
            .map(str::to_owned)
            .collect()
    }

    fn check_boxes(&self) -> CheckResult {
        let boxes = self.boxes.as_deref().unwrap_or_default();
        for (region, &corners) in boxes.iter().enumerate() {
            let [x1, y1, x2, y2] = corners;
            let finite = corners.iter().all(|corner| corner.is_finite());
            if !finite || x1 > x2 || y1 > y2 {
                return Err(EntryProblem::Box { region, corners });
            }
        }
        let Some(size) = self.size else { return Ok(()) };
        if are_fractions(boxes, size) {
            return Err(EntryProblem::BoxesAreFractions { size });
        }
        let Some(region) = boxes.iter().position(|corners| !inside(corners, size)) else {
            return Ok(());
        };
        let exchanged = Size {
            height: size.width,
            width: size.height,
        };
        Err(EntryProblem::BoxOutside {
            region,
            corners: boxes[region],
            size,
            fits_exchanged: boxes.iter().all(|corners| inside(corners, exchanged)),
        })
    }
}

/// Whether boxes are in fractions of the image instead of pixels: all lie within the first pixel of a
/// larger image, and they are not all zero, as unknown boxes are.
fn are_fractions(boxes: &[[f32; 4]], size: Size) -> bool {
    let farthest = boxes.as_flattened().iter().fold(0.0, |a: f32, &b| a.max(b));
    let is_large = size.height.min(size.width) > LEAST_SIDE;
    is_large && farthest > 0.0 && farthest <= 1.0 + FRACTION_TOLERANCE
}

fn inside([x1, y1, x2, y2]: &[f32; 4], size: Size) -> bool {
    let (height, width) = (size.height as f32, size.width as f32);
    *x1 >= -TOLERANCE && *y1 >= -TOLERANCE && *x2 <= width + TOLERANCE && *y2 <= height + TOLERANCE
}

fn listed(columns: &BTreeSet<String>) -> String {
    if columns.is_empty() {
        return "features only".to_owned();
    }
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    names.join(", ")
}
