// SwiGLU with AVX-512: sixteen floats at a time. Compiled with its own flags, alone.
#include <immintrin.h>

#include <cstddef>

#include "elementwise.h"

namespace sirocco {
namespace {

using Vec = __m512;
constexpr std::size_t kLanes = 16;

Vec all(float x) { return _mm512_set1_ps(x); }
Vec load(const float* x) { return _mm512_loadu_ps(x); }
void store(float* to, Vec x) { _mm512_storeu_ps(to, x); }
Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }  // b where either is NaN
Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }   // likewise

// See elementwise_avx2.cpp.
Vec power_of_two(Vec shifted) {
    const __m512i n = _mm512_sub_epi32(_mm512_castps_si512(shifted),
                                       _mm512_set1_epi32(0x4B400000 - 127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(n, 23));
}

}  // namespace
}  // namespace sirocco

#include "swiglu_vector.h"

namespace sirocco {

void swiglu_avx512(const float* gate, const float* value, float* out, std::size_t n) {
    swiglu_row(gate, value, out, n);
}

}  // namespace sirocco
