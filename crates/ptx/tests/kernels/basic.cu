// Kernels that must run: arithmetic, divergence, shuffles, atomics, calls, dynamic shared memory.
struct Scale { const float* x; float* y; int n; float a; };

extern "C" __global__ void saxpy(Scale s) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < s.n) s.y[i] = s.a * s.x[i] + s.y[i];
}

extern "C" __global__ void sum(const float* __restrict__ x, float* out, int n) {
    __shared__ float part[32];
    float s = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) s += x[i];
    for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
    if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = s;
    __syncthreads();
    if (threadIdx.x < 32) {
        s = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.f;
        for (int o = 16; o; o >>= 1) s += __shfl_down_sync(~0u, s, o);
        if (!threadIdx.x) out[0] = s;
    }
}

// Steps of the Collatz sequence: every lane leaves the loop at another time.
extern "C" __global__ void collatz(const unsigned* x, unsigned* out) {
    unsigned n = x[threadIdx.x], steps = 0;
    while (n != 1) {
        if (n & 1) n = 3 * n + 1; else n /= 2;
        steps++;
    }
    out[threadIdx.x] = steps;
    out[threadIdx.x + blockDim.x] = __ballot_sync(~0u, steps > 50);
}

extern "C" __global__ void histogram(const unsigned* x, unsigned* count, float* total, int* largest) {
    __shared__ unsigned bins[16];
    if (threadIdx.x < 16) bins[threadIdx.x] = 0;
    __syncthreads();
    unsigned v = x[blockIdx.x * blockDim.x + threadIdx.x];
    atomicAdd(&bins[v & 15], 1u);
    atomicAdd(total, 0.5f);
    atomicMax(largest, (int)v);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&count[threadIdx.x], bins[threadIdx.x]);
}

__device__ __noinline__ float polynomial(float x, int n, float* terms) {
    float s = 0, p = 1;
    for (int i = 0; i < n; i++) { terms[i & 7] += p; s += p; p *= x; }
    return s;
}
__constant__ float table[4] = {1.f, 2.f, 3.5f, 4.f};
__device__ int launches = 5;

extern "C" __global__ void call(float* x, int n, int* seen) {
    float terms[8];
    for (int i = 0; i < 8; i++) terms[i] = i;
    float s = polynomial(x[threadIdx.x], n + (threadIdx.x & 1), terms);
    x[threadIdx.x] = s + terms[threadIdx.x & 7] + table[threadIdx.x & 3];
    if (!threadIdx.x) *seen = launches++;
}

extern "C" __global__ void reverse(const float4* x, float4* y) {
    extern __shared__ __align__(16) unsigned char raw[];
    float4* s = (float4*)raw;
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void functions(const float* x, float* y, const double* d, double* e, int n) {
    int i = threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[i] = expf(v); y[n + i] = logf(v); y[2 * n + i] = sinf(v); y[3 * n + i] = tanhf(v);
    y[4 * n + i] = sqrtf(v); y[5 * n + i] = rsqrtf(v); y[6 * n + i] = 3.f / v; y[7 * n + i] = powf(v, 1.7f);
    y[8 * n + i] = erff(v); y[9 * n + i] = rintf(v * 7.f); y[10 * n + i] = fmodf(v, 0.3f); y[11 * n + i] = cosf(v * 1e6f);
    e[i] = exp(d[i]); e[n + i] = log(d[i]); e[2 * n + i] = sqrt(d[i]) / 3.0; e[3 * n + i] = sin(d[i]);
    e[4 * n + i] = (double)(long long)(d[i] * 1e9); e[5 * n + i] = fma(d[i], d[i], -1.0);
}

extern "C" __global__ void integers(const int* x, const unsigned* u, const long long* l, unsigned* r, long long* w, int n) {
    int i = threadIdx.x;
    int a = x[i], b = x[n + i];
    unsigned c = u[i], d = u[n + i];
    long long p = l[i], q = l[n + i];
    unsigned* o = r + 20 * i;
    o[0] = a / b; o[1] = a % b; o[2] = c / d; o[3] = c % d;
    o[4] = __popc(a); o[5] = __clz(a); o[6] = __brev(a); o[7] = __ffs(a);
    o[8] = abs(a); o[9] = min(a, b); o[10] = max(c, d); o[11] = __mulhi(a, b);
    o[12] = __umulhi(c, d); o[13] = __byte_perm(a, b, 0x5240); o[14] = __funnelshift_l(c, d, a); o[15] = a >> (b & 31);
    o[16] = c << (d & 31); o[17] = (signed char)a; o[18] = (unsigned short)b; o[19] = (c >> 5) & 0x3ff;
    long long* z = w + 8 * i;
    z[0] = p / q; z[1] = p % q; z[2] = (unsigned long long)p / (unsigned long long)q; z[3] = __mul64hi(p, q);
    z[4] = p * q; z[5] = p >> (q & 63); z[6] = (long long)a * b; z[7] = __popcll(p) + __clzll(q);
}

__device__ unsigned short to_bf16(float v) { unsigned short r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
__device__ unsigned short to_f16(float v) { unsigned short r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
__device__ float from_f16(unsigned short v) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v)); return r; }
__device__ unsigned pair(float hi, float lo) { unsigned r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo)); return r; }

