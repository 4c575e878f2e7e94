// SwiGLU and rotation with AVX2: eight floats at a time. Compiled with its own flags, alone.
#include <immintrin.h>

#include <cstddef>

#include "elementwise.h"
#include "elementwise_kernels.h"

namespace sirocco {
namespace {

using Vec = __m256;
constexpr std::size_t kLanes = 8;

Vec all(float x) { return _mm256_set1_ps(x); }
Vec load(const float* x) { return _mm256_loadu_ps(x); }
void store(float* to, Vec x) { _mm256_storeu_ps(to, x); }
Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }  // b where either is NaN
Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }   // likewise

// 2^n of 1.5 · 2^23 + n: n stands in the lowest bits, and goes into the exponent.
Vec power_of_two(Vec shifted) {
    const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(shifted),
                                       _mm256_set1_epi32(0x4B400000 - 127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}

}  // namespace
}  // namespace sirocco

#include "swiglu_vector.h"

namespace sirocco {

void swiglu_avx2(const float* gate, const float* value, float* out, std::size_t n) {
    swiglu_row(gate, value, out, n);
}

void rotate_avx2(float* x, const float* cosine, const float* sine, std::size_t n_heads,
                 std::size_t d) {
    rotate_heads(x, cosine, sine, n_heads, d);
}

}  // namespace sirocco
