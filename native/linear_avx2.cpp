// Low-bit linear layers with AVX2, 8 rows × 4 columns at a time. Compiled with its own flags; what
// is said in rms_norm_avx2.cpp about inline functions holds here.
#include <immintrin.h>

#include "linear.h"

namespace sirocco {
namespace {

// Rows of x that are computed together: each weight is unpacked once for all of them.
constexpr std::size_t kTogether = 4;

struct Stripe {
    const std::uint8_t* tiles;
    const std::uint16_t* scales;
    std::size_t n_groups;
    int offset;
};

// See linear_avx512_vnni.cpp.
void fetch_ahead(const std::uint8_t* tile, std::size_t n_bytes) {
    for (std::size_t i = 0; i < n_bytes; i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(tile) + 2048 + i, _MM_HINT_T0);
}

__m256i load(const std::uint8_t* bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

__m256i four_activations(const std::int8_t* values) {
    return _mm256_set1_epi32(*reinterpret_cast<const int*>(values));
}

// Products of 8 rows and 4 columns of 4-bit weights, in 16 bits: 32 of them are at most
// 32 · 15 · 127 / 2 = 30 480 in a lane of two columns, so a whole group can be added there.
template <std::size_t M>
void multiply_4bit(const std::uint8_t* tile, const std::int8_t* x, __m256i* products) {
    const __m256i low_half = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i sums[M];
    for (std::size_t m = 0; m < M; ++m) sums[m] = _mm256_setzero_si256();
    for (std::size_t pair = 0; pair < 4; ++pair) {
        const __m256i both = load(tile + 64 * pair);
        const __m256i even = _mm256_and_si256(both, low_half);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_half);
        for (std::size_t m = 0; m < M; ++m) {
            const std::int8_t* values = x + m * kGroup + 8 * pair;
            sums[m] = _mm256_add_epi16(
                sums[m],
                _mm256_add_epi16(_mm256_maddubs_epi16(even, four_activations(values)),
                                 _mm256_maddubs_epi16(odd, four_activations(values + 4))));
        }
    }
    for (std::size_t m = 0; m < M; ++m)
        products[m] = _mm256_add_epi32(products[m], _mm256_madd_epi16(sums[m], ones));
}

// 8-bit weights as signed numbers: |w| times a with w's sign, so that a pair of products,
// at most 2 · 128 · 127 = 32 512, fits into 16 bits.
template <std::size_t M>
void multiply_8bit(const std::uint8_t* tile, const std::int8_t* x, __m256i* products) {
    const __m256i flip = _mm256_set1_epi8(char(0x80)), ones = _mm256_set1_epi16(1);
    for (std::size_t four = 0; four < 8; ++four) {
        const __m256i weights = _mm256_xor_si256(load(tile + 64 * four), flip);  // u - 128
        const __m256i magnitudes = _mm256_abs_epi8(weights);
        for (std::size_t m = 0; m < M; ++m) {
            const __m256i a = _mm256_sign_epi8(four_activations(x + m * kGroup + 4 * four), weights);
            products[m] = _mm256_add_epi32(
                products[m], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, a), ones));
        }
    }
}

// One half (8 rows) of a tile: adds its group to `results`. Row m of x has it at `group` + m.
template <int bits, std::size_t M>
void add_group(const Stripe& w, std::size_t g, std::size_t half, const QuantizedRows& x,
               std::size_t group, __m256* results) {
    constexpr std::size_t tile_bytes = kTileRows * kGroup * bits / 8;
    const std::uint8_t* tile = w.tiles + g * tile_bytes + 32 * half;
    const std::int8_t* values = x.values + group * kGroup;
    __m256i products[M];
    for (std::size_t m = 0; m < M; ++m)
        products[m] = bits == 4 ? _mm256_set1_epi32(-w.offset * x.sums[group + m])
                                : _mm256_setzero_si256();  // signed already
    if constexpr (bits == 4)
        multiply_4bit<M>(tile, values, products);
    else
        multiply_8bit<M>(tile, values, products);
    const __m256 d = _mm256_cvtph_ps(_mm_loadu_si128(
        reinterpret_cast<const __m128i*>(w.scales + g * kTileRows + 8 * half)));
    for (std::size_t m = 0; m < M; ++m) {
        const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(products[m]),
                                            _mm256_set1_ps(x.scales[group + m]));
        results[m] = _mm256_fmadd_ps(scaled, d, results[m]);
    }
}

