// AdamW over all parameters at once, with the average of the weights and their bfloat16 copy in the same pass. A
// parameter without moments is left as it is, but for its average and its copy.

#include "numbers.h"

namespace {

constexpr int64_t BLOCK = 8192;

// Call f(tensor, from, to) for every block of every tensor, on all threads.
template <class F>
void for_blocks(int64_t count, const int64_t* sizes, F f) {
#pragma omp parallel
    for (int64_t i = 0; i < count; ++i) {
#pragma omp for schedule(static) nowait
        for (int64_t from = 0; from < sizes[i]; from += BLOCK)
            f(i, from, from + BLOCK < sizes[i] ? from + BLOCK : sizes[i]);
    }
}

template <class T>
double squares(const T* values, int64_t from, int64_t to) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = from; j < to; ++j) sum += load(values[j]) * load(values[j]);
    return sum;
}

struct AdamW {
    float rate, first, second, epsilon, decay, scale, average;  // the weights of what is new in m, v and the average
    float first_correction, second_correction;                  // 1 - beta_1^n, sqrt(1 - beta_2^n)
};

template <class G>
void update(float* p, const G* g, float* m, float* v, float* mean, bfloat16* copy, int64_t from, int64_t to,
            AdamW a) {
    const float kept = 1.0f - a.rate * a.decay, rate = a.rate / a.first_correction;
    if (m)
#pragma omp simd
        for (int64_t j = from; j < to; ++j) {
            const float gradient = load(g[j]) * a.scale;
            const float moment = m[j] + a.first * (gradient - m[j]);
            const float square = v[j] + a.second * (gradient * gradient - v[j]);
            m[j] = moment;
            v[j] = square;
            p[j] = kept * p[j] - rate * moment / (std::sqrt(square) / a.second_correction + a.epsilon);
        }
#pragma omp simd
    for (int64_t j = from; j < to; ++j) mean[j] += a.average * (p[j] - mean[j]);
    if (copy)
#pragma omp simd
        for (int64_t j = from; j < to; ++j) store(copy + j, p[j]);
}

}  // namespace

// Set sums to the sum of squares of each block of each gradient, in order.
extern "C" void block_squares(int64_t count, const int64_t* sizes, const void* const* gradients,
                              const uint8_t* is_bfloat16, const int64_t* offsets, double* sums) {
    for_blocks(count, sizes, [=](int64_t i, int64_t from, int64_t to) {
        const void* g = gradients[i];
        sums[offsets[i] + from / BLOCK] = is_bfloat16[i] ? squares(static_cast<const bfloat16*>(g), from, to)
                                                         : squares(static_cast<const float*>(g), from, to);
    });
}

extern "C" void adamw(int64_t count, const int64_t* sizes, float* const* parameters, const void* const* gradients,
                      const uint8_t* is_bfloat16, float* const* firsts, float* const* seconds, float* const* means,
                      bfloat16* const* copies, const AdamW* options) {
    const AdamW a = *options;
    for_blocks(count, sizes, [=](int64_t i, int64_t from, int64_t to) {
        if (is_bfloat16[i])
            update(parameters[i], static_cast<const bfloat16*>(gradients[i]), firsts[i], seconds[i], means[i],
                   copies[i], from, to, a);
        else
            update(parameters[i], static_cast<const float*>(gradients[i]), firsts[i], seconds[i], means[i], copies[i],
                   from, to, a);
    });
}
