//! Who matches whom, on a GPU: all pairs, and the best of each.
//!
//! Work is cut into chunks of images whose similarities fit a bounded buffer; within a chunk every
//! similarity depends on its pair alone. The same input gives the same bytes on the same machine.

use std::ops::Range;
use std::sync::Arc;

use uard_core::gpu::{Argument, Launch, Machine, Numbers, Program};

use super::fragments::{DeviceRegions, DeviceWords, Half};
use super::programs::{TOP, match_program};
use super::tiling::{MOST_CAPTIONS, MOST_IMAGES, Shape, tiles};
use crate::config::QuerySide;
use crate::search::{Progress, Ranked, TopK, offer};
use crate::{Error, Kept, Matcher, MatcherConfig, Result, WeightRule};

/// Similarities that are in the machine's memory at once: 256 MB.
const PAIRS_AT_ONCE: usize = 1 << 26;

/// Threads of `top.cu`.
const TOP_THREADS: u32 = 256;

/// Where a list has fewer entries than were asked for.
const NOTHING: u32 = u32::MAX;

/// Told the images of a chunk and their similarities, [images of the chunk, C].
type OnChunk<'a, M> = &'a mut dyn FnMut(Range<usize>, &Numbers<M, f32>) -> Result<()>;

/// Matches fragments in a machine's memory with one threshold.
#[derive(Debug)]
pub struct DeviceSearch<M> {
    machine: Arc<M>,
    config: MatcherConfig,
    threshold: f64,
    pairs_at_once: usize,
}

impl<M: Machine> DeviceSearch<M> {
    /// A search with the settings of a matcher.
    ///
    /// # Errors
    /// When the threshold is not finite.
    pub fn new(machine: Arc<M>, matcher: &Matcher, threshold: f64) -> Result<Self> {
        MatcherConfig::check_threshold(threshold)?;
        Ok(Self {
            machine,
            config: *matcher.config(),
            threshold,
            pairs_at_once: PAIRS_AT_ONCE,
        })
    }

    /// The same with a smaller buffer: more chunks.
    #[must_use]
    pub fn with_pairs_at_once(self, pairs_at_once: usize) -> Self {
        Self {
            pairs_at_once,
            ..self
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }

    /// The similarity of every image with every caption; returns what was above the threshold.
    ///
    /// # Shapes
    /// `out` row-major [I, C], every number of it written.
    ///
    /// # Errors
    /// When `out` has another length, the sides do not fit each other, or the machine fails.
    pub fn similarities_into(
        &self,
        (regions, words): (&DeviceRegions<M>, &DeviceWords<M>),
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Kept> {
        let expected = regions.counts().len() * words.counts().len();
        if out.len() != expected {
            return Err(Error::OutputLength {
                expected,
                found: out.len(),
            });
        }
        let captions = words.counts().len();
        self.each_chunk(
            (regions, words),
            on_progress,
            &mut |images, similarities| {
                let out = &mut out[images.start * captions..images.end * captions];
                Ok(similarities.read_into(&self.machine, out)?)
            },
        )
    }

    /// The `k` best captions of each image and the `k` best images of each caption; fewer where
    /// there are fewer.
    ///
    /// # Errors
    /// When the sides do not fit each other, or the machine fails.
    pub fn top_k(
        &self,
        (regions, words): (&DeviceRegions<M>, &DeviceWords<M>),
        k: usize,
        on_progress: Progress<'_>,
    ) -> Result<TopK> {
        let (images, captions) = (regions.counts().len(), words.counts().len());
        let mut captions_of_images = Vec::with_capacity(images);
        let mut images_of_captions = vec![Vec::new(); captions];
        let kept = self.each_chunk((regions, words), on_progress, &mut |chunk, similarities| {
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
        let machine = &*self.machine;
        let indices = Numbers::<M, u32>::unset(machine, entries)?;
        let best = Numbers::<M, f32>::unset(machine, entries)?;
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
        let (indices, best) = (indices.read(machine)?, best.read(machine)?);
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

    /// Tells the similarities [images of the chunk, C] of one chunk of images after the other.
    fn each_chunk(
        &self,
        (regions, words): (&DeviceRegions<M>, &DeviceWords<M>),
        on_progress: Progress<'_>,
        on_chunk: OnChunk<'_, M>,
    ) -> Result<Kept> {
        let totals = Kept::of_totals(regions.counts(), words.counts());
        let all = regions.counts().len() * words.counts().len();
        if all == 0 {
            return Ok(totals);
        }
        let matching = Matching::new(self, regions, words)?;
        let captions = words.counts().len();
        let longest = matching.chunks(self.pairs_at_once / captions);
        let room = longest.iter().map(|chunk| matching.images(chunk).len());
        let similarities =
            Numbers::<M, f32>::unset(&self.machine, room.max().unwrap_or(0) * captions)?;
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
struct Matching<'a, M: Machine> {
    search: &'a DeviceSearch<M>,
    regions: &'a DeviceRegions<M>,
    words: &'a DeviceWords<M>,
    shape: Shape,
    program: Program,
    image_tiles: Vec<u32>,
    image_tiles_there: Numbers<M, u32>,
    caption_tiles: Numbers<M, u32>,
    counts: Numbers<M, u64>,
}

impl<'a, M: Machine> Matching<'a, M> {
    fn new(
        search: &'a DeviceSearch<M>,
        regions: &'a DeviceRegions<M>,
        words: &'a DeviceWords<M>,
    ) -> Result<Self> {
        if regions.width() != words.width() {
            return Err(Error::WidthMismatch {
                regions: regions.width(),
                words: words.width(),
            });
        }
        if regions.0.half != words.0.half {
            return Err(Error::Setting {
                setting: "precision of words",
                found: format!("{:?}", words.0.half),
                expected: "that of the regions",
            });
        }
        let machine = &*search.machine;
        let rule = search.config.rule;
        let counts = (regions.counts(), words.counts());
        let shared = machine.shared_bytes() as usize;
        let shape = Shape::choose(counts, shared, rule == WeightRule::Scan)?;
        let image_tiles = tiles(regions.counts(), shape.most_regions, MOST_IMAGES);
        let caption_tiles = tiles(words.counts(), shape.word_rows, MOST_CAPTIONS);
        Ok(Self {
            program: match_program(&shape, rule, regions.0.half == Half::F16),
            image_tiles_there: Numbers::copied(machine, &image_tiles)?,
            caption_tiles: Numbers::copied(machine, &caption_tiles)?,
            counts: Numbers::zeros(machine, 3)?,
            search,
            regions,
            words,
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

    fn run(&self, tiles: &Range<usize>, similarities: &Numbers<M, f32>) -> Result<()> {
        let (regions, words) = (&self.regions.0, &self.words.0);
        let config = &self.search.config;
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

    fn kept(&self, totals: Kept) -> Result<Kept> {
        if !self.search.config.has_masks() {
            return Ok(totals.everything());
        }
        let counts = self.counts.read(&self.search.machine)?;
        Ok(Kept {
            word_queries: counts[0],
            region_queries: counts[1],
            cells: counts[2],
            ..totals
        })
    }
}
