// C[m,n] = A[m,k] · B[n,k]ᵀ in bf16, tiles of 32 by 16 by 32 by two warps: cp.async in two buffers, ldmatrix, mma.sync.
typedef unsigned u32;
typedef unsigned short u16;
#define TM 32
#define TN 16
#define TK 32
#define PITCH 40

__device__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

__device__ void copy16(u16* to, const u16* from, bool inside) {
    u32 size = inside ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(size));
}

__device__ void load_tile(u16* to, const u16* from, int rows, int row0, int limit, int k0, int k) {
    for (int c = threadIdx.x; c < rows * (TK / 8); c += blockDim.x) {
        int row = c / (TK / 8), column = c % (TK / 8) * 8;
        bool inside = row0 + row < limit && k0 + column < k;
        copy16(to + row * PITCH + column, inside ? from + (row0 + row) * k + k0 + column : from, inside);
    }
}

// k is a multiple of 8.
extern "C" __global__ void product(const u16* a, const u16* b, float* c, int m, int n, int k) {
    __shared__ __align__(16) u16 left[2][TM * PITCH];
    __shared__ __align__(16) u16 right[2][TN * PITCH];
    int row0 = blockIdx.y * TM, column0 = blockIdx.x * TN;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float sum[2][4] = {};
    int steps = (k + TK - 1) / TK;
    load_tile(left[0], a, TM, row0, m, 0, k);
    load_tile(right[0], b, TN, column0, n, 0, k);
    asm volatile("cp.async.commit_group;");
    for (int step = 0; step < steps; step++) {
        int now = step & 1;
        if (step + 1 < steps) {
            load_tile(left[1 - now], a, TM, row0, m, (step + 1) * TK, k);
            load_tile(right[1 - now], b, TN, column0, n, (step + 1) * TK, k);
        }
        asm volatile("cp.async.commit_group;");
#ifndef NO_WAIT
        asm volatile("cp.async.wait_group 1;");
#endif
        __syncthreads();
        for (int inner = 0; inner < TK; inner += 16) {
            u32 fa[4], fb[4];
            const u16* pa = left[now] + (warp * 16 + lane % 16) * PITCH + inner + lane / 16 * 8;
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(shared_address(pa)));
            const u16* pb = right[now] + (lane / 16 * 8 + lane % 8) * PITCH + inner + lane / 8 % 2 * 8;
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(fb[0]), "=r"(fb[1]), "=r"(fb[2]), "=r"(fb[3]) : "r"(shared_address(pb)));
            for (int t = 0; t < 2; t++)
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                             : "+f"(sum[t][0]), "+f"(sum[t][1]), "+f"(sum[t][2]), "+f"(sum[t][3])
                             : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[2 * t]), "r"(fb[2 * t + 1]));
        }
#ifndef NO_BARRIER
        __syncthreads();
#endif
    }
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < 4; i++) {
            int row = row0 + warp * 16 + lane / 4 + i / 2 * 8, column = column0 + t * 8 + lane % 4 * 2 + i % 2;
            if (row < m && column < n) c[row * n + column] = sum[t][i];
        }
}

// One product each, of fragments read with plain loads; the right matrix through ldmatrix.trans.
extern "C" __global__ void fragments(const u16* a, const u16* b, const float* p, const float* q, float* c, float* d) {
    __shared__ __align__(16) u16 right[16 * 8];
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    for (int i = lane; i < 128; i += 32) right[i] = b[i];
    __syncthreads();
    const u32* w = (const u32*)a;
    u32 fb[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(fb[0]), "=r"(fb[1]) : "r"(shared_address(right + lane % 16 * 8)));
    float s[4] = {1.f, 2.f, 3.f, 4.f};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
                 : "r"(w[g * 8 + t]), "r"(w[(g + 8) * 8 + t]), "r"(w[g * 8 + t + 4]), "r"(w[(g + 8) * 8 + t + 4]), "r"(fb[0]), "r"(fb[1]));
    float z[4] = {};
    u32 x[4], y[2];
    const float* pp[4] = {p + g * 8 + t, p + (g + 8) * 8 + t, p + g * 8 + t + 4, p + (g + 8) * 8 + t + 4};
    for (int i = 0; i < 4; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(x[i]) : "f"(*pp[i]));
    for (int i = 0; i < 2; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y[i]) : "f"(q[g * 8 + t + 4 * i]));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(z[0]), "+f"(z[1]), "+f"(z[2]), "+f"(z[3]) : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    for (int i = 0; i < 4; i++) {
        int at = (g + i / 2 * 8) * 8 + t * 2 + i % 2;
        c[at] = s[i];
        d[at] = z[i];
    }
}
