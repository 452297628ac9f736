// bfloat16, and functions of a number that a compiler can turn into functions of a vector.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct bfloat16 {
    uint16_t bits;
};

inline float load(float x) { return x; }
inline float load(bfloat16 x) {
    uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void store(float* to, float x) { *to = x; }
inline void store(bfloat16* to, float x) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    to->bits = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// e^x to 2e-7 of its value, or 5e-5 where it ends in a bfloat16; 2^-126 at least: 2^n 2^f with |f| <= 1/2, and 2^f
// by its Taylor polynomial.
template <class T>
inline float exponential(float x) {
    float z = x * 1.44269504f;
    z = z > 126.0f ? 126.0f : (z < -126.0f ? -126.0f : z);
    const float n = std::rint(z), f = z - n;
    float p = 9.6181291e-3f;
    if (sizeof(T) == 4) p = (1.5403530e-4f * f + 1.3333558e-3f) * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &p, 4);
    bits += static_cast<int32_t>(n) * (1 << 23);
    std::memcpy(&p, &bits, 4);
    return p;
}

template <class T>
inline float sigmoid(float x) {
    return 1.0f / (1.0f + exponential<T>(-x));
}

}  // namespace
