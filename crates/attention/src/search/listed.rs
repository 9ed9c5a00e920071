//! The similarities of listed pairs. Pairs of one image whose captions lie close together are computed in
//! one run: the image's panels times all words from the run's first caption to its last.

use std::ops::Range;

use bytemuck::Pod;
use rayon::prelude::*;
use uard_linalg::panels::{Element, PANEL, panels_for};

use super::PackedPairs;
use super::similarities::Workspace;
use super::tiles::Fragments;
use crate::PackedRegions;
use crate::kernel::answers::{Answers, CaptionPairs, Tile};

/// How many listed pairs one task computes.
const PAIRS_IN_A_CHUNK: usize = 128;

/// The most words between two captions of one run; further apart, multiplying the words between them
/// would cost more than another run.
const LARGEST_GAP: usize = 2 * PANEL;

impl PackedPairs<'_> {
    /// The similarity of each listed (image, caption), with the bits that it has among all pairs.
    ///
    /// Pairs are sorted by image, and captions that lie close together are multiplied in one run.
    pub(super) fn listed_similarities<T: Element + Pod>(
        &self,
        pairs: &[(usize, usize)],
    ) -> Vec<f32> {
        let answers = self.answers();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.par_sort_unstable_by_key(|&at| (pairs[at], at));
        let found: Vec<Vec<f32>> = order
            .par_chunks(PAIRS_IN_A_CHUNK)
            .map_init(Workspace::new, |workspace, chunk| {
                if self.fragments.is_stopped() {
                    return vec![0.0; chunk.len()];
                }
                let sorted: Vec<_> = chunk.iter().map(|&at| pairs[at]).collect();
                sorted_similarities::<T>(&self.fragments, &answers, &sorted, workspace)
            })
            .collect();
        let mut similarities = vec![0.0; pairs.len()];
        for (at, similarity) in order.into_iter().zip(found.into_iter().flatten()) {
            similarities[at] = similarity;
        }
        similarities
    }
}

/// The similarity of each listed (image, caption); the pairs are sorted.
fn sorted_similarities<T: Element + Pod>(
    fragments: &Fragments<'_>,
    answers: &Answers,
    pairs: &[(usize, usize)],
    workspace: &mut Workspace<f32>,
) -> Vec<f32> {
    let mut found = Vec::with_capacity(pairs.len());
    let is_one_run = |a: &(usize, usize), b: &(usize, usize)| {
        let end = fragments.words.place(a.1) + fragments.words.counts()[a.1];
        a.0 == b.0 && fragments.words.place(b.1) < end + LARGEST_GAP
    };
    for run in pairs.chunk_by(is_one_run) {
        let image = run[0].0;
        let panels = panels_of(fragments.regions, image);
        let columns = [fragments.image_columns(image, panels.start)];
        let captions = run[0].1..run[run.len() - 1].1 + 1;
        let mut wanted = run.iter().map(|pair| pair.1).peekable();
        let scratch = &mut workspace.scratch;
        let mut on_caption = |caption, tile: Tile<'_>| {
            if wanted.peek() != Some(&caption) {
                return;
            }
            let pairs = CaptionPairs {
                tile,
                word_gram: fragments.words.gram(caption),
                images: &columns,
            };
            let mut similarity = [0.0];
            answers.match_caption(&pairs, scratch, &mut similarity);
            while wanted.next_if_eq(&caption).is_some() {
                found.push(similarity[0]);
            }
        };
        fragments.stream::<T>(panels, captions, &mut workspace.rows, &mut on_caption);
    }
    found
}

/// The panels that hold an image's regions.
pub(crate) fn panels_of(regions: &PackedRegions, image: usize) -> Range<usize> {
    let place = regions.place(image);
    place / PANEL..panels_for(place + regions.counts()[image])
}
