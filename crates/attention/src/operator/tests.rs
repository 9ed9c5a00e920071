//! Do listed cells and whole tiles give the same?

use uard_core::random::{Draws, normal};
use uard_linalg::matmul::Matmul;

use super::forward::TileForward;
use super::pair::Worker;
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

fn question(sides: Sides, threshold: f64) -> Question<'static> {
    Question {
        config: MatcherConfig {
            sides,
            ..MatcherConfig::default()
        },
        matmul: Matmul::F32,
        threshold,
        regions: (&REGIONS, 12),
        words: (&WORDS, 9),
        keep: Keep::Relevance,
    }
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
    // One pair without gradient.
    let upstream: Vec<f64> = (0..12).map(|at| f64::from(at % 5) - 1.0).collect();
    for sides in [Sides::Both, Sides::Words, Sides::Regions] {
        let question = question(sides, 0.3);
        let (operator, _) = MatcherOperator::<f64>::new(&question);
        let (similarities, saved) = operator.forward(&fragments);
        let listed = saved.take_relevance().unwrap();
        let many = |left: &Left<f64>| matches!(left, Left::Listed(cells) if cells.cells.len() > 9);
        assert!(listed.iter().all(many));
        saved.put_relevance(listed);
        let by_list = operator.gradients(&fragments, &saved, &upstream);

        let (packed, mut every) = (operator.pack(&fragments, &saved.words), Vec::new());
        for tile in (0..operator.tiles.len()).map(|at| operator.tiles.tile(at)) {
            let (mut relevance, mut found) = (Vec::new(), TileForward::empty(&tile));
            packed.relevance(&tile, &mut relevance);
            let whole = (&tile, &relevance[..]);
            operator.answer_every(whole, &saved, &mut Worker::default(), &mut found);
            let pairs = tile
                .captions
                .clone()
                .flat_map(|c| tile.images.clone().map(move |i| (i, c)));
            let expected: Vec<f64> = pairs
                .map(|(i, c)| similarities[i * WORDS.len() + c])
                .collect();
            near(&found.similarities, &expected, "similarities");
            every.push(Left::Every(relevance));
        }
        saved.put_relevance(every);
        let by_tile = operator.gradients(&fragments, &saved, &upstream);
        let what = format!("{sides:?} ask");
        near(&by_list.0, &by_tile.0, &what);
        near(&by_list.1, &by_tile.1, &what);
    }
}
