// Sums of squares of one gradient: each block writes one f64. The order of the additions depends on
// the number of blocks only. The square of an f32 is exact in f64, and finite when the f32 is.

typedef unsigned int u32;

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS) squares(const float* gradient, double* sums, u32 count) {
    __shared__ double parts[THREADS];
    double sum = 0.0;
    for (size_t at = (size_t)blockIdx.x * THREADS + threadIdx.x; at < count; at += (size_t)gridDim.x * THREADS) {
        double number = gradient[at];
        sum += number * number;
    }
    parts[threadIdx.x] = sum;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = parts[0];
}
