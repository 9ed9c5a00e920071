// Integers of 128 bits: NVRTC divides them in long chains of carries. Compiled with --device-int128.
typedef unsigned __int128 u128;

extern "C" __global__ void wide(const u128* a, const u128* b, u128* r) {
    int i = threadIdx.x;
    r[4 * i] = a[i] / b[i];
    r[4 * i + 1] = a[i] * b[i];
    r[4 * i + 2] = a[i] - b[i];
    r[4 * i + 3] = a[i] + b[i];
}
