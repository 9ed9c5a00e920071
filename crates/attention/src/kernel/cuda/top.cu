// The `k` best of each row and of each column of a matrix of similarities.
//
// The higher number is better, and of equal numbers that of the lower index: a total order. Each round finds
// the best of those that come after the one found in the round before.

typedef unsigned int u32;

#define THREADS 256
#define NOTHING 0xffffffffu

struct Ranked {
    float value;
    u32 index;
};

__device__ __forceinline__ bool precedes(Ranked a, Ranked b) {
    return a.value > b.value || (a.value == b.value && a.index < b.index);
}

// These precede, and follow, every number of the matrix.
__device__ __forceinline__ Ranked ahead() { return {__int_as_float(0x7f800000), 0}; }
__device__ __forceinline__ Ranked behind() { return {__int_as_float(0xff800000), NOTHING}; }

// For each row its `k` best columns, [rows, k]; index NOTHING where there are fewer. A block for each row.
extern "C" __global__ void __launch_bounds__(THREADS)
    best_of_rows(const float* values, u32* indices, float* best, u32 columns, u32 k) {
    __shared__ Ranked found[THREADS / 32];
    const float* row = values + (size_t)blockIdx.x * columns;
    Ranked last = ahead();
    for (u32 round = 0; round < k; ++round) {
        Ranked next = behind();
        for (u32 column = threadIdx.x; column < columns; column += THREADS) {
            Ranked candidate = {row[column], column};
            bool is_left = round == 0 || precedes(last, candidate);
            if (is_left && precedes(candidate, next)) next = candidate;
        }
        for (u32 distance = 16; distance > 0; distance /= 2) {
            Ranked other = {__shfl_xor_sync(0xffffffffu, next.value, distance),
                            __shfl_xor_sync(0xffffffffu, next.index, distance)};
            if (precedes(other, next)) next = other;
        }
        if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = next;
        __syncthreads();
        next = found[0];
        for (u32 warp = 1; warp < THREADS / 32; ++warp)
            if (precedes(found[warp], next)) next = found[warp];
        __syncthreads();
        if (threadIdx.x == 0) {
            indices[(size_t)blockIdx.x * k + round] = next.index;
            best[(size_t)blockIdx.x * k + round] = next.value;
        }
        last = next;
    }
}

// For each column its `k` best rows, [columns, k]; `first_row` is the index of the first row. A thread for
// each column.
extern "C" __global__ void __launch_bounds__(THREADS)
    best_of_columns(const float* values, u32* indices, float* best, u32 rows, u32 columns, u32 k, u32 first_row) {
    u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= columns) return;
    Ranked last = ahead();
    for (u32 round = 0; round < k; ++round) {
        Ranked next = behind();
        for (u32 row = 0; row < rows; ++row) {
            Ranked candidate = {values[(size_t)row * columns + column], first_row + row};
            bool is_left = round == 0 || precedes(last, candidate);
            if (is_left && precedes(candidate, next)) next = candidate;
        }
        indices[(size_t)column * k + round] = next.index;
        best[(size_t)column * k + round] = next.value;
        last = next;
    }
}
