// RMSNorm with AVX2 and FMA, eight floats at a time. Compiled with -mavx2 -mfma, alone.
//
// No <cmath> and no templates here: an inline function compiled in this file could be the copy
// that the linker keeps for all files, and would then crash a processor without AVX2.
#include "rms_norm.h"

#include <immintrin.h>

namespace sirocco {
namespace {

float sum_lanes(__m256 v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// Four accumulators keep four additions in flight; one would wait for itself each time.
float sum_of_squares(const float* x, std::size_t dim) {
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
    std::size_t i = 0;
    for (; i + 32 <= dim; i += 32) {
        const __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
        const __m256 x2 = _mm256_loadu_ps(x + i + 16), x3 = _mm256_loadu_ps(x + i + 24);
        a = _mm256_fmadd_ps(x0, x0, a);
        b = _mm256_fmadd_ps(x1, x1, b);
        c = _mm256_fmadd_ps(x2, x2, c);
        d = _mm256_fmadd_ps(x3, x3, d);
    }
    for (; i + 8 <= dim; i += 8) {
        const __m256 x0 = _mm256_loadu_ps(x + i);
        a = _mm256_fmadd_ps(x0, x0, a);
    }
    float sum = sum_lanes(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
    for (; i < dim; ++i) sum += x[i] * x[i];
    return sum;
}

float inverse_root(float v) {
    return 1.0f / _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(v)));
}

void scale_row(const float* x, const float* weight, float scale, float* out, std::size_t dim) {
    const __m256 scales = _mm256_set1_ps(scale);
    std::size_t i = 0;
    for (; i + 8 <= dim; i += 8) {
        const __m256 normed = _mm256_mul_ps(_mm256_loadu_ps(x + i), scales);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(weight + i), normed));
    }
    for (; i < dim; ++i) out[i] = weight[i] * (x[i] * scale);
}

}  // namespace

void rms_norm_avx2(const float* x, const float* weight, float eps, float* out,
                   std::size_t n_rows, std::size_t dim) {
    for (std::size_t row = 0; row < n_rows; ++row, x += dim, out += dim) {
        const float mean = sum_of_squares(x, dim) / float(dim);
        scale_row(x, weight, inverse_root(mean + eps), out, dim);
    }
}

}  // namespace sirocco
