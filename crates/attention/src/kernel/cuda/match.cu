// The similarity of every image with every caption, tile by tile; relevance stays in shared memory.
//
// A block computes a tile: whole images with whole captions. Tensor cores multiply words with regions in
// slices of DEPTH numbers, while the next slices are copied to shared memory. Then each thread computes R
// of one query after the other in the Gram form; a query whose best relevance is not above the threshold
// is skipped. At last the R of each pair are summed in a fixed order.
//
// Compiled with: WORD_ROWS words and REGION_ROWS regions of a product, at most MOST_IMAGES and
// MOST_CAPTIONS of a tile, FLOAT16 (1 for f16, 0 for bf16), RULE (a number of gram_form.cuh), STAGES
// (slices in shared memory at once).

#define DEPTH 64        // numbers of a row in a slice: 128 bytes
#define CHUNKS 8        // chunks of 16 bytes of a row in a slice
#define THREADS (2 * WORD_ROWS)
#define WARPS (THREADS / 32)
#define ROWS (WORD_ROWS + REGION_ROWS)
#define STAGE_BYTES (ROWS * DEPTH * 2)
#define REGIONS_OF_WARP (REGION_ROWS / 2)
#define COLUMNS (REGIONS_OF_WARP / 8)

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void copy_16(u32 to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT>
__device__ __forceinline__ void wait_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

__device__ __forceinline__ void load_4(u32 (&to)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from)
                 : "memory");
}

__device__ __forceinline__ void load_2(u32 (&to)[2], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(from)
                 : "memory");
}

__device__ __forceinline__ void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if FLOAT16
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#endif
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The offset of a chunk of a row in a slice. The order of a row's chunks depends on the row, so that the
// same chunk of eight rows, which are read at once, is in eight different groups of banks.
__device__ __forceinline__ u32 place(u32 row, u32 chunk) {
    return row * (DEPTH * 2) + ((chunk ^ (row & (CHUNKS - 1))) << 4);
}

// Copies one slice of words and regions to a stage. Rows after the last of the tile repeat it.
__device__ __forceinline__ void fetch(u32 stage, const unsigned short* words, const unsigned short* regions,
                                      u32 last_word, u32 last_region, u32 width, u32 slice) {
    for (u32 at = threadIdx.x; at < ROWS * CHUNKS; at += THREADS) {
        u32 row = at / CHUNKS, chunk = at % CHUNKS;
        bool of_words = row < WORD_ROWS;
        u32 source = of_words ? min(row, last_word) : min(row - WORD_ROWS, last_region);
        const unsigned short* from = (of_words ? words : regions) + (size_t)source * width + slice * DEPTH + chunk * 8;
        copy_16(stage + place(row, chunk), from);
    }
}

