// What does one query answer, from its cells and the Gram matrix of what it looks at?
//
//     R = N / sqrt(Q)     N = sum_j e_j s_j     Q = e^T G e     e_j = exp(sharpness (x_j - max x))
//
// over the cells above the threshold (masked), or over all of them with x as the scan rule has it.
// Compiled with RULE.

#define MASKED 0
#define SCAN 1
#define MAXSIM 2
#define NEAREST 3  // masked, and a query with nothing above the threshold answers with its best

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

// The larger of two, and not a number if one is not: fmaxf would hide it, and with it that the
// relevance of a pair is broken.
__device__ __forceinline__ float larger(float a, float b) {
    float c;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
}

// Whether a query attends to anything; one whose best is not a number has that for an answer.
__device__ __forceinline__ bool attends(float best, float threshold) {
    return !HAS_THRESHOLD || !(best <= threshold);
}

// The cells that one query looks at, `step` apart, and the Gram matrix of what it looks at.
struct Row {
    const float* cells;
    u32 step, count;
    const float* gram;
    u32 gram_stride;
    const float* inverse_norms;  // of the scan rule, one a cell
};

// What a weight is the exponential of.
__device__ __forceinline__ float logit(const Row& row, u32 at) {
    float s = row.cells[at * row.step];
    if (RULE == SCAN) return (s > 0.0f ? s : SCAN_SLOPE * s) * row.inverse_norms[at];
    return s;
}

__device__ __forceinline__ float highest(const Row& row) {
    float best = RULE == SCAN ? -1e30f : LOWEST;
    for (u32 at = 0; at < row.count; ++at) best = larger(best, logit(row, at));
    return best;
}

// R of one query: N / sqrt(Q), from the cells above the threshold; `sharpness` is the inverse
// temperature over ln 2. Not a number if a cell is not.
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

// What one query adds, whose best is known.
__device__ __forceinline__ float answer(const Row& row, float best, float threshold, float sharpness) {
    if (RULE == MAXSIM) return best;
    if (attends(best, threshold)) return cosine(row, best, threshold, sharpness);
    return RULE == NEAREST ? best : 0.0f;
}

__device__ __forceinline__ u32 above(const Row& row, float threshold) {
    u32 count = 0;
    for (u32 at = 0; at < row.count; ++at) count += row.cells[at * row.step] > threshold;
    return count;
}

