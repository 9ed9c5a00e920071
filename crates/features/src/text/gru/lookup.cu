// The gradient of an embedding [rows, width] from that of the words that were looked up in it: a block
// owns a row that was read, a thread a column of it, and adds its words in their order. Rows that nobody
// read must be zero before.
//
// `ids` [blocks] are those rows; `words[starts[block]..starts[block + 1]]` are the rows of `upstream` that
// read the block's.

typedef unsigned int u32;

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    lookup_backward(const float* upstream, const u32* ids, const u32* starts, const u32* words, float* gradient,
                    u32 width) {
    u32 begin = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    float* to = gradient + (size_t)ids[blockIdx.x] * width;
    for (u32 column = threadIdx.x; column < width; column += THREADS) {
        float sum = 0.0f;
        for (u32 at = begin; at < end; ++at) sum += upstream[(size_t)words[at] * width + column];
        to[column] = sum;
    }
}
