// The gradient of the hinge loss with respect to similarities [images, captions]. As on the host, a
// term counts when `margin + (mismatched - matched)`, in f64, is above zero.
//
// Every cell is written by one thread. It is a sum of whole numbers, so the order of its terms does
// not change it.

typedef unsigned int u32;

#define THREADS 128
#define NONE 0xffffffffu

__device__ __forceinline__ bool counts(double margin, float mismatched, float matched) {
    return margin + ((double)mismatched - (double)matched) > 0.0;
}

// `divisor` is 1 for the sum over the captions, their number for the mean.
__device__ __forceinline__ float reduced(int terms, float divisor) { return __fdiv_rn((float)terms, divisor); }

// The most similar candidate so far; of equal ones the one of lowest index.
struct Best {
    float value;
    u32 index;

    __device__ __forceinline__ void offer(float other, u32 candidate) {
        bool better = other > value || (other == value && candidate < index);
        if (candidate != NONE && (index == NONE || better)) {
            value = other;
            index = candidate;
        }
    }
};

// Returns the best candidate of all threads of the block to every thread.
__device__ Best best_of_block(Best best) {
    __shared__ float values[THREADS];
    __shared__ u32 indices[THREADS];
    values[threadIdx.x] = best.value;
    indices[threadIdx.x] = best.index;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            best.offer(values[threadIdx.x + half], indices[threadIdx.x + half]);
            values[threadIdx.x] = best.value;
            indices[threadIdx.x] = best.index;
        }
        __syncthreads();
    }
    best.value = values[0];
    best.index = indices[0];
    __syncthreads();
    return best;
}

// One block for each caption: writes to `hardest` [captions, 2] its most similar mismatched caption and
// image, or NONE where there is none or its term is not above zero.
extern "C" __global__ void __launch_bounds__(THREADS)
    hinge_hardest(const float* similarities, const u32* image_of_caption, u32* hardest, u32 images, u32 captions,
                  double margin) {
    u32 caption = blockIdx.x, image = image_of_caption[caption];
    const float* row = similarities + (size_t)image * captions;
    const float* column = similarities + caption;
    float matched = row[caption];
    Best best_caption = {0.0f, NONE}, best_image = {0.0f, NONE};
    for (u32 other = threadIdx.x; other < captions; other += THREADS)
        if (image_of_caption[other] != image) best_caption.offer(row[other], other);
    for (u32 other = threadIdx.x; other < images; other += THREADS)
        if (other != image) best_image.offer(column[(size_t)other * captions], other);
    best_caption = best_of_block(best_caption);
    best_image = best_of_block(best_image);
    if (threadIdx.x == 0) {
        hardest[2 * caption] = counts(margin, best_caption.value, matched) ? best_caption.index : NONE;
        hardest[2 * caption + 1] = counts(margin, best_image.value, matched) ? best_image.index : NONE;
    }
}

// One thread for each cell: the gradient for the hardest negatives, from the result of `hinge_hardest`.
extern "C" __global__ void __launch_bounds__(THREADS)
    hinge_of_hardest(const u32* hardest, const u32* image_of_caption, float* gradient, u32 images, u32 captions,
                     float divisor) {
    size_t at = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= (size_t)images * captions) return;
    u32 image = (u32)(at / captions), caption = (u32)(at % captions);
    int terms = 0;
    if (image_of_caption[caption] == image) {
        terms -= hardest[2 * caption] != NONE;
        terms -= hardest[2 * caption + 1] != NONE;
    } else {
        for (u32 other = 0; other < captions; ++other)
            terms += image_of_caption[other] == image && hardest[2 * other] == caption;
        terms += hardest[2 * caption + 1] == image;
    }
    gradient[at] = reduced(terms, divisor);
}

// One thread for each cell: the gradient where every mismatched pair is a negative.
extern "C" __global__ void __launch_bounds__(THREADS)
    hinge_of_all(const float* similarities, const u32* image_of_caption, float* gradient, u32 images, u32 captions,
                 double margin, float divisor) {
    size_t at = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= (size_t)images * captions) return;
    u32 image = (u32)(at / captions), caption = (u32)(at % captions), owner = image_of_caption[caption];
    const float* row = similarities + (size_t)image * captions;
    const float* column = similarities + caption;
    float here = row[caption];
    int terms = 0;
    if (owner == image) {
        for (u32 other = 0; other < captions; ++other)
            terms -= image_of_caption[other] != image && counts(margin, row[other], here);
        for (u32 other = 0; other < images; ++other)
            terms -= other != image && counts(margin, column[(size_t)other * captions], here);
    } else {
        for (u32 other = 0; other < captions; ++other)
            terms += image_of_caption[other] == image && counts(margin, here, row[other]);
        terms += counts(margin, here, column[(size_t)owner * captions]);
    }
    gradient[at] = reduced(terms, divisor);
}
