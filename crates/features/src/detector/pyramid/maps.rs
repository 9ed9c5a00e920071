//! How do maps of all stages become a pyramid? From the smallest on, each is added to the next.

use super::{FasterRcnnFpn, STAGES, either};
use crate::Result;
use crate::backbone::{After, Convolution, Edge, Maps, Number, Pool, Pooling, Window};
use crate::detector::linear::convolution;
use uard_hub::weights::Weights;

/// Takes every second cell: the map above the pyramid, for the largest anchors.
const HALVED: Pool = Pool {
    window: Window::square(1, 2, 0),
    edge: Edge::Inside,
    pooling: Pooling::Max,
};

/// Maps of one number of channels from maps of all stages.
#[derive(Debug)]
pub struct Pyramid<T> {
    /// For each stage.
    inner: Vec<Convolution<T>>,
    /// For each stage, after the sums.
    outer: Vec<Convolution<T>>,
}

impl<T: Number> Pyramid<T> {
    pub fn read(config: &FasterRcnnFpn, weights: &Weights) -> Result<Self> {
        let read = |kind: &str, at: usize, inputs, window| {
            let former = format!("backbone.fpn.{kind}.{at}");
            let name = format!("{former}.0");
            let name = either(weights, &name, &former);
            let channels = (config.channels, inputs);
            convolution(weights, name, channels, window, After::Nothing)
        };
        let stages = || STAGES.into_iter().enumerate();
        let inner = stages().map(|(at, stage)| {
            let inputs = config.resnet.channels(stage);
            read("inner_blocks", at, inputs, Window::square(1, 1, 0))
        });
        let outer =
            stages().map(|(at, _)| read("layer_blocks", at, config.channels, Window::same(3, 3)));
        Ok(Self {
            inner: inner.collect::<Result<_>>()?,
            outer: outer.collect::<Result<_>>()?,
        })
    }

    /// One map for each stage and a halved one, the largest first.
    pub fn forward(&self, stages: &[Maps<T>]) -> Vec<Maps<T>> {
        let mut maps = Vec::new();
        let mut above: Option<Maps<T>> = None;
        for ((inner, outer), stage) in self.inner.iter().zip(&self.outer).zip(stages).rev() {
            let sums = match &above {
                Some(above) => inner.forward_plus(stage, &doubled(above)),
                None => inner.forward(stage),
            };
            maps.push(outer.forward(&sums));
            above = Some(sums);
        }
        maps.reverse();
        let top = maps.last().map(|map| HALVED.forward(map));
        maps.extend(top);
        maps
    }
}

/// Each cell twice, down and across: the sides of stages are exact halves of each other, because
/// pixels come in multiples of 32.
fn doubled<T: Number>(map: &Maps<T>) -> Maps<T> {
    let ((height, width), channels) = (map.size(), map.channels());
    let shape = [map.photos(), 2 * height, 2 * width, channels];
    let rows = map.values().chunks_exact(width * channels);
    let values = rows.flat_map(|row| {
        let cells = row.chunks_exact(channels);
        let wide: Vec<T> = cells.flat_map(|cell| [cell, cell].concat()).collect();
        [wide.as_slice(), wide.as_slice()].concat()
    });
    Maps::new(values.collect(), shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_map_has_each_cell_four_times() {
        let map = Maps::new(vec![1.0_f32, 2.0, 3.0, 4.0], [1, 1, 2, 2]);
        let found = doubled(&map);
        assert_eq!(found.shape(), [1, 2, 4, 2]);
        let row = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0];
        assert_eq!(found.values(), [row, row].concat());
    }
}
