// The gates of a GRU's time step, and their gradients: one thread for each number of the states.
//
// The forward kernel saves six blocks [rows, width]: next state, r, z, n, q = W_hn h + b_hn, previous
// state.

typedef unsigned int u32;

#define THREADS 256

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// `words` = W_ih x + b_ih [rows, 3 width], `states` = W_hh h [rows, 3 width], `bias` = b_hh [3 width].
extern "C" __global__ void __launch_bounds__(THREADS)
    gates_forward(const float* words, const float* states, const float* bias, const float* previous, float* saved,
                  u32 rows, u32 width) {
    u32 at = blockIdx.x * THREADS + threadIdx.x, area = rows * width;
    if (at >= area) return;
    u32 row = at / width, column = at % width;
    const float* x = words + (size_t)row * 3 * width + column;
    const float* u = states + (size_t)row * 3 * width + column;
    float r = sigmoid(x[0] + u[0] + bias[column]);
    float z = sigmoid(x[width] + u[width] + bias[width + column]);
    float q = u[2 * width] + bias[2 * width + column];
    float n = tanhf(x[2 * width] + r * q);
    float before = previous[at];
    saved[at] = n + z * (before - n);
    saved[area + at] = r;
    saved[2 * (size_t)area + at] = z;
    saved[3 * (size_t)area + at] = n;
    saved[4 * (size_t)area + at] = q;
    saved[5 * (size_t)area + at] = before;
}

// `upstream` [rows, width] is the gradient of the step's states from the output, `carried`
// [carried_rows, width] that from the later step, which has the first captions only. Writes three
// blocks: the gradients of `words` [rows, 3 width] and of `states` [rows, 3 width], and the part of the
// gradient of the previous states that does not pass through W_hh [rows, width].
extern "C" __global__ void __launch_bounds__(THREADS)
    gates_backward(const float* saved, const float* upstream, const float* carried, float* gradients, u32 rows,
                   u32 width, u32 carried_rows) {
    u32 at = blockIdx.x * THREADS + threadIdx.x, area = rows * width;
    if (at >= area) return;
    u32 row = at / width, column = at % width;
    float r = saved[area + at], z = saved[2 * (size_t)area + at], n = saved[3 * (size_t)area + at];
    float q = saved[4 * (size_t)area + at], before = saved[5 * (size_t)area + at];
    float d = upstream[at] + (row < carried_rows ? carried[at] : 0.0f);
    float to_n = d * (1.0f - z) * (1.0f - n * n);
    float to_z = d * (before - n) * z * (1.0f - z);
    float to_r = to_n * q * r * (1.0f - r);
    float* to_words = gradients + (size_t)row * 3 * width + column;
    to_words[0] = to_r;
    to_words[width] = to_z;
    to_words[2 * width] = to_n;
    float* to_states = to_words + 3 * (size_t)area;
    to_states[0] = to_r;
    to_states[width] = to_z;
    to_states[2 * width] = to_n * r;
    gradients[6 * (size_t)area + at] = d * z;
}
