//! A search on a GPU: the similarities of all pairs, and the best of each image and caption.
//!
//! Images are processed in chunks whose similarities fit a buffer of bounded size; a similarity
//! depends on its pair alone. The same input gives the same bytes on the same GPU.

use std::ops::Range;

use uard_core::gpu::{Argument, Gpu, Launch, Numbers, Program};

use super::fragments::DeviceFragments;
use super::pairs::side_argument;
use super::programs::{TOP, match_program};
use super::tiling::{MOST_CAPTIONS, MOST_IMAGES, TileShape, tiles};
use crate::config::QuerySide;
use crate::kept::Above;
use crate::results::{NO_PROGRESS, Progress, Ranked, TopK, offer};
use crate::{Kept, MatcherConfig, Result};

/// Threads of a block in `top.cu`.
const TOP_THREADS: u32 = 256;

/// The index that `top.cu` writes after the last entry of a list that is shorter than requested.
const NOTHING: u32 = u32::MAX;

/// Called with the images of a chunk and their similarities, [images of the chunk, C].
type OnChunk<'a> = &'a mut dyn FnMut(Range<usize>, &Numbers<f32>) -> Result<()>;

/// Regions and words of one width in a GPU's memory, and the settings of their similarity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceSearch<'a> {
    pub gpu: &'a dyn Gpu,
    pub config: &'a MatcherConfig,
    /// The given threshold; the rule `zero` has its own.
    pub threshold: f64,
    /// Whether regions and words are f16; bf16 if not.
    pub is_f16: bool,
    /// The most similarities in the GPU's memory at once.
    pub pairs_at_once: usize,
    pub regions: &'a DeviceFragments,
    pub words: &'a DeviceFragments,
}

/// A launch of a kernel of `top.cu`, and the lists that it writes.
struct BestKernel {
    name: &'static str,
    blocks: u32,
    /// How many lists it writes.
    lists: usize,
    /// Entries of each list.
    k: usize,
}

