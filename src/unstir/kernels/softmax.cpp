// The softmax of scaled rows and its gradient, both in place: s = softmax(scale * s), and, with p that softmax,
// dp = scale p (dp - sum(dp p)). Computed in float.

#include "numbers.h"

namespace {

template <class T>
void forward(T* s, int64_t rows, int64_t columns, float scale) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        T* values = s + row * columns;
        float most = load(values[0]), total = 0;
#pragma omp simd reduction(max : most)
        for (int64_t c = 0; c < columns; ++c) most = load(values[c]) > most ? load(values[c]) : most;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < columns; ++c) total += exponential<T>(scale * (load(values[c]) - most));
        const float over = 1.0f / total;
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c)
            store(values + c, exponential<T>(scale * (load(values[c]) - most)) * over);
    }
}

template <class T>
void backward(T* dp, const T* p, int64_t rows, int64_t columns, float scale) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        T* gradients = dp + row * columns;
        const T* values = p + row * columns;
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < columns; ++c) total += load(gradients[c]) * load(values[c]);
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c)
            store(gradients + c, scale * load(values[c]) * (load(gradients[c]) - total));
    }
}

}  // namespace

#define EXPORT(T)                                                                                \
    extern "C" void softmax_forward_##T(T* s, int64_t rows, int64_t columns, float scale) {      \
        forward(s, rows, columns, scale);                                                        \
    }                                                                                            \
    extern "C" void softmax_backward_##T(T* dp, const T* p, int64_t rows, int64_t columns, float scale) { \
        backward(dp, p, rows, columns, scale);                                                   \
    }

EXPORT(float)
EXPORT(bfloat16)
