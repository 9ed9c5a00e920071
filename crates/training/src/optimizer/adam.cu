// One step of Adam or AdamW on one parameter, in place: one thread for each number.
//
// Every product, sum, root and quotient is rounded on its own, without fused multiply-adds, so the
// result has the same bits as on the CPU.

typedef unsigned int u32;

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
    adam(float* parameter, const float* gradient, float* first, float* second, u32 count, float scale,
         float coupled, float shrink, float beta1, float rest1, float beta2, float rest2, float root,
         float epsilon, float size) {
    size_t at = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= count) return;
    float p = parameter[at];
    float g = __fadd_rn(__fmul_rn(gradient[at], scale), __fmul_rn(p, coupled));
    float m = __fadd_rn(__fmul_rn(first[at], beta1), __fmul_rn(g, rest1));
    float v = __fadd_rn(__fmul_rn(second[at], beta2), __fmul_rn(__fmul_rn(g, g), rest2));
    float scaled = __fadd_rn(__fmul_rn(__fsqrt_rn(v), root), epsilon);
    first[at] = m;
    second[at] = v;
    parameter[at] = __fsub_rn(__fmul_rn(p, shrink), __fdiv_rn(__fmul_rn(m, size), scaled));
}
