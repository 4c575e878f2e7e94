// Attention with AVX-512: sixteen floats at a time. Compiled with these flags, alone.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sirocco {
namespace {

using Vec = __m512;
constexpr std::size_t kLanes = 16;
// Rows for which reading a tile several times is cheaper than writing it down converted: sixteen,
// MQA's of the lab, had 7 GB/s written down and have 11 so.
constexpr std::size_t kFewRows = 16;
// Measured with two cores of an EPYC (Zen 4) and float16: from 11 to 15 GB/s with eight rows a tile,
// from 13 to 18 with four. On a Xeon an earlier way to ask, for half of the lines, gained nothing.
constexpr std::size_t kTilesAhead = 3;
constexpr int kMaxRows = 8;  // times two vectors each: 16 sums, 2 keys and a query in 32 registers

Vec zero() { return _mm512_setzero_ps(); }
Vec all(float x) { return _mm512_set1_ps(x); }
Vec load(const float* x) { return _mm512_loadu_ps(x); }
void store(float* to, Vec x) { _mm512_storeu_ps(to, x); }
Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }  // b where either is NaN

// Lanes begin … end - 1 of x, the others of `otherwise`.
Vec keep(Vec x, Vec otherwise, int begin, int end) {
    const __m512i lanes =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 from = _mm512_cmpge_epi32_mask(lanes, _mm512_set1_epi32(begin));
    return _mm512_mask_mov_ps(otherwise,
                              _mm512_mask_cmplt_epi32_mask(from, lanes, _mm512_set1_epi32(end)), x);
}

Vec convert(const float* x) { return load(x); }
Vec convert(const std::uint16_t* x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}
Vec convert(const std::int8_t* x) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

// Eight values, and eight zeros: what remains of a row.
Vec convert_8(const float* x) { return _mm512_maskz_loadu_ps(0xFF, x); }
Vec convert_8(const std::uint16_t* x) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
    return _mm512_cvtph_ps(_mm256_zextsi128_si256(halves));
}
Vec convert_8(const std::int8_t* x) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

constexpr std::size_t padded_to_lanes(std::size_t head_dim) { return (head_dim + 15) / 16 * 16; }

// See attention_avx2.cpp.
Vec exp2(Vec x) {
    const Vec lowest = all(-126.0f);
    const Vec clamped = _mm512_max_ps(lowest, x);  // x, if it is NaN
    const Vec n = _mm512_roundscale_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec f = sub(clamped, n);
    Vec y = all(1.32647272e-3f);
    y = fma(y, f, all(9.67151281e-3f));
    y = fma(y, f, all(5.55073374e-2f));
    y = fma(y, f, all(2.40222421e-1f));
    y = fma(y, f, all(6.93146978e-1f));
    y = fma(y, f, all(1.0f));
    const __mmask16 is_tiny = _mm512_cmp_ps_mask(x, lowest, _CMP_LT_OQ);
    return _mm512_mask_mov_ps(_mm512_scalef_ps(y, n), is_tiny, zero());
}

float max_lanes(Vec x) { return _mm512_reduce_max_ps(x); }
float sum_lanes(Vec x) { return _mm512_reduce_add_ps(x); }
float first_lane(Vec x) { return _mm512_cvtss_f32(x); }

}  // namespace
}  // namespace sirocco

#include "attention_vector.h"

namespace sirocco {

void attend_segment_avx512(const KvLayer& layer, const QueryTile& tile, Range range,
                           float* scratch, const SegmentResult& result) {
    attend_any_format(layer, tile, range, scratch, result);
}

}  // namespace sirocco
