// C[m,n] = A[m,k] · B[n,k]ᵀ in bf16, k a multiple of 32. Two warps compute a tile of 32 by 16, with
// cp.async into two buffers, ldmatrix and mma.sync. WAIT and BARRIER are 1; a test sets one of them
// to 0 to leave out a synchronisation.
typedef unsigned u32;
typedef unsigned short u16;
#define DEPTH 32
#define PITCH 40

__device__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Rows after the last one are copies of it.
__device__ void load_tile(u16* to, const u16* from, u32 rows, u32 last, u32 k) {
    for (u32 at = threadIdx.x; at < rows * (DEPTH / 8); at += 64) {
        u32 row = at / (DEPTH / 8), column = at % (DEPTH / 8) * 8;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to + row * PITCH + column)),
                     "l"(from + (size_t)min(row, last) * k + column) : "memory");
    }
}

__device__ void load_4(u32 (&to)[4], const u16* from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(from)) : "memory");
}

extern "C" __global__ void __launch_bounds__(64)
    product(const u16* a, const u16* b, float* c, u32 m, u32 n, u32 k) {
    __shared__ __align__(16) u16 left[2][32 * PITCH];
    __shared__ __align__(16) u16 right[2][16 * PITCH];
    u32 columns = (n + 15) / 16, row0 = blockIdx.x / columns * 32, column0 = blockIdx.x % columns * 16;
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    a += (size_t)row0 * k;
    b += (size_t)column0 * k;
    float sum[2][4] = {};
    // Each step begins the copy of one slice and multiplies the slice before it.
    for (u32 step = 0; step <= k / DEPTH; ++step) {
        if (step < k / DEPTH) {
            load_tile(left[step % 2], a + step * DEPTH, 32, m - row0 - 1, k);
            load_tile(right[step % 2], b + step * DEPTH, 16, n - column0 - 1, k);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
        if (step == 0) continue;
        if (WAIT) asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        u32 now = (step - 1) % 2;
        for (u32 inner = 0; inner < DEPTH; inner += 16) {
            u32 fa[4], fb[4];
            load_4(fa, left[now] + (warp * 16 + lane % 16) * PITCH + inner + lane / 16 * 8);
            load_4(fb, right[now] + (lane / 16 * 8 + lane % 8) * PITCH + inner + lane / 8 % 2 * 8);
            for (u32 t = 0; t < 2; ++t)
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                             : "+f"(sum[t][0]), "+f"(sum[t][1]), "+f"(sum[t][2]), "+f"(sum[t][3])
                             : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[2 * t]), "r"(fb[2 * t + 1]));
        }
        if (BARRIER) __syncthreads();
    }
    for (u32 t = 0; t < 2; ++t)
        for (u32 at = 0; at < 4; ++at) {
            u32 row = row0 + warp * 16 + lane / 4 + at / 2 * 8, column = column0 + t * 8 + lane % 4 * 2 + at % 2;
            if (row < m && column < n) c[(size_t)row * n + column] = sum[t][at];
        }
}
