// y = dropout(silu(gain * x_hat + shift)) and its gradient, in two passes over memory that is in the cache.
//
// x is (batch, pixels, channels), channels fastest, in bfloat16 or float; gain and shift are (batch, channels)
// floats. x_hat is x less its mean, over its deviation: those of a group's channels and all pixels of an image, or,
// with no groups, of the channels of one pixel. Everything is computed in float. These are plain loops over channels,
// which the compiler turns into vectors of whatever width the processor has.

#include <vector>

#include "numbers.h"

namespace {

struct Norm {
    int64_t batch, pixels, channels, groups;  // no groups: each pixel by itself
    float epsilon;
    uint32_t silu;
    uint32_t seed, threshold;  // an element is dropped where its hash is below the threshold
    float scale;               // 1 / (1 - the probability of dropping)
};

// The scale where an element is kept, else 0: a hash of its place and the seed (murmur3's finalizer).
inline float kept(uint32_t place, Norm norm) {
    uint32_t h = place * 0x9e3779b1u ^ norm.seed;
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    h ^= h >> 16;
    return h >= norm.threshold ? norm.scale : 0.0f;
}

// The mean and 1 / deviation of each group of one image, repeated for each of its channels.
template <class T>
void group_statistics(const T* x, float* mean, float* rstd, const Norm& norm) {
    const int64_t pixels = norm.pixels, channels = norm.channels, width = channels / norm.groups;
    const float count = static_cast<float>(pixels * width);
    auto fold = [&](float* sums) {  // each channel's sum to its group's mean
        for (int64_t first = 0; first < channels; first += width) {
            float total = 0;
            for (int64_t c = first; c < first + width; ++c) total += sums[c];
            for (int64_t c = first; c < first + width; ++c) sums[c] = total / count;
        }
    };
    // Two pixels at a time, which halves the loads and stores of the sums; an odd one is taken twice, by half.
    auto rows = [&](auto f) {
        for (int64_t p = 0; p + 1 < pixels; p += 2) f(x + p * channels, x + (p + 1) * channels, 1.0f);
        if (pixels % 2) f(x + (pixels - 1) * channels, x + (pixels - 1) * channels, 0.5f);
    };
    for (int64_t c = 0; c < channels; ++c) mean[c] = rstd[c] = 0;
    rows([&](const T* one, const T* two, float weight) {
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) mean[c] += weight * (load(one[c]) + load(two[c]));
    });
    fold(mean);
    rows([&](const T* one, const T* two, float weight) {
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
            const float d = load(one[c]) - mean[c], e = load(two[c]) - mean[c];
            rstd[c] += weight * (d * d + e * e);
        }
    });
    fold(rstd);
    for (int64_t c = 0; c < channels; ++c) rstd[c] = 1.0f / std::sqrt(rstd[c] + norm.epsilon);
}

template <class T>
void pixel_statistics(const T* row, float& mean, float& rstd, int64_t channels, float epsilon) {
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < channels; ++c) sum += load(row[c]);
    mean = sum / static_cast<float>(channels);
    const float m = mean;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < channels; ++c) {
        const float d = load(row[c]) - m;
        squares += d * d;
    }
    rstd = 1.0f / std::sqrt(squares / static_cast<float>(channels) + epsilon);
}

template <class T, bool SILU, bool DROP>
void forward(const T* x, T* y, float* mean, float* rstd, const float* gain, const float* shift, Norm norm) {
    const int64_t batch = norm.batch, pixels = norm.pixels, channels = norm.channels, groups = norm.groups;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < batch; ++b) {
        const float *a = gain + b * channels, *s = shift + b * channels;
        float *m = mean + b * (groups ? channels : pixels), *r = rstd + b * (groups ? channels : pixels);
        if (groups) group_statistics(x + b * pixels * channels, m, r, norm);
        for (int64_t p = 0; p < pixels; ++p) {
            const int64_t place = (b * pixels + p) * channels;
            const T* xs = x + place;
            auto element = [&](int64_t c, float x_hat) {
                const float u = x_hat * a[c] + s[c];
                float v = SILU ? u * sigmoid<T>(u) : u;
                if (DROP) v *= kept(static_cast<uint32_t>(place + c), norm);
                store(y + place + c, v);
            };
            if (groups) {
#pragma omp simd
                for (int64_t c = 0; c < channels; ++c) element(c, (load(xs[c]) - m[c]) * r[c]);
            } else {
                pixel_statistics(xs, m[p], r[p], channels, norm.epsilon);
                const float pixel_mean = m[p], pixel_rstd = r[p];
#pragma omp simd
                for (int64_t c = 0; c < channels; ++c) element(c, (load(xs[c]) - pixel_mean) * pixel_rstd);
            }
        }
    }
}