// sums += words x regions of one slice. A warp multiplies 32 words with half of the regions.
__device__ __forceinline__ void multiply_slice(u32 stage, float (&sums)[2][COLUMNS][4]) {
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 first_word = (warp / 2) * 32, first_region = WORD_ROWS + (warp % 2) * REGIONS_OF_WARP;
#pragma unroll
    for (u32 step = 0; step < DEPTH / 16; ++step) {
        u32 a[2][4];
#pragma unroll
        for (u32 half = 0; half < 2; ++half)
            load_4(a[half], stage + place(first_word + half * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
        for (u32 column = 0; column + 1 < COLUMNS; column += 2) {
            u32 b[4];
            load_4(b, stage + place(first_region + column * 8 + lane % 8 + (lane / 16) * 8, step * 2 + (lane / 8) % 2));
#pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                multiply(sums[half][column], a[half], b[0], b[1]);
                multiply(sums[half][column + 1], a[half], b[2], b[3]);
            }
        }
        if (COLUMNS % 2) {
            u32 b[2];
            load_2(b, stage + place(first_region + (COLUMNS - 1) * 8 + lane % 8, step * 2 + (lane / 8) % 2));
#pragma unroll
            for (u32 half = 0; half < 2; ++half) multiply(sums[half][COLUMNS - 1], a[half], b[0], b[1]);
        }
    }
}

// Writes relevance [WORD_ROWS, REGION_ROWS] of words with REGION_ROWS neighbouring regions to `cells`.
// Stages and cells may share memory: a barrier separates the last read of a stage from the first write of
// a cell.
__device__ void relevance(char* stages, float* cells, u32 stride, const unsigned short* words,
                          const unsigned short* regions, u32 last_word, u32 last_region, u32 width) {
    float sums[2][COLUMNS][4] = {};
    u32 slices = width / DEPTH, first = shared_address(stages);
    for (u32 slice = 0; slice < STAGES - 1; ++slice) {
        if (slice < slices) fetch(first + slice * STAGE_BYTES, words, regions, last_word, last_region, width, slice);
        close_group();
    }
    for (u32 slice = 0; slice < slices; ++slice) {
        wait_groups<STAGES - 2>();
        __syncthreads();
        u32 next = slice + STAGES - 1;
        if (next < slices)
            fetch(first + next % STAGES * STAGE_BYTES, words, regions, last_word, last_region, width, next);
        close_group();
        multiply_slice(first + slice % STAGES * STAGE_BYTES, sums);
    }
    wait_groups<0>();
    __syncthreads();
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 word = (warp / 2) * 32 + lane / 4, region = (warp % 2) * REGIONS_OF_WARP + (lane % 4) * 2;
#pragma unroll
    for (u32 half = 0; half < 2; ++half)
#pragma unroll
        for (u32 column = 0; column < COLUMNS; ++column)
#pragma unroll
            for (u32 at = 0; at < 4; ++at)
                cells[(word + half * 16 + at / 2 * 8) * stride + region + column * 8 + at % 2] = sums[half][column][at];
}

// The image or caption of a tile that a row belongs to, found by a linear search: there are few of them.
__device__ __forceinline__ u32 owner(const u32* starts, u32 first, u32 end, u32 row) {
    u32 entry = first;
    while (entry + 1 < end && starts[entry + 1] <= row) ++entry;
    return entry;
}

// Writes 1 / (norm over the queries + epsilon) of each context fragment, the factor of the scan rule.
__device__ void scan_norms(float* norms, const float* cells, u32 stride, const u32* region_starts,
                           const u32* word_starts, u32 image, u32 image_end, u32 caption, u32 caption_end,
                           u32 most_regions) {
    u32 first_region = region_starts[image], regions = region_starts[image_end] - first_region;
    u32 first_word = word_starts[caption], words = word_starts[caption_end] - first_word;
    u32 captions = caption_end - caption, images = image_end - image;
    for (u32 at = threadIdx.x; at < captions * regions + images * words; at += THREADS) {
        bool of_regions = at < captions * regions;
        u32 rest = at - captions * regions;
        float sum = 0.0f;
        if (of_regions) {
            u32 of = caption + at / regions, region = at % regions;
            for (u32 word = word_starts[of] - first_word; word < word_starts[of + 1] - first_word; ++word) {
                float s = cells[word * stride + region];
                s = s > 0.0f ? s : SCAN_SLOPE * s;
                sum += s * s;
            }
            norms[(of - caption) * most_regions + region] = 1.0f / (sqrtf(sum) + SCAN_EPSILON);
        } else {
            u32 of = image + rest / words, word = rest % words;
            for (u32 region = region_starts[of] - first_region; region < region_starts[of + 1] - first_region; ++region) {
                float s = cells[word * stride + region];
                s = s > 0.0f ? s : SCAN_SLOPE * s;
                sum += s * s;
            }
            norms[MOST_CAPTIONS * most_regions + (of - image) * WORD_ROWS + word] = 1.0f / (sqrtf(sum) + SCAN_EPSILON);
        }
    }
}

// Similarities [images, captions] of one chunk of images.
//
// `words_ask` and `regions_ask` are inverse temperatures over ln 2, negative for a side without queries.
// `counts` (word queries, region queries, cells above the threshold) may be null.
extern "C" __global__ void __launch_bounds__(THREADS, 65536 / (THREADS * 128))
    match(const unsigned short* region_rows, const u32* region_starts, const float* region_grams,
          const u32* region_gram_starts, const u32* image_tiles, const unsigned short* word_rows,
          const u32* word_starts, const float* word_grams, const u32* word_gram_starts, const u32* caption_tiles,
          float* similarities, u64* counts, u32 image_tile_count, u32 caption_tile_count, u32 first_image,
          u32 captions_in_all, u32 width, u32 most_regions, u32 cells_at, float threshold, float words_ask,
          float regions_ask) {
    extern __shared__ __align__(128) char shared[];
    __shared__ u32 found[3];

    // Consecutive blocks combine eight tiles of images with one tile of captions after the other, so that
    // both are read from the L2 cache.
    const u32 group = 8;
    u32 of_group = group * caption_tile_count;
    u32 first = blockIdx.x / of_group * group, inside = blockIdx.x % of_group;
    u32 height = min(image_tile_count - first, group);
    u32 image_tile = first + inside % height, caption_tile = inside / height;

    u32 image = image_tiles[image_tile], image_end = image_tiles[image_tile + 1];
    u32 caption = caption_tiles[caption_tile], caption_end = caption_tiles[caption_tile + 1];
    u32 first_region = region_starts[image], regions = region_starts[image_end] - first_region;
    u32 first_word = word_starts[caption], words = word_starts[caption_end] - first_word;
    u32 images = image_end - image, captions = caption_end - caption;

    u32 stride = most_regions + 1;  // odd: threads that read one column of different words have no bank conflicts
    float* cells = reinterpret_cast<float*>(shared + cells_at);
    if (threadIdx.x < 3) found[threadIdx.x] = 0;
    for (u32 run = 0; run < regions; run += REGION_ROWS)
        relevance(shared, cells + run, stride, word_rows + (size_t)first_word * width,
                  region_rows + (size_t)(first_region + run) * width, words - 1,
                  min(regions - run, REGION_ROWS) - 1, width);
    __syncthreads();

    float* word_answers = cells + WORD_ROWS * stride;                 // [images, WORD_ROWS]
    float* region_answers = word_answers + MOST_IMAGES * WORD_ROWS;   // [captions, most_regions]
    float* norms = region_answers + MOST_CAPTIONS * most_regions;     // [captions, most_regions], then [images, WORD_ROWS]
    if (RULE == SCAN) {
        scan_norms(norms, cells, stride, region_starts, word_starts, image, image_end, caption, caption_end, most_regions);
        __syncthreads();
    }

    u32 kept_words = 0, kept_regions = 0, kept_cells = 0;
    for (u32 query = threadIdx.x; query < images * words; query += THREADS) {
        u32 at = query / words, word = query % words, from = region_starts[image + at] - first_region;
        u32 count = region_starts[image + at + 1] - region_starts[image + at];
        Row row = {cells + word * stride + from, 1, count, region_grams + region_gram_starts[image + at],
                   (count + 15) / 16 * 16, nullptr};
        if (RULE == SCAN)
            row.inverse_norms = norms + (owner(word_starts, caption, caption_end, first_word + word) - caption) * most_regions + from;
        float best = highest(row);
        if (HAS_THRESHOLD && attends(best, threshold)) {
            ++kept_words;
            kept_cells += above(row, threshold);
        }
        word_answers[at * WORD_ROWS + word] = words_ask >= 0.0f ? answer(row, best, threshold, words_ask) : 0.0f;
    }
    for (u32 query = threadIdx.x; query < captions * regions; query += THREADS) {
        u32 at = query / regions, region = query % regions, from = word_starts[caption + at] - first_word;
        u32 count = word_starts[caption + at + 1] - word_starts[caption + at];
        Row row = {cells + from * stride + region, stride, count, word_grams + word_gram_starts[caption + at],
                   (count + 15) / 16 * 16, nullptr};
        if (RULE == SCAN)
            row.inverse_norms = norms + MOST_CAPTIONS * most_regions +
                                (owner(region_starts, image, image_end, first_region + region) - image) * WORD_ROWS + from;
        float best = highest(row);
        if (HAS_THRESHOLD) kept_regions += attends(best, threshold);
        region_answers[at * most_regions + region] = regions_ask >= 0.0f ? answer(row, best, threshold, regions_ask) : 0.0f;
    }
    // Only counts are added atomically: the sum of whole numbers does not depend on their order.
    if (HAS_THRESHOLD && counts) {
        atomicAdd(&found[0], kept_words);
        atomicAdd(&found[1], kept_regions);
        atomicAdd(&found[2], kept_cells);
    }
    __syncthreads();
    if (HAS_THRESHOLD && counts && threadIdx.x < 3)
        atomicAdd(counts + threadIdx.x, static_cast<u64>(found[threadIdx.x]));

    for (u32 pair = threadIdx.x; pair < images * captions; pair += THREADS) {
        u32 i = image + pair / captions, c = caption + pair % captions;
        float of_words = 0.0f, of_regions = 0.0f;
        const float* answers = word_answers + (i - image) * WORD_ROWS - first_word;
        for (u32 word = word_starts[c]; word < word_starts[c + 1]; ++word) of_words += answers[word];
        answers = region_answers + (c - caption) * most_regions - first_region;
        for (u32 region = region_starts[i]; region < region_starts[i + 1]; ++region) of_regions += answers[region];
        float similarity = 0.0f;
        if (words_ask >= 0.0f) similarity += of_words / static_cast<float>(word_starts[c + 1] - word_starts[c]);
        if (regions_ask >= 0.0f) similarity += of_regions / static_cast<float>(region_starts[i + 1] - region_starts[i]);
        similarities[(size_t)(i - first_image) * captions_in_all + c] = similarity;
    }
}
