//! Who matches whom, on a GPU: all pairs, and the best of each.
//!
//! Work is cut into chunks of images whose similarities fit a bounded buffer; within a chunk every
//! similarity depends on its pair alone. The same input gives the same bytes on the same machine.

use std::ops::Range;

use uard_core::gpu::{Argument, Launch, Machine, Numbers, Program};

use super::fragments::DeviceFragments;
use super::programs::{TOP, match_program};
use super::tiling::{MOST_CAPTIONS, MOST_IMAGES, Shape, tiles};
use crate::config::QuerySide;
use crate::results::{Progress, Ranked, TopK, offer};
use crate::{Kept, MatcherConfig, Result, WeightRule};

/// Threads of `top.cu`.
const TOP_THREADS: u32 = 256;

/// Where a list has fewer entries than were asked for.
const NOTHING: u32 = u32::MAX;

/// Told the images of a chunk and their similarities, [images of the chunk, C].
type OnChunk<'a> = &'a mut dyn FnMut(Range<usize>, &Numbers<f32>) -> Result<()>;

/// Fragments of both sides in a machine's memory, of one width, and how they are matched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceSearch<'a> {
    pub machine: &'a dyn Machine,
    pub config: &'a MatcherConfig,
    /// The threshold that was given; the rule may have its own.
    pub threshold: f64,
    /// Of both sides: f16, or else bf16.
    pub is_f16: bool,
    /// Similarities that are in the machine's memory at once.
    pub pairs_at_once: usize,
    pub regions: &'a DeviceFragments,
    pub words: &'a DeviceFragments,
}

impl DeviceSearch<'_> {
    /// The similarity of every image with every caption into `out` [I, C] of that length; returns
    /// what was above the threshold.
    ///
    /// # Errors
    /// When a side is larger than the kernels take, or the machine fails.
    pub fn similarities_into(&self, out: &mut [f32], on_progress: Progress<'_>) -> Result<Kept> {
        let captions = self.words.counts.len();
        self.each_chunk(on_progress, &mut |images, similarities| {
            let out = &mut out[images.start * captions..images.end * captions];
            Ok(similarities.read_into(out)?)
        })
    }

    /// The `k` best captions of each image and the `k` best images of each caption; fewer where
    /// there are fewer.
    ///
    /// # Errors
    /// As [`DeviceSearch::similarities_into`].
    pub fn lists(&self, k: usize, on_progress: Progress<'_>) -> Result<TopK> {
        let (images, captions) = (self.regions.counts.len(), self.words.counts.len());
        let mut captions_of_images = Vec::with_capacity(images);
        let mut images_of_captions = vec![Vec::new(); captions];
        let kept = self.each_chunk(on_progress, &mut |chunk, similarities| {
            let k_here = k.min(captions) as u32;
            captions_of_images.extend(self.best(
                ("best_of_rows", chunk.len() as u32),
                chunk.len() * k_here as usize,
                &|indices, best| {
                    vec![
                        similarities.argument(),
                        indices,
                        best,
                        Argument::U32(captions as u32),
                        Argument::U32(k_here),
                    ]
                },
                k_here as usize,
            )?);
            let k_here = k.min(chunk.len()) as u32;
            let lists = self.best(
                ("best_of_columns", (captions as u32).div_ceil(TOP_THREADS)),
                captions * k_here as usize,
                &|indices, best| {
                    vec![
                        similarities.argument(),
                        indices,
                        best,
                        Argument::U32(chunk.len() as u32),
                        Argument::U32(captions as u32),
                        Argument::U32(k_here),
                        Argument::U32(chunk.start as u32),
                    ]
                },
                k_here as usize,
            )?;
            for (list, found) in images_of_captions.iter_mut().zip(lists) {
                found
                    .into_iter()
                    .for_each(|candidate| offer(list, k, candidate));
            }
            Ok(())
        })?;
        captions_of_images.resize(images, Vec::new());
        Ok(TopK {
            captions_of_images,
            images_of_captions,
            kept,
            recomputed: 0,
        })
    }

    /// Lists of `k` entries each from a kernel of `top.cu`.
    fn best(
        &self,
        (kernel, blocks): (&'static str, u32),
        entries: usize,
        arguments: &dyn Fn(Argument, Argument) -> Vec<Argument>,
        k: usize,
    ) -> Result<Vec<Vec<Ranked>>> {
        if k == 0 {
            return Ok(Vec::new());
        }
        let machine = self.machine;
        let indices = Numbers::<u32>::unset(machine, entries)?;
        let best = Numbers::<f32>::unset(machine, entries)?;
        let arguments = arguments(indices.argument(), best.argument());
        // SAFETY: the arguments are those of the kernel; all buffers outlive the read below, which
        // waits for it.
        unsafe {
            machine.launch(&Launch {
                program: &TOP,
                kernel,
                blocks,
                threads: TOP_THREADS,
                shared_bytes: 0,
                arguments: &arguments,
            })
        }?;
        let (indices, best) = (indices.read()?, best.read()?);
        let ranked = |(&index, &similarity): (&u32, &f32)| {
            (index != NOTHING).then_some(Ranked {
                index: index as usize,
                similarity,
            })
        };
        let lists = indices.chunks_exact(k).zip(best.chunks_exact(k));
        Ok(lists
            .map(|(indices, best)| indices.iter().zip(best).filter_map(ranked).collect())
            .collect())
    }

    /// Tells the similarities [images of the chunk, C] of one chunk of images after the other, and
    /// returns when all has run.
    fn each_chunk(&self, on_progress: Progress<'_>, on_chunk: OnChunk<'_>) -> Result<Kept> {
        let (images, captions) = (&self.regions.counts, &self.words.counts);
        let totals = Kept::of_totals(images, captions);
        let all = images.len() * captions.len();
        if all == 0 {
            return Ok(totals);
        }
        let captions = captions.len();
        let matching = Matching::new(*self)?;
        let longest = matching.chunks(self.pairs_at_once / captions);
        let room = longest.iter().map(|chunk| matching.images(chunk).len());
        let similarities = Numbers::<f32>::unset(self.machine, room.max().unwrap_or(0) * captions)?;
        for chunk in longest {
            let images = matching.images(&chunk);
            matching.run(&chunk, &similarities)?;
            let done = images.end * captions;
            on_chunk(images, &similarities)?;
            on_progress(done, all);
        }
        matching.kept(totals)
    }
}

