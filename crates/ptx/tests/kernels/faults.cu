// Kernels that must be caught, each for one reason.
typedef unsigned u32;

extern "C" __global__ void out_of_bounds(float* x) { x[threadIdx.x] = 1.f; }

extern "C" __global__ void misaligned(const char* x, float* y) { *y = *(const float*)(x + 2); }

extern "C" __global__ void unwritten_global(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }

extern "C" __global__ void unwritten_shared(float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = 1.f;
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x * 2];
}

extern "C" __global__ void outside_shared(float* y) {
    __shared__ float s[64];
    s[threadIdx.x + 40] = 1.f;
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x + 40];
}

extern "C" __global__ void missing_barrier(float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = 0.f;
    __syncthreads();
    s[threadIdx.x] = 1.f;
    y[threadIdx.x] = s[63 - threadIdx.x];
}

// Lanes of one warp: ordered by __syncwarp, if it is there.
extern "C" __global__ void missing_warp_barrier(float* y, int fence) {
    __shared__ float s[32];
    s[threadIdx.x] = threadIdx.x;
    if (fence) __syncwarp();
    y[threadIdx.x] = s[31 - threadIdx.x];
}

extern "C" __global__ void missing_wait(const float4* x, float4* y) {
    __shared__ float4 s[32];
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16; cp.async.commit_group;" ::"r"((u32)__cvta_generic_to_shared(s + threadIdx.x)), "l"(x + threadIdx.x));
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x];
}

extern "C" __global__ void blocks_write_the_same(float* y) { y[threadIdx.x] = 1.f; }

extern "C" __global__ void blocks_read_each_other(float* y) {
    y[blockIdx.x] = 1.f;
    if (blockIdx.x) y[blockIdx.x] += y[blockIdx.x - 1];
}

extern "C" __global__ void deadlock(float* y) {
    if (threadIdx.x < 16) __syncthreads(); else __syncwarp();
    y[threadIdx.x] = 1.f;
}

extern "C" __global__ void silent_lane(int* y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xffffu, (int)threadIdx.x, 20);
}

extern "C" __global__ void trapped(int* y) { if (y[0]) __trap(); y[1] = 2; }

extern "C" __global__ void endless(volatile int* y) { while (y[0]); y[1] = 2; }
