// The bodies of elementwise.h as plain loops. gcc turns that of the rotation into vector
// instructions, but not that of SwiGLU: see swiglu_vector.h.
// Everything is static: each file that includes this gets its own, compiled with its own flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sirocco {

// e^x to a few units in the last place: 2^n by its bits times a polynomial on ±ln(2)/2. Arguments
// are cut to what float32 can hold; a NaN stays one. Source: Cody & Waite 1980, §6.
static inline float exponential(float x) {
    const float cut = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    const float shifted = cut * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: rounds to an integer
    const float n = shifted - 12582912.0f;
    const float r = (cut - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    std::int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4B400000 + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

static inline void swiglu_plain(const float* gate, const float* value, float* out, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        out[i] = gate[i] / (1.0f + exponential(-gate[i])) * value[i];
}

static inline void rotate_heads(float* x, const float* cosine, const float* sine,
                                std::size_t n_heads, std::size_t d) {
    const std::size_t half = d / 2;
    for (std::size_t head = 0; head < n_heads; ++head, x += d) {
        for (std::size_t i = 0; i < half; ++i) {
            const float first = x[i], second = x[i + half];
            x[i] = first * cosine[i] - second * sine[i];
            x[i + half] = second * cosine[i] + first * sine[i];
        }
    }
}

}  // namespace sirocco