/// One matching of two sides: tiles, and the program that was compiled for their shape.
struct Matching<'a> {
    search: DeviceSearch<'a>,
    shape: Shape,
    program: Program,
    image_tiles: Vec<u32>,
    image_tiles_there: Numbers<u32>,
    caption_tiles: Numbers<u32>,
    counts: Numbers<u64>,
}

impl<'a> Matching<'a> {
    fn new(search: DeviceSearch<'a>) -> Result<Self> {
        let (machine, rule) = (search.machine, search.config.rule);
        let counts = (&search.regions.counts[..], &search.words.counts[..]);
        let shared = machine.shared_bytes() as usize;
        let shape = Shape::choose(counts, shared, rule == WeightRule::Scan)?;
        let image_tiles = tiles(counts.0, shape.most_regions, MOST_IMAGES);
        let caption_tiles = tiles(counts.1, shape.word_rows, MOST_CAPTIONS);
        Ok(Self {
            program: match_program(&shape, rule, search.is_f16),
            image_tiles_there: Numbers::copied(machine, &image_tiles)?,
            caption_tiles: Numbers::copied(machine, &caption_tiles)?,
            counts: Numbers::zeros(machine, 3)?,
            search,
            shape,
            image_tiles,
        })
    }

    /// Runs of image tiles with at most so many images, or one tile.
    fn chunks(&self, most_images: usize) -> Vec<Range<usize>> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        for tile in 0..self.image_tiles.len() - 1 {
            let fits = |chunk: &&mut Range<usize>| {
                let images = self.image_tiles[tile + 1] - self.image_tiles[chunk.start];
                images as usize <= most_images
            };
            match chunks.last_mut().filter(fits) {
                Some(chunk) => chunk.end = tile + 1,
                None => chunks.push(tile..tile + 1),
            }
        }
        chunks
    }

    /// The images of a run of tiles.
    fn images(&self, tiles: &Range<usize>) -> Range<usize> {
        self.image_tiles[tiles.start] as usize..self.image_tiles[tiles.end] as usize
    }

    fn run(&self, tiles: &Range<usize>, similarities: &Numbers<f32>) -> Result<()> {
        let DeviceSearch {
            config,
            regions,
            words,
            ..
        } = self.search;
        let side = |side| match config.sides.asking().contains(&side) {
            true => {
                Argument::F32((config.inverse_temperature(side) * std::f64::consts::LOG2_E) as f32)
            }
            false => Argument::F32(-1.0),
        };
        let caption_tiles = self.caption_tiles.len() - 1;
        let number = |number: usize| Argument::U32(number as u32);
        let arguments = [
            regions.rows.argument(),
            regions.starts.argument(),
            regions.grams.argument(),
            regions.gram_starts.argument(),
            self.image_tiles_there.argument_from(tiles.start),
            words.rows.argument(),
            words.starts.argument(),
            words.grams.argument(),
            words.gram_starts.argument(),
            self.caption_tiles.argument(),
            similarities.argument(),
            self.counts.argument(),
            number(tiles.len()),
            number(caption_tiles),
            number(self.images(tiles).start),
            number(words.counts.len()),
            number(regions.padded),
            number(self.shape.most_regions),
            number(self.shape.cells_at),
            Argument::F32(config.threshold(self.search.threshold) as f32),
            side(QuerySide::Words),
            side(QuerySide::Regions),
        ];
        // SAFETY: the arguments are those of `match`; the sides and buffers outlive this matching,
        // whose similarities are read, and waited for, before any of them is given back.
        unsafe {
            self.search.machine.launch(&Launch {
                program: &self.program,
                kernel: "match",
                blocks: (tiles.len() * caption_tiles) as u32,
                threads: self.shape.threads(),
                shared_bytes: self.shape.shared_bytes as u32,
                arguments: &arguments,
            })
        }?;
        Ok(())
    }

    /// Waits for all that was launched.
    fn kept(&self, totals: Kept) -> Result<Kept> {
        let counts = self.counts.read()?;
        Ok(match self.search.config.has_masks() {
            true => totals.with_above([counts[0], counts[1], counts[2]]),
            false => totals.everything(),
        })
    }
}
