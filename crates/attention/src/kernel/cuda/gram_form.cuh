// R of one query, from its cells and the Gram matrix of its context.
//
//     R = N / sqrt(Q)     N = sum_j e_j s_j     Q = e^T G e     e_j = exp(sharpness (x_j - max x))
//
// over the cells above the threshold with x = s (masked), or over all cells with x as in the scan rule.
// Compiled with RULE.

#define MASKED 0
#define SCAN 1
#define MAXSIM 2
#define NEAREST 3  // masked, but R of a query with nothing above the threshold is its best relevance

#define HAS_THRESHOLD (RULE == MASKED || RULE == NEAREST)

#define SCAN_SLOPE 0.1f
#define SCAN_EPSILON 1e-8f
#define SMALLEST_SQUARED_LENGTH 1e-12f
#define LOWEST -4.0f  // below every cosine

typedef unsigned int u32;
typedef unsigned long long u64;

__device__ __forceinline__ float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// The larger of two, and NaN if one of them is. fmaxf would return the other one, and so hide that a
// fragment of the pair is not finite.
__device__ __forceinline__ float larger(float a, float b) {
    float c;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
}

// Whether a query has a cell above the threshold. Also true if its best is NaN, so that R becomes NaN.
__device__ __forceinline__ bool attends(float best, float threshold) {
    return !HAS_THRESHOLD || !(best <= threshold);
}

// The cells of one query, `step` apart, and the Gram matrix of its context.
struct Row {
    const float* cells;
    u32 step, count;
    const float* gram;
    u32 gram_stride;
    const float* inverse_norms;  // one for each cell; scan rule only
};

// The x of a cell in the formula above.
__device__ __forceinline__ float logit(const Row& row, u32 at) {
    float s = row.cells[at * row.step];
    if (RULE == SCAN) return (s > 0.0f ? s : SCAN_SLOPE * s) * row.inverse_norms[at];
    return s;
}

// The highest x of a query.
__device__ __forceinline__ float highest(const Row& row) {
    float best = RULE == SCAN ? -1e30f : LOWEST;
    for (u32 at = 0; at < row.count; ++at) best = larger(best, logit(row, at));
    return best;
}

// R of one query from its weights: N / sqrt(Q). `best` is the highest x, `sharpness` the inverse
// temperature over ln 2, because the weights are powers of two. NaN if a cell is NaN.
__device__ float cosine(const Row& row, float best, float threshold, float sharpness) {
    if (isnan(best)) return best;
    float dot = 0.0f, squared = 0.0f;
    for (u32 j = 0; j < row.count; ++j) {
        float x = logit(row, j);
        if (HAS_THRESHOLD && !(x > threshold)) continue;
        float weight = power_of_2(sharpness * (x - best));
        const float* gram = row.gram + (size_t)j * row.gram_stride;
        float others = 0.0f;
        for (u32 k = j + 1; k < row.count; ++k) {
            float y = logit(row, k);
            if (HAS_THRESHOLD && !(y > threshold)) continue;
            others += power_of_2(sharpness * (y - best)) * gram[k];
        }
        dot += weight * row.cells[j * row.step];
        squared += weight * (weight * gram[j] + 2.0f * others);
    }
    return dot / sqrtf(fmaxf(squared, SMALLEST_SQUARED_LENGTH));
}

// R of one query under RULE; `best` is its highest x.
__device__ __forceinline__ float answer(const Row& row, float best, float threshold, float sharpness) {
    if (RULE == MAXSIM) return best;
    if (attends(best, threshold)) return cosine(row, best, threshold, sharpness);
    return RULE == NEAREST ? best : 0.0f;
}

// How many cells of a query are above the threshold.
__device__ __forceinline__ u32 above(const Row& row, float threshold) {
    u32 count = 0;
    for (u32 at = 0; at < row.count; ++at) count += row.cells[at * row.step] > threshold;
    return count;
}

