// Low-bit linear layers with AVX2, a tile of 16 rows and 4 columns of it at a time. Compiled with its own flags; what
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
};

__m256i load(const std::uint8_t* bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

__m256i four_activations(const std::int8_t* values) {
    return _mm256_set1_epi32(*reinterpret_cast<const int*>(values));
}

// To be called after each addition. gcc would otherwise bring the sums of a whole group into another
// order, for which it lacks registers: it then writes every product to memory first, at a third to
// two thirds of the speed.
void keep_order(__m256i& sum) { asm("" : "+x"(sum)); }

// Sums of products of a tile's group, as 32-bit numbers: [2m + half] are those of row m of x with 8 of
// the tile's rows. What is loaded of x serves both halves.
//
// 4 bits: products are added in 16 bits, and start from -4 times the group's sum of x, of which a
// lane's two become -8 times, the offset. A lane holds 16 columns, so at the end it is
//   Σ (u - 8)·x of its columns + 4·(Σ x of its columns - Σ x of the others),
// at most 16·8·127 + 32·4·127 = 32 512; what overflows on the way comes back.
template <std::size_t M>
void multiply_4bit(const std::uint8_t* tile, const std::int8_t* x, const std::int32_t* x_sums,
                   __m256i* products) {
    const __m256i low_half = _mm256_set1_epi8(15);
    __m256i sums[2 * M];
    for (std::size_t m = 0; m < M; ++m)
        sums[2 * m] = sums[2 * m + 1] = _mm256_set1_epi16(short(-4 * x_sums[m]));
    for (std::size_t pair = 0; pair < 4; ++pair) {
        const __m256i both[2] = {load(tile + 64 * pair), load(tile + 64 * pair + 32)};
        for (std::size_t odd = 0; odd < 2; ++odd) {
            const __m256i first = odd ? _mm256_srli_epi16(both[0], 4) : both[0];
            const __m256i second = odd ? _mm256_srli_epi16(both[1], 4) : both[1];
            const __m256i low = _mm256_and_si256(first, low_half);
            const __m256i high = _mm256_and_si256(second, low_half);
            for (std::size_t m = 0; m < M; ++m) {
                const __m256i a = four_activations(x + m * kGroup + 8 * pair + 4 * odd);
                sums[2 * m] = _mm256_add_epi16(sums[2 * m], _mm256_maddubs_epi16(low, a));
                keep_order(sums[2 * m]);
                sums[2 * m + 1] = _mm256_add_epi16(sums[2 * m + 1], _mm256_maddubs_epi16(high, a));
                keep_order(sums[2 * m + 1]);
            }
        }
    }
    const __m256i ones = _mm256_set1_epi16(1);
    for (std::size_t i = 0; i < 2 * M; ++i) products[i] = _mm256_madd_epi16(sums[i], ones);
}

// 8 bits: weights as signed numbers: |w| times a with w's sign, so that a pair of products, at most
// 2 · 128 · 127 = 32 512, fits into 16 bits.
template <std::size_t M>
void multiply_8bit(const std::uint8_t* tile, const std::int8_t* x, __m256i* products) {
    const __m256i flip = _mm256_set1_epi8(char(0x80)), ones = _mm256_set1_epi16(1);
    for (std::size_t i = 0; i < 2 * M; ++i) products[i] = _mm256_setzero_si256();
    for (std::size_t four = 0; four < 8; ++four) {
        __m256i weights[2], magnitudes[2];
        for (std::size_t half = 0; half < 2; ++half) {
            weights[half] = _mm256_xor_si256(load(tile + 64 * four + 32 * half), flip);  // u - 128
            magnitudes[half] = _mm256_abs_epi8(weights[half]);
        }
        for (std::size_t m = 0; m < M; ++m) {
            const __m256i a = four_activations(x + m * kGroup + 4 * four);
            for (std::size_t half = 0; half < 2; ++half) {
                const __m256i pairs = _mm256_maddubs_epi16(magnitudes[half],
                                                           _mm256_sign_epi8(a, weights[half]));
                products[2 * m + half] =
                    _mm256_add_epi32(products[2 * m + half], _mm256_madd_epi16(pairs, ones));
                keep_order(products[2 * m + half]);
            }
        }
    }
}

// Adds group g of a tile to `results`, [2m + half]. Row m of x has it at `group` + m.
template <int bits, std::size_t M>
inline void add_group(const Stripe& w, std::size_t g, const QuantizedRows& x, std::size_t group,
                      __m256* results) {
    const std::uint8_t* tile = w.tiles + g * (kTileRows * kGroup * bits / 8);
    const std::int8_t* values = x.values + group * kGroup;
    __m256i products[2 * M];
    if constexpr (bits == 4)
        multiply_4bit<M>(tile, values, x.sums + group, products);
    else
        multiply_8bit<M>(tile, values, products);
    __m256 d[2];
    for (std::size_t half = 0; half < 2; ++half)
        d[half] = _mm256_cvtph_ps(_mm_loadu_si128(
            reinterpret_cast<const __m128i*>(w.scales + g * kTileRows + 8 * half)));
    for (std::size_t m = 0; m < M; ++m) {
        const __m256 scale = _mm256_set1_ps(x.scales[group + m]);
        for (std::size_t half = 0; half < 2; ++half)
            results[2 * m + half] = _mm256_fmadd_ps(
                _mm256_mul_ps(_mm256_cvtepi32_ps(products[2 * m + half]), scale), d[half],
                results[2 * m + half]);
    }
}

template <int bits, std::size_t M>
void compute(const Stripe& w, const QuantizedRows& x, std::size_t row, std::size_t n_rows,
             const Output& out, std::size_t out_stride) {
    constexpr std::size_t tile_bytes = kTileRows * kGroup * bits / 8;
    __m256 sums[2 * M];
    for (std::size_t i = 0; i < 2 * M; ++i) sums[i] = _mm256_setzero_ps();
    const std::size_t height = x.height(row);
    std::size_t group = x.first_group(row);
    for (std::size_t g = 0; g < w.n_groups; ++g, group += height) {
        fetch_ahead(w.tiles + g * tile_bytes, tile_bytes);
        add_group<bits, M>(w, g, x, group, sums);
    }
    for (std::size_t m = 0; m < M; ++m) {
        alignas(32) float row_of_tile[kTileRows];
        _mm256_store_ps(row_of_tile, sums[2 * m]);
        _mm256_store_ps(row_of_tile + 8, sums[2 * m + 1]);
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
    for (; row + 2 <= last; row += 2) compute<bits, 2>(w, x, row, n_rows, out, out_stride);
    if (row < last) compute<bits, 1>(w, x, row, n_rows, out, out_stride);
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
                      w.scales + stripe * w.n_groups() * kTileRows, w.n_groups()};
    const Output columns{out.values + stripe * kTileRows, out.adds};
    if (w.bits == 4)
        compute_all<4>(part, x, first, last, n_rows, columns, w.n_rows);
    else
        compute_all<8>(part, x, first, last, n_rows, columns, w.n_rows);
}

}  // namespace sirocco
