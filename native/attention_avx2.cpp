// Attention with AVX2, FMA and F16C: eight floats at a time. Compiled with these flags, alone.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sirocco {
namespace {

using Vec = __m256;
constexpr std::size_t kLanes = 8;
// Rows for which reading a tile several times is cheaper than writing it down converted.
constexpr std::size_t kFewRows = 16;
// So far ahead tiles are asked for. Measured with two cores of an EPYC (Zen 3) and float16: from 8
// to 13 GB/s with one row a tile, from 4 to 12 GB/s with four.
constexpr std::size_t kTilesAhead = 3;
constexpr int kMaxRows = 4;  // times two vectors each: 8 sums, 2 keys and a query in 16 registers

Vec zero() { return _mm256_setzero_ps(); }
Vec all(float x) { return _mm256_set1_ps(x); }
Vec load(const float* x) { return _mm256_loadu_ps(x); }
void store(float* to, Vec x) { _mm256_storeu_ps(to, x); }
Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }  // b where either is NaN

// Lanes begin … end - 1 of x, the others of `otherwise`.
Vec keep(Vec x, Vec otherwise, int begin, int end) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i from = _mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(begin - 1));
    const __m256i until = _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lanes);
    return _mm256_blendv_ps(otherwise, x, _mm256_castsi256_ps(_mm256_and_si256(from, until)));
}

Vec convert(const float* x) { return load(x); }
Vec convert(const std::uint16_t* x) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}
Vec convert(const std::int8_t* x) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
template <typename T>
Vec convert_8(const T* x) {
    return convert(x);
}

constexpr std::size_t padded_to_lanes(std::size_t head_dim) { return head_dim; }

// 2^x for x <= 0, off by 2e-7 of it at most; 0 below 2^-126, and NaN for NaN.
// x = n + f with f in -0.5 … 0.5; 2^f is a polynomial of degree 5, fitted to the least largest
// relative error; 2^n is made of exponent bits.
Vec exp2(Vec x) {
    const Vec lowest = all(-126.0f);
    const Vec clamped = _mm256_max_ps(lowest, x);  // x, if it is NaN
    const Vec n = _mm256_round_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec f = sub(clamped, n);
    Vec y = all(1.32647272e-3f);
    y = fma(y, f, all(9.67151281e-3f));
    y = fma(y, f, all(5.55073374e-2f));
    y = fma(y, f, all(2.40222421e-1f));
    y = fma(y, f, all(6.93146978e-1f));
    y = fma(y, f, all(1.0f));
    const __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    y = mul(y, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23)));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), y);
}

float max_lanes(Vec x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

float sum_lanes(Vec x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

float first_lane(Vec x) { return _mm256_cvtss_f32(x); }

}  // namespace
}  // namespace sirocco

#include "attention_vector.h"

namespace sirocco {
namespace {

// The bits of |x|, which order as the numbers do; NaN and infinity come last.
std::uint32_t largest_bits(const float* x, std::size_t n) {
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i largest = _mm256_setzero_si256();
    for (std::size_t i = 0; i < n; i += 8)
        largest = _mm256_max_epu32(
            largest, _mm256_and_si256(_mm256_castps_si256(load(x + i)), magnitude));
    __m128i four =
        _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xB1));
    return std::uint32_t(_mm_cvtsi128_si32(four));
}

// As in attention_scalar.cpp, to the bit.
float int8_scale(const float* x, std::size_t n, float& inverse) {
    const std::uint32_t bits = largest_bits(x, n);
    float largest;
    std::memcpy(&largest, &bits, sizeof largest);
    inverse = 0.0f;
    if (bits >= 0x7F800000u) return __builtin_nanf("");
    if (!(largest > 1e-30f)) return 0.0f;
    inverse = 127.0f / largest;
    return largest / 127.0f;
}

void round_row(const float* x, std::size_t n, float*, float* to) {
    for (std::size_t i = 0; i < n; i += 8) store(to + i, load(x + i));
}

void round_row(const float* x, std::size_t n, float*, std::uint16_t* to) {
    for (std::size_t i = 0; i < n; i += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                         _mm256_cvtps_ph(load(x + i), _MM_FROUND_TO_NEAREST_INT));
}

void round_row(const float* x, std::size_t n, float* scale, std::int8_t* to) {
    float inverse;
    *scale = int8_scale(x, n, inverse);
    for (std::size_t i = 0; i < n; i += 8) {
        const __m256i ints = _mm256_cvtps_epi32(mul(load(x + i), all(inverse)));
        const __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
        const __m128i bytes = inverse == 0.0f ? _mm_setzero_si128() : _mm_packs_epi16(words, words);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i), bytes);
    }
}

constexpr std::size_t kMaxHeadDim = 256;

template <typename T>
void append(const KvLayer& layer, const float* k, const float* v, const std::int64_t* slots,
            std::size_t n_tokens, std::size_t kv_head) {
    const std::size_t D = layer.head_dim, P = layer.block_size, K = layer.n_kv_heads;
    for (std::size_t token = 0; token < n_tokens; ++token, k += K * D, v += K * D) {
        const std::size_t head = std::size_t(slots[token]) / P * K + kv_head;
        const std::size_t offset = std::size_t(slots[token]) % P, slot = head * P + offset;
        float unused;
        T row[kMaxHeadDim];
        round_row(k, D, kIsScaled<T> ? layer.k_scales + slot : &unused, row);
        T* keys = static_cast<T*>(layer.k) + head * D * P + offset;
        for (std::size_t d = 0; d < D; ++d) keys[d * P] = row[d];
        round_row(v, D, kIsScaled<T> ? layer.v_scales + slot : &unused,
                  static_cast<T*>(layer.v) + slot * D);
    }
}

}  // namespace

void attend_segment_avx2(const KvLayer& layer, const QueryTile& tile, Range range, float* scratch,
                         const SegmentResult& result) {
    attend_any_format(layer, tile, range, scratch, result);
}

void append_kv_avx2(const KvLayer& layer, const float* k, const float* v,
                    const std::int64_t* slots, std::size_t n_tokens, std::size_t kv_head) {
    switch (layer.format) {
        case KvFormat::float32: return append<float>(layer, k, v, slots, n_tokens, kv_head);
        case KvFormat::float16: return append<std::uint16_t>(layer, k, v, slots, n_tokens, kv_head);
        case KvFormat::int8: return append<std::int8_t>(layer, k, v, slots, n_tokens, kv_head);
    }
}

}  // namespace sirocco