impl DeviceSearch<'_> {
    /// Writes the similarity of every image with every caption to `out` [I, C]; counts what is
    /// above the threshold.
    ///
    /// # Errors
    /// When an image or a caption is larger than the kernel has room for, or the GPU fails.
    pub fn similarities_into(&self, out: &mut [f32], on_progress: Progress<'_>) -> Result<Kept> {
        let captions = self.words.counts.len();
        self.each_chunk(on_progress, &mut |images, similarities| {
            let out = &mut out[images.start * captions..images.end * captions];
            Ok(similarities.read_into(out)?)
        })
    }

    /// The `k` best captions of each image and the `k` best images of each caption, or all if there
    /// are fewer.
    ///
    /// # Errors
    /// As for [`DeviceSearch::similarities_into`].
    pub fn lists(&self, k: usize) -> Result<TopK> {
        let (images, captions) = (self.regions.counts.len(), self.words.counts.len());
        let mut captions_of_images = Vec::with_capacity(images);
        let mut images_of_captions = vec![Vec::new(); captions];
        let kept = self.each_chunk(NO_PROGRESS, &mut |chunk, similarities| {
            let rows = BestKernel {
                name: "best_of_rows",
                blocks: chunk.len() as u32,
                lists: chunk.len(),
                k: k.min(captions),
            };
            let sizes = [captions, rows.k];
            captions_of_images.extend(self.best(&rows, similarities, &sizes)?);
            let columns = BestKernel {
                name: "best_of_columns",
                blocks: (captions as u32).div_ceil(TOP_THREADS),
                lists: captions,
                k: k.min(chunk.len()),
            };
            let sizes = [chunk.len(), captions, columns.k, chunk.start];
            let lists = self.best(&columns, similarities, &sizes)?;
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

    /// Runs a kernel of `top.cu` with `sizes` as its last arguments, and reads its lists.
    fn best(
        &self,
        kernel: &BestKernel,
        similarities: &Numbers<f32>,
        sizes: &[usize],
    ) -> Result<Vec<Vec<Ranked>>> {
        if kernel.k == 0 {
            return Ok(Vec::new());
        }
        let (gpu, entries) = (self.gpu, kernel.lists * kernel.k);
        let indices = Numbers::<u32>::unset(gpu, entries)?;
        let best = Numbers::<f32>::unset(gpu, entries)?;
        let mut arguments = vec![similarities.argument(), indices.argument(), best.argument()];
        arguments.extend(sizes.iter().map(|&size| Argument::U32(size as u32)));
        // SAFETY: `arguments` has the types and order of the kernel's parameters: three addresses
        // and the sizes. `indices` and `best` have room for `k` entries of each list; the caller's
        // sizes are those of `similarities`. All three outlive the reads below, which wait for the
        // kernel.
        unsafe {
            gpu.launch(&Launch {
                program: &TOP,
                kernel: kernel.name,
                blocks: kernel.blocks,
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
        let best = best.chunks_exact(kernel.k);
        let lists = indices.chunks_exact(kernel.k).zip(best);
        Ok(lists
            .map(|(indices, best)| indices.iter().zip(best).filter_map(ranked).collect())
            .collect())
    }

    /// Computes the similarities of one chunk of images after the other, calls `on_chunk` with
    /// each, and returns when all kernels have run.
    fn each_chunk(&self, on_progress: Progress<'_>, on_chunk: OnChunk<'_>) -> Result<Kept> {
        let (images, captions) = (&self.regions.counts, &self.words.counts);
        let all = images.len() * captions.len();
        if all == 0 {
            return Ok(Kept::new(self.config, images, captions, Above::default()));
        }
        let captions = captions.len();
        let matching = Matching::new(*self)?;
        let chunks = matching.chunks(self.pairs_at_once / captions);
        let room = chunks.iter().map(|chunk| matching.images(chunk).len());
        let similarities = Numbers::<f32>::unset(self.gpu, room.max().unwrap_or(0) * captions)?;
        for chunk in chunks {
            let images = matching.images(&chunk);
            matching.run(&chunk, &similarities)?;
            let done = images.end * captions;
            on_chunk(images, &similarities)?;
            on_progress(done, all);
        }
        matching.kept()
    }
}

/// The tiles of a search, and the kernel for their shape.
struct Matching<'a> {
    search: DeviceSearch<'a>,
    shape: TileShape,
    program: Program,
    /// The first image of each tile, and the number of images at the end.
    image_tiles: Vec<u32>,
    /// The same in the GPU's memory.
    device_image_tiles: Numbers<u32>,
    /// The first caption of each tile, and the number of captions at the end.
    caption_tiles: Numbers<u32>,
    /// Word queries, region queries and cells above the threshold.
    counts: Numbers<u64>,
}

impl<'a> Matching<'a> {
    fn new(search: DeviceSearch<'a>) -> Result<Self> {
        let (gpu, rule) = (search.gpu, search.config.rule);
        let (regions, words) = (&search.regions.counts, &search.words.counts);
        let shared = gpu.shared_bytes() as usize;
        let shape = TileShape::choose(regions, words, rule, shared)?;
        let image_tiles = tiles(regions, shape.most_regions, MOST_IMAGES);
        let caption_tiles = tiles(words, shape.word_rows, MOST_CAPTIONS);
        Ok(Self {
            program: match_program(&shape, rule, search.is_f16),
            device_image_tiles: Numbers::copied(gpu, &image_tiles)?,
            caption_tiles: Numbers::copied(gpu, &caption_tiles)?,
            counts: Numbers::zeros(gpu, 3)?,
            search,
            shape,
            image_tiles,
        })
    }

    /// Consecutive image tiles with at most so many images together, and at least one tile each.
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

    /// The images of consecutive tiles.
    fn images(&self, tiles: &Range<usize>) -> Range<usize> {
        self.image_tiles[tiles.start] as usize..self.image_tiles[tiles.end] as usize
    }

    /// Starts the kernel for these image tiles with all captions.
    fn run(&self, tiles: &Range<usize>, similarities: &Numbers<f32>) -> Result<()> {
        let DeviceSearch {
            config,
            regions,
            words,
            ..
        } = self.search;
        let caption_tiles = self.caption_tiles.len() - 1;
        let number = |number: usize| Argument::U32(number as u32);
        let arguments = [
            regions.rows.argument(),
            regions.starts.argument(),
            regions.grams.argument(),
            regions.gram_starts.argument(),
            self.device_image_tiles.argument_from(tiles.start),
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
            side_argument(config, QuerySide::Words),
            side_argument(config, QuerySide::Regions),
        ];
        // SAFETY: `arguments` has the types and order of the parameters of `match`. Rows, starts
        // and Gram matrices are of `DeviceFragments`, which makes them of one set of counts; both
        // sides have the same padded width, since `Search` refuses different widths. `tiles` covers
        // every image and caption once, within the sizes that `TileShape` has shared memory for.
        // `similarities` has room for the largest chunk. All of it lives until `each_chunk` has
        // read the counts, which waits for the kernel.
        unsafe {
            self.search.gpu.launch(&Launch {
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

    /// Waits for all kernels, and reads the counts.
    fn kept(&self) -> Result<Kept> {
        let counts = self.counts.read()?;
        let DeviceSearch {
            config,
            regions,
            words,
            ..
        } = self.search;
        let above = Above {
            word_queries: counts[0],
            region_queries: counts[1],
            cells: counts[2],
        };
        Ok(Kept::new(config, &regions.counts, &words.counts, above))
    }
}
