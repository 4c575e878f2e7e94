// 16-bit floats in plain C++, for processors and compilers without conversion instructions.
// Every function is static: each file gets its own, compiled with its own flags.
#pragma once

#include <cstdint>
#include <cstring>

namespace sirocco {

static inline float float_from_half(std::uint16_t half) {
    const std::uint32_t sign = std::uint32_t(half & 0x8000u) << 16;
    std::uint32_t exponent = (half >> 10) & 0x1Fu, fraction = half & 0x3FFu, bits;
    if (exponent == 0x1F) {
        bits = sign | 0x7F800000u | (fraction << 13);  // infinity or NaN
    } else if (exponent != 0) {
        bits = sign | ((exponent + 112) << 23) | (fraction << 13);
    } else {  // zero or subnormal: fraction * 2^-24, exactly
        const float magnitude = float(fraction) * 5.9604644775390625e-8f;
        std::memcpy(&bits, &magnitude, sizeof bits);
        bits |= sign;
    }
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Rounds to nearest, ties to even.
static inline std::uint16_t half_from_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint16_t sign = std::uint16_t((bits >> 16) & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits >= 0x7F800000u)  // infinity or NaN
        return sign | (bits > 0x7F800000u ? 0x7E00u : 0x7C00u);
    if (bits >= 0x477FF000u) return sign | 0x7C00u;  // rounds beyond the largest
    if (bits < 0x38800000u) {                         // subnormal: adding 0.5 aligns the digits
        float magnitude;
        std::memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, sizeof bits);
        return std::uint16_t(sign | (bits - 0x3F000000u));
    }
    const std::uint32_t odd = (bits >> 13) & 1u;
    return std::uint16_t(sign | ((bits - 0x38000000u + 0xFFFu + odd) >> 13));
}

}  // namespace sirocco
