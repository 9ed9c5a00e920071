//! Tests that a tile gives the same similarities and gradients whether only its cells above the
//! threshold are saved, as a list, or all its cells.

use candle_core::Var;
use uard_core::random::{Draws, normal};
use uard_linalg::matmul::Matmul;

use super::forward::TileOutput;
use super::pair::Workspace;
use super::*;
use crate::config::Sides;

const WIDTH: usize = 24;
const REGIONS: [usize; 3] = [9, 5, 12];
const WORDS: [usize; 4] = [7, 1, 4, 9];

/// Unit rows, padded with zeros.
fn rows(label: &str, counts: &[usize]) -> Vec<f64> {
    let longest = counts.iter().copied().max().unwrap();
    let mut stream = Draws::new(3).stream(label, &[]);
    let mut rows = Vec::new();
    for &count in counts {
        for row in 0..longest {
            let numbers = normal(&mut stream, 1.0, WIDTH);
            let length = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let scale = if row < count {
                length.sqrt().recip()
            } else {
                0.0
            };
            rows.extend(numbers.iter().map(|&x| f64::from(x) * scale));
        }
    }
    rows
}

/// An operator that keeps relevance for a backward pass.
fn operator(sides: Sides, words: &[f64], regions: &[f64]) -> MatcherOperator<f64> {
    let options = OperatorOptions {
        config: MatcherConfig {
            sides,
            ..MatcherConfig::default()
        },
        matmul: Matmul::F32,
        threshold: 0.3,
    };
    let trained = |rows: &[f64], shape| Var::from_slice(rows, shape, &Device::Cpu).unwrap();
    let words = trained(words, (WORDS.len(), 9, WIDTH));
    let regions = trained(regions, (REGIONS.len(), 12, WIDTH));
    let words = Words::normalized(&words, WORDS.to_vec()).unwrap();
    let regions = Regions::normalized(&regions, REGIONS.to_vec()).unwrap();
    MatcherOperator::new(&options, &regions, &words)
}

fn near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{what}: {found} {expected}"
        );
    }
}

#[test]
fn listed_cells_and_whole_tiles_give_the_same() {
    let (words, regions) = (rows("words", &WORDS), rows("regions", &REGIONS));
    let fragments = Fragments {
        words: &words,
        regions: &regions,
        width: WIDTH,
    };
    // One pair has no upstream gradient.
    let upstream: Vec<f64> = (0..12).map(|at| f64::from(at % 5) - 1.0).collect();
    for sides in [Sides::Both, Sides::Words, Sides::Regions] {
        let operator = operator(sides, &words, &regions);
        let ForwardOutput {
            similarities,
            saved,
            ..
        } = operator.forward(&fragments);
        let backward = BatchBackward {
            operator: &operator,
            fragments: &fragments,
            saved: &saved,
            upstream: &upstream,
        };
        let listed = saved.take_tiles().unwrap();
        let many = |tile: &SavedTile<f64>| match tile {
            SavedTile::Listed(listed) => listed.cells.len() > 9,
            SavedTile::AllCells(_) => false,
        };
        assert!(listed.iter().all(many));
        saved.put_tiles(listed);
        let by_list = backward.run();

        let (packed, mut all_cells) = (operator.pack(&fragments, &saved.words), Vec::new());
        for tile in (0..operator.tiles.len()).map(|at| operator.tiles.tile(at)) {
            let (mut relevance, mut output) = (Vec::new(), TileOutput::new(&tile));
            packed.relevance(&tile, &mut relevance);
            let mut workspace = Workspace::default();
            operator.forward_all_cells(&relevance, &saved, &mut workspace, &mut output);
            let pairs = tile
                .captions
                .clone()
                .flat_map(|c| tile.images.clone().map(move |i| (i, c)));
            let expected: Vec<f64> = pairs
                .map(|(i, c)| similarities[i * WORDS.len() + c])
                .collect();
            near(&output.similarities, &expected, "similarities");
            all_cells.push(SavedTile::AllCells(relevance));
        }
        saved.put_tiles(all_cells);
        let by_tile = backward.run();
        let what = format!("{sides:?} as queries");
        near(&by_list.0, &by_tile.0, &what);
        near(&by_list.1, &by_tile.1, &what);
    }
}
