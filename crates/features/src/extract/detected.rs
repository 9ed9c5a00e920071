//! A detector as an encoder of photos: its classes and attributes are stored as extra columns.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ExtractError, PhotoEncoder, PhotoRegions};
use crate::Result;
use crate::backbone::Photo;
use crate::detector::{DetectedRegions, Detector, Label};
use uard_data::store::Column;

/// The extra columns: ids and confidences of the classes, then of the attributes.
const COLUMNS: [&str; 4] = [
    "object_ids",
    "object_confidences",
    "attribute_ids",
    "attribute_confidences",
];

impl PhotoEncoder for Detector {
    fn encode(&self, photos: &[Photo]) -> Result<Vec<PhotoRegions>> {
        let regions = self.regions(photos)?.into_iter();
        Ok(regions.map(stored).collect())
    }

    fn width(&self) -> usize {
        Self::width(self)
    }

    fn most_regions(&self) -> usize {
        self.settings().regions.most
    }

    fn extras(&self) -> &'static [&'static str] {
        &COLUMNS
    }

    fn settings(&self) -> Result<Value> {
        let settings = serde_json::to_value(Self::settings(self));
        let settings = settings.map_err(|cause| ExtractError::Settings {
            cause: cause.to_string(),
        })?;
        Ok(serde_json::json!({
            "detector": { "bottom_up_attention": settings },
            "numbers": self.matmul().to_string(),
        }))
    }
}

fn stored(found: DetectedRegions) -> PhotoRegions {
    let columns = [found.classes, found.attributes];
    let columns = columns
        .iter()
        .flat_map(|labels| [ids(labels), confidences(labels)]);
    let named = COLUMNS.iter().map(|name| (*name).to_owned());
    PhotoRegions {
        features: found.features,
        boxes: found.boxes,
        extras: named.zip(columns).collect::<BTreeMap<String, Column>>(),
    }
}

fn ids(labels: &[Label]) -> Column {
    Column::Integers(labels.iter().map(|label| label.id as i64).collect())
}

fn confidences(labels: &[Label]) -> Column {
    Column::Reals(labels.iter().map(|label| label.confidence).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_columns_by_name() {
        let label = |id, confidence| Label { id, confidence };
        let found = DetectedRegions {
            features: vec![1.0, 2.0],
            boxes: vec![[0.0, 0.0, 1.0, 1.0]],
            classes: vec![label(7, 0.5)],
            attributes: vec![label(3, 0.25)],
        };
        let whole = stored(found);
        assert_eq!(whole.extras["object_ids"], Column::Integers(vec![7]));
        assert_eq!(
            whole.extras["attribute_confidences"],
            Column::Reals(vec![0.25])
        );
        assert_eq!(whole.extras.len(), 4);
    }
}
