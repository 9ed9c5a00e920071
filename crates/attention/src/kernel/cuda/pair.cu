// The similarities of a training batch from its relevance and Gram matrices, and the gradients of both.
// Everything is in f32. Relevance comes from a product outside of these kernels, and its gradient goes into
// two others; nothing here is as wide as the joint space.
//
// Relevance is [C, W, I, R], Gram matrices are [I, R, R] and [C, W, W], all padded; the counts say how many
// regions and words are valid. Each number is written by one block or warp only, and every sum has a fixed
// order: the same bytes every time.
// Compiled with RULE (all but scan) and THREADS.

#define WARPS (THREADS / 32)
#define ALL_LANES 0xffffffffu

__device__ __forceinline__ float sum_of_warp(float x) {
    for (u32 distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

__device__ __forceinline__ float highest_of_warp(float x) {
    for (u32 distance = 16; distance > 0; distance /= 2) x = larger(x, __shfl_xor_sync(ALL_LANES, x, distance));
    return x;
}

// Forward pass, a warp for each pair: similarities [I, C], and the highest relevance of each word
// [C, W, I], zero for padding. Adds word queries, region queries and cells above the threshold to `counts`.
extern "C" __global__ void __launch_bounds__(THREADS)
    pairs_forward(const float* relevance, const float* region_grams, const float* word_grams,
                  const u32* region_counts, const u32* word_counts, float* similarities, float* word_maxima,
                  u64* counts, u32 images, u32 most_regions, u32 captions, u32 most_words, u32 warps, float threshold,
                  float words_ask, float regions_ask) {
    extern __shared__ float shared[];
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u32 pair = blockIdx.x * warps + warp;
    if (warp >= warps || pair >= images * captions) return;
    u32 image = pair / captions, caption = pair % captions;
    u32 regions = region_counts[image], words = word_counts[caption];
    u32 stride = most_regions | 1;
    float* cells = shared + warp * most_words * stride;
    for (u32 word = 0; word < words; ++word) {
        const float* from = relevance + ((size_t)(caption * most_words + word) * images + image) * most_regions;
        for (u32 region = lane; region < regions; region += 32) cells[word * stride + region] = from[region];
    }
    __syncwarp();

    float of_words = 0.0f, of_regions = 0.0f;
    u32 kept_words = 0, kept_regions = 0, kept_cells = 0;
    for (u32 word = lane; word < most_words; word += 32) {
        float best = 0.0f;
        if (word < words) {
            Row row = {cells + word * stride, 1, regions, region_grams + (size_t)image * most_regions * most_regions,
                       most_regions, nullptr};
            best = highest(row);
            if (HAS_THRESHOLD && attends(best, threshold)) {
                ++kept_words;
                kept_cells += above(row, threshold);
            }
            if (words_ask >= 0.0f) of_words += answer(row, best, threshold, words_ask);
        }
        word_maxima[(size_t)(caption * most_words + word) * images + image] = best;
    }
    for (u32 region = lane; region < regions; region += 32) {
        Row row = {cells + region, stride, words, word_grams + (size_t)caption * most_words * most_words, most_words,
                   nullptr};
        float best = highest(row);
        if (HAS_THRESHOLD) kept_regions += attends(best, threshold);
        if (regions_ask >= 0.0f) of_regions += answer(row, best, threshold, regions_ask);
    }
    of_words = sum_of_warp(of_words);
    of_regions = sum_of_warp(of_regions);
    if (HAS_THRESHOLD) {
        kept_words = __reduce_add_sync(ALL_LANES, kept_words);
        kept_regions = __reduce_add_sync(ALL_LANES, kept_regions);
        kept_cells = __reduce_add_sync(ALL_LANES, kept_cells);
    }
    if (lane == 0) {
        float similarity = 0.0f;
        if (words_ask >= 0.0f) similarity += of_words / static_cast<float>(words);
        if (regions_ask >= 0.0f) similarity += of_regions / static_cast<float>(regions);
        similarities[pair] = similarity;
        // Only counts are added atomically: the sum of whole numbers does not depend on their order.
        if (HAS_THRESHOLD && kept_words > 0) {
            atomicAdd(counts, static_cast<u64>(kept_words));
            atomicAdd(counts + 1, static_cast<u64>(kept_regions));
            atomicAdd(counts + 2, static_cast<u64>(kept_cells));
        }
    }
}

// Backward pass of one query of a pair, by a warp. Writes its weights to `weights`, adds the gradient of its
// cells to `gradient`, and returns the factor of the outer product of its weights in the gradient of the
// Gram matrix. `each` is the gradient of the loss with respect to R.
__device__ float query_backward(const Row& row, float* gradient, float* weights, float threshold,
                                float inverse_temperature, float each) {
    u32 lane = threadIdx.x % 32;
    float best = LOWEST;
    for (u32 j = lane; j < row.count; j += 32) best = larger(best, row.cells[j * row.step]);
    best = highest_of_warp(best);
    if (RULE == MAXSIM || (RULE == NEAREST && !attends(best, threshold))) {
        u32 first = 0xffffffffu;
        for (u32 j = lane; j < row.count; j += 32)
            if (row.cells[j * row.step] == best) first = min(first, j);
        first = __reduce_min_sync(ALL_LANES, first);
        // No cell equals the best if that is NaN: the similarity is NaN then, and no gradient is added.
        if (lane == 0 && first < row.count) gradient[first * row.step] += each;
        return 0.0f;
    }
    if (!(best > threshold)) return 0.0f;
    float dot = 0.0f;
    for (u32 j = lane; j < row.count; j += 32) {
        float s = row.cells[j * row.step];
        float weight = s > threshold ? power_of_2(inverse_temperature * 1.4426950408889634f * (s - best)) : 0.0f;
        weights[j] = weight;
        dot += weight * s;
    }
    __syncwarp();
    float squared = 0.0f;
    for (u32 j = lane; j < row.count; j += 32) {
        float product = 0.0f;
        for (u32 k = 0; k < row.count; ++k)
            if (weights[k] != 0.0f) product += weights[k] * row.gram[(size_t)k * row.gram_stride + j];
        squared += weights[j] * product;
    }
    dot = sum_of_warp(dot);
    squared = sum_of_warp(squared);
    bool is_cancelled = squared <= SMALLEST_SQUARED_LENGTH;
    squared = fmaxf(squared, SMALLEST_SQUARED_LENGTH);
    float inverse_length = each / sqrtf(squared);
    float by_product = is_cancelled ? 0.0f : -(dot / squared) * inverse_length;
    for (u32 j = lane; j < row.count; j += 32) {
        float weight = weights[j];
        if (weight == 0.0f) continue;
        float product = 0.0f;
        for (u32 k = 0; k < row.count; ++k)
            if (weights[k] != 0.0f) product += weights[k] * row.gram[(size_t)k * row.gram_stride + j];
        float by_weight = row.cells[j * row.step] * inverse_length + product * by_product;
        gradient[j * row.step] += weight * inverse_length + inverse_temperature * weight * by_weight;
    }
    return 0.5f * by_product;
}

// Backward pass of one side's queries. A block computes the gradients of one entry of the other side, an
// image where words are the queries and a caption where regions are: of its Gram matrix, and of every
// cell of its pairs.
//
// `upstream` [I, C] is the gradient of the loss with respect to the similarities. Pairs with an upstream
// gradient of zero are skipped, so the gradient of relevance must be zero before the first launch; a second
// launch, for the other side, adds to it.
extern "C" __global__ void __launch_bounds__(THREADS)
    pairs_backward(const float* relevance, const float* grams, const u32* region_counts, const u32* word_counts,
                   const float* upstream, float* to_relevance, float* to_grams, u32 images, u32 most_regions,
                   u32 captions, u32 most_words, u32 words_ask, float threshold, float inverse_temperature) {
    extern __shared__ float shared[];
    u32 warp = threadIdx.x / 32;
    u32 stride = most_regions | 1, area = most_words * stride;
    float* cells = shared;
    float* gradient = shared + area;
    float* weights = shared + 2 * area;  // a row for each query
    float* factors = shared + 3 * area;
    u32 owned = blockIdx.x, others = words_ask ? captions : images;
    u32 side = words_ask ? most_regions : most_words;
    const float* gram = grams + (size_t)owned * side * side;
    float* to_gram = to_grams + (size_t)owned * side * side;
    for (u32 other = 0; other < others; ++other) {
        u32 image = words_ask ? owned : other, caption = words_ask ? other : owned;
        float from_above = upstream[image * captions + caption];
        if (from_above == 0.0f) continue;
        u32 regions = region_counts[image], words = word_counts[caption];
        u32 queries = words_ask ? words : regions, context = words_ask ? regions : words;
        for (u32 at = threadIdx.x; at < words * regions; at += THREADS) {
            u32 word = at / regions, region = at % regions;
            cells[word * stride + region] =
                relevance[((size_t)(caption * most_words + word) * images + image) * most_regions + region];
            gradient[word * stride + region] = 0.0f;
        }
        __syncthreads();
        for (u32 query = warp; query < queries; query += WARPS) {
            u32 from = words_ask ? query * stride : query;
            Row row = {cells + from, words_ask ? 1 : stride, context, gram, side, nullptr};
            float factor = query_backward(row, gradient + from, weights + query * context, threshold,
                                          inverse_temperature, from_above / static_cast<float>(queries));
            if (threadIdx.x % 32 == 0) factors[query] = factor;
        }
        __syncthreads();
        for (u32 at = threadIdx.x; at < context * context; at += THREADS) {
            u32 j = at / context, k = at % context;
            float sum = 0.0f;
            for (u32 query = 0; query < queries; ++query)
                if (factors[query] != 0.0f)
                    sum += factors[query] * weights[query * context + j] * weights[query * context + k];
            if (sum != 0.0f) to_gram[j * side + k] += sum;
        }
        for (u32 at = threadIdx.x; at < words * regions; at += THREADS) {
            u32 word = at / regions, region = at % regions;
            float more = gradient[word * stride + region];
            if (more != 0.0f)
                to_relevance[((size_t)(caption * most_words + word) * images + image) * most_regions + region] += more;
        }
        __syncthreads();
    }
}
