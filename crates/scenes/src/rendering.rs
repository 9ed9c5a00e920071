//! Renders a scene: its picture, its boxes with descriptors, and the regions that answer the words of its
//! captions.

use rayon::prelude::*;
use uard_core::random::Draws;

use super::captions::Described;
use super::descriptor::describe;
use super::family::families;
use super::grammar::Referent;
use super::patch::SummedAreas;
use super::projection::Projection;
use super::raster::{Picture, draw};
use super::regions::{PixelBox, SHOWS_BACKGROUND, SHOWS_FIGURE, covered, regions};
use super::scene::Scene;

/// The alignment of a caption: the index of each word, and the regions that answer it.
pub(super) type Alignment = Vec<(usize, Vec<usize>)>;

/// A scene as pixels and boxes.
#[derive(Debug, Clone)]
pub(super) struct Rendering {
    pub(super) picture: Picture,
    pub(super) boxes: Vec<PixelBox>,
    sums: SummedAreas,
}

impl Rendering {
    /// Draws a scene and its boxes; `indices` are the numbers of split and scene, which select the
    /// random streams.
    pub(super) fn new(scene: &Scene, draws: &Draws, indices: [u64; 2]) -> Self {
        let picture = draw(scene, &mut draws.stream("scene pixels", &indices));
        let boxes = regions(&picture, &mut draws.stream("scene regions", &indices));
        let sums = SummedAreas::new(&picture.pixels);
        Self {
            picture,
            boxes,
            sums,
        }
    }

    /// The descriptor of every box.
    pub(super) fn descriptors(&self) -> Vec<Vec<f32>> {
        self.boxes
            .iter()
            .map(|region| describe(&self.sums, region))
            .collect()
    }

    /// The regions that answer each content word of a caption; words without one are left out.
    pub(super) fn alignment(&self, described: &Described) -> Alignment {
        let content = described.caption.content.iter();
        content
            .map(|(word, referent)| (*word, self.answering(*referent)))
            .filter(|(_, regions)| !regions.is_empty())
            .collect()
    }

    fn answering(&self, referent: Referent) -> Vec<usize> {
        let answers = |region: &PixelBox| match referent {
            Referent::Figure(figure) => {
                region.overlap(&self.picture.visible[figure]) >= SHOWS_FIGURE
            }
            Referent::Background => covered(region, &self.picture.owners) <= SHOWS_BACKGROUND,
        };
        let all = self.boxes.iter().enumerate();
        all.filter(|(_, region)| answers(region))
            .map(|(index, _)| index)
            .collect()
    }
}

/// The split number of calibration scenes, after those of train, dev and test.
const CALIBRATION: u64 = 3;

/// The projection of a seed, with the statistics of its calibration scenes.
pub(super) fn calibrated(draws: &Draws) -> Projection {
    const SCENES: usize = 32;
    let scenes: Vec<Scene> = families(draws, CALIBRATION, SCENES)
        .into_iter()
        .flat_map(|f| f.siblings)
        .collect();
    let descriptors: Vec<Vec<Vec<f32>>> = scenes
        .par_iter()
        .enumerate()
        .map(|(index, scene)| {
            Rendering::new(scene, draws, [CALIBRATION, index as u64]).descriptors()
        })
        .collect();
    Projection::calibrated(&descriptors.concat(), draws)
}

#[cfg(test)]
mod tests {
    use super::super::captions::captions;
    use super::*;

    #[test]
    fn alignments_point_at_boxes_that_overlap_the_figure() {
        let draws = Draws::new(6);
        let families = families(&draws, 0, 24);
        let captions = captions(&draws, 0, &families);
        for (index, scene) in families.iter().flat_map(|f| &f.siblings).enumerate() {
            let rendering = Rendering::new(scene, &draws, [0, index as u64]);
            for described in &captions[index] {
                let alignment = rendering.alignment(described);
                for (word, referent) in &described.caption.content {
                    let found = alignment.iter().find(|(index, _)| index == word);
                    let Referent::Figure(figure) = referent else {
                        continue;
                    };
                    let (_, regions) = found.expect("every figure has boxes");
                    assert!(regions.len() >= 2);
                    for region in regions {
                        let [x, y] = rendering.boxes[*region].centre();
                        let centre = scene.figures[*figure].centre;
                        let away = (x - centre[0]).hypot(y - centre[1]);
                        assert!(away < scene.figures[*figure].radius, "{away}");
                    }
                }
            }
        }
    }
}