extern "C" __global__ void conversions(const float* x, unsigned* r, long long* w, int n) {
    int i = threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    unsigned* o = r + 12 * i;
    o[0] = to_bf16(v); o[1] = to_f16(v); o[2] = __float_as_uint(from_f16(to_f16(v))); o[3] = pair(v, 1.f);
    o[4] = (int)v; o[5] = (unsigned)v; o[6] = __float2int_rn(v); o[7] = __float2int_ru(v);
    o[8] = __float_as_uint(__saturatef(v)); o[9] = __float2int_rd(v); o[10] = (signed char)(int)v; o[11] = v < 1.f;
    w[i] = (long long)v;
}

extern "C" __global__ void lanes(const int* x, int* r) {
    int i = threadIdx.x, v = x[i];
    r[i] = __match_any_sync(~0u, v); r[32 + i] = __reduce_add_sync(~0u, v);
    r[64 + i] = __shfl_sync(~0u, v, 3, 8); r[96 + i] = __shfl_up_sync(~0u, v, 2);
    r[128 + i] = __any_sync(~0u, v > 6) + 2 * __all_sync(~0u, v > 0);
    r[160 + i] = __syncthreads_count(v > 3);
    if (i < 16) r[192 + i] = __shfl_xor_sync(0xffffu, v, 1); else r[192 + i] = __popc(__activemask());
}

extern "C" __global__ void choose(int* x) {
    int i = threadIdx.x, v = x[i];
    switch (v) {
        case 0: v = 30; break;
        case 1: v = x[i] * 7; break;
        case 2: v *= 9; break;
        case 3: v = v * v * 5; break;
        case 4: v -= 11; break;
        case 5: v = 5 ^ i; break;
        case 6: v = i / 3; break;
        case 7: v = i % 5; break;
        default: v = -1;
    }
    x[i] = v;
}

// Each lane takes a lock that another holds; warps wait for one another by a flag.
extern "C" __global__ void locks(int* lock, volatile int* count, int* order) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0, 1) == 0) {
            *count = *count + 1;
            atomicExch(lock, 0);
            done = true;
        }
    }
    volatile __shared__ int turn;
    if (threadIdx.x == 0) turn = 1;
    __syncthreads();
    int warp = threadIdx.x / 32, last = blockDim.x / 32 - 1;
    if (threadIdx.x % 32 == 0) {
        while (turn != last - warp + 1) {}
        order[warp] = turn;
        turn = turn + 1;
    }
}

struct Many { int at[16]; const float* from[4]; };

// A structure by value, indexed by the thread; the first 64 threads meet at a barrier of their own.
extern "C" __global__ void indexed(const __grid_constant__ Many many, float* out, int j) {
    __shared__ float s[64];
    int i = threadIdx.x;
    if (i < 64) {
        s[i] = many.from[(i + j) & 3][many.at[i & 15]];
        asm volatile("bar.sync 1, 64;" ::: "memory");
        out[i] = s[63 - i];
    }
}