// With g = dy kept silu'(u): dshift = sum g, dgain = sum g x_hat over an image's pixels, and, with h = gain g,
// dx = rstd (h - mean(h) - x_hat mean(h x_hat)), the means over what x's own mean was over. To that is added what
// comes to x by another way around the norm, if any.
template <class T, bool SILU, bool DROP>
void backward(const T* dy, const T* around, const T* x, const float* mean, const float* rstd, const float* gain,
              const float* shift, T* dx, float* dgain, float* dshift, Norm norm) {
    const int64_t batch = norm.batch, pixels = norm.pixels, channels = norm.channels, groups = norm.groups;
#pragma omp parallel
    {
        std::vector<float> scratch(groups ? pixels * channels : channels), first(channels), second(channels);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < batch; ++b) {
            const float *a = gain + b * channels, *s = shift + b * channels;
            float *da = dgain + b * channels, *ds = dshift + b * channels;
            const int64_t at = groups ? b * channels : b * pixels;
            const float *m = mean + at, *r = rstd + at;
            for (int64_t c = 0; c < channels; ++c) da[c] = ds[c] = 0;
            for (int64_t p = 0; p < pixels; ++p) {
                const int64_t place = (b * pixels + p) * channels;
                const T *xs = x + place, *dys = dy + place;
                float* g = scratch.data() + (groups ? p * channels : 0);
                const float pixel_mean = groups ? 0 : m[p], pixel_rstd = groups ? 0 : r[p];
                float h1 = 0, h2 = 0;
                auto element = [&](int64_t c, float x_hat) {
                    const float u = x_hat * a[c] + s[c], t = SILU ? sigmoid<T>(u) : 0.0f;
                    float v = load(dys[c]) * (SILU ? t * (1.0f + u * (1.0f - t)) : 1.0f);
                    if (DROP) v *= kept(static_cast<uint32_t>(place + c), norm);
                    ds[c] += v;
                    da[c] += v * x_hat;
                    return v;
                };
                if (groups) {
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) g[c] = element(c, (load(xs[c]) - m[c]) * r[c]);
                } else {
#pragma omp simd reduction(+ : h1, h2)
                    for (int64_t c = 0; c < channels; ++c) {
                        const float x_hat = (load(xs[c]) - pixel_mean) * pixel_rstd;
                        const float h = element(c, x_hat) * a[c];
                        g[c] = h;
                        h1 += h;
                        h2 += h * x_hat;
                    }
                    h1 /= static_cast<float>(channels);
                    h2 /= static_cast<float>(channels);
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c)
                        store(dx + place + c,
                              pixel_rstd * (g[c] - h1 - (load(xs[c]) - pixel_mean) * pixel_rstd * h2) +
                                  (around ? load(around[place + c]) : 0.0f));
                }
            }
            if (!groups) continue;
            const int64_t width = channels / groups;
            for (int64_t k = 0; k < groups; ++k) {
                float h1 = 0, h2 = 0;
                for (int64_t c = k * width; c < (k + 1) * width; ++c) {
                    h1 += a[c] * ds[c];
                    h2 += a[c] * da[c];
                }
                for (int64_t c = k * width; c < (k + 1) * width; ++c) {
                    first[c] = h1 / static_cast<float>(pixels * width);
                    second[c] = h2 / static_cast<float>(pixels * width);
                }
            }
            for (int64_t p = 0; p < pixels; ++p) {
                const int64_t place = (b * pixels + p) * channels;
                const T* xs = x + place;
                const float* g = scratch.data() + p * channels;
#pragma omp simd
                for (int64_t c = 0; c < channels; ++c)
                    store(dx + place + c,
                          r[c] * (a[c] * g[c] - first[c] - (load(xs[c]) - m[c]) * r[c] * second[c]) +
                              (around ? load(around[place + c]) : 0.0f));
            }
        }
    }
}

}  // namespace

// The two loops for one type of x, chosen by whether there is a SiLU and a dropout: branches that cost nothing within.
#define EXPORT(T)                                                                                                  \
    extern "C" void norm_forward_##T(const T* x, T* y, float* mean, float* rstd, const float* gain,                \
                                     const float* shift, const Norm* norm) {                                       \
        (norm->threshold ? forward<T, true, true> : norm->silu ? forward<T, true, false> : forward<T, false, false>)( \
            x, y, mean, rstd, gain, shift, *norm);                                                                 \
    }                                                                                                              \
    extern "C" void norm_backward_##T(const T* dy, const T* around, const T* x, const float* mean,                 \
                                      const float* rstd, const float* gain, const float* shift, T* dx,             \
                                      float* dgain, float* dshift, const Norm* norm) {                             \
        (norm->threshold ? backward<T, true, true>                                                                 \
         : norm->silu    ? backward<T, true, false>                                                                \
                         : backward<T, false, false>)(dy, around, x, mean, rstd, gain, shift, dx, dgain, dshift,   \
                                                      *norm);                                                      \
    }

EXPORT(float)
EXPORT(bfloat16)