template <int bits, std::size_t M>
void compute(const Stripe& w, const QuantizedRows& x, std::size_t row, std::size_t n_rows,
             const Output& out, std::size_t out_stride) {
    constexpr std::size_t tile_bytes = kTileRows * kGroup * bits / 8;
    __m256 low[M], high[M];
    for (std::size_t m = 0; m < M; ++m) low[m] = high[m] = _mm256_setzero_ps();
    const std::size_t height = x.height(row);
    std::size_t group = x.first_group(row);
    for (std::size_t g = 0; g < w.n_groups; ++g, group += height) {
        if constexpr (M == 1) fetch_ahead(w.tiles + g * tile_bytes, tile_bytes);
        add_group<bits, M>(w, g, 0, x, group, low);
        add_group<bits, M>(w, g, 1, x, group, high);
    }
    for (std::size_t m = 0; m < M; ++m) {
        alignas(32) float row_of_tile[kTileRows];
        _mm256_store_ps(row_of_tile, low[m]);
        _mm256_store_ps(row_of_tile + 8, high[m]);
        float* results = out.values + (row + m) * out_stride;
        for (std::size_t r = 0; r < n_rows; ++r)
            results[r] = out.adds ? results[r] + row_of_tile[r] : row_of_tile[r];
    }
}

template <int bits>
void compute_all(const Stripe& w, const QuantizedRows& x, std::size_t first, std::size_t last,
                 std::size_t n_rows, const Output& out, std::size_t out_stride) {
    std::size_t row = first;
    for (; row + kTogether <= last; row += kTogether)
        compute<bits, kTogether>(w, x, row, n_rows, out, out_stride);
    for (; row < last; ++row) compute<bits, 1>(w, x, row, n_rows, out, out_stride);
}

__m256 absolute(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

float largest_lane(__m256 v) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

float sum_lanes(__m256 v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

int sum_lanes(__m256i v) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

}  // namespace

void quantize_row_avx2(const float* x, const QuantizedRows& rows, std::size_t row) {
    const std::size_t n_groups = rows.n_columns / kGroup, height = rows.height(row);
    std::size_t group = rows.first_group(row);
    // packs works within halves of a register; this puts the eight fours back in order.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    x += row * rows.n_columns;
    for (std::size_t g = 0; g < n_groups; ++g, x += kGroup, group += height) {
        __m256 v[4], largest = _mm256_setzero_ps(), nothing = _mm256_setzero_ps();
        for (std::size_t i = 0; i < 4; ++i) {
            v[i] = _mm256_loadu_ps(x + 8 * i);
            largest = _mm256_max_ps(absolute(v[i]), largest);  // a NaN leaves `largest` as it is
            nothing = _mm256_add_ps(nothing, _mm256_sub_ps(v[i], v[i]));
        }
        const float most = largest_lane(largest), none = sum_lanes(nothing);
        const bool is_sound = none == 0.0f;
        const __m256 inverse = _mm256_set1_ps(most > 0.0f && is_sound ? 127.0f / most : 0.0f);
        __m256i rounded[4], sum = _mm256_setzero_si256();
        for (std::size_t i = 0; i < 4; ++i) {
            rounded[i] = is_sound ? _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse))
                                  : _mm256_setzero_si256();
            sum = _mm256_add_epi32(sum, rounded[i]);
        }
        const __m256i packed = _mm256_permutevar8x32_epi32(
            _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]),
                               _mm256_packs_epi32(rounded[2], rounded[3])),
            order);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows.values + group * kGroup), packed);
        rows.scales[group] = most / 127.0f + none;
        rows.sums[group] = sum_lanes(sum);
    }
}

void linear_stripe_avx2(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                        std::size_t first, std::size_t last, const Output& out) {
    const std::size_t left = w.n_rows - stripe * kTileRows;
    const std::size_t n_rows = left < kTileRows ? left : kTileRows;
    const Stripe part{w.tiles + stripe * w.n_groups() * w.tile_bytes(),
                      w.scales + stripe * w.n_groups() * kTileRows, w.n_groups(), w.offset()};
    const Output columns{out.values + stripe * kTileRows, out.adds};
    if (w.bits == 4)
        compute_all<4>(part, x, first, last, n_rows, columns, w.n_rows);
    else
        compute_all<8>(part, x, first, last, n_rows, columns, w.n_rows);
}

}  // namespace sirocco
