// Linear layers whose weights are 4 or 8 bits wide: out = x Wᵀ.
//
// A weight matrix [N, K] lies in tiles of 16 rows × 32 columns. The 32 columns of a row in a tile
// are a group: they share one 16-bit float, the group's scale d, and weight = d * (u - offset),
// with u an unsigned integer of 4 bits (offset 8) or 8 bits (offset 128). That is 4.5 or 8.5 bits
// a weight, as in GGUF's Q4_0 and Q8_0. Rows beyond N, up to the next multiple of 16, are zero.
//
// In a tile, 4 columns of all 16 rows lie together, so that 64 bytes hold what is multiplied with
// 4 activations (c = 0 … 7 counts fours of columns, r the rows, i = 0 … 3 the columns of a four):
//
//   8 bits: byte 64·c + 4·r + i is u of row r, column 4·c + i;              512 bytes a tile
//   4 bits: byte 64·(c/2) + 4·r + i holds it in its low half for even c,
//           in its high half for odd c;                                     256 bytes a tile
//
// The tiles of 16 rows, all K/32 of them, follow each other; scales lie apart, as [N/16][K/32][16].
//
// Activations are rounded to 8 bits, row by row in groups of 32 with a float scale. A result is
//
//   Σ over groups g, in order: fma(float(Σ of 32 integer products) * scale_x[g], d[g], sum so far)
//
// in every kernel and for any number of rows: the bits of a row of `out` depend on its row of `x`
// alone, not on the other rows, the instruction set or the threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sirocco {

constexpr std::size_t kGroup = 32;     // columns that share a scale
constexpr std::size_t kTileRows = 16;  // rows of a tile

struct QuantizedMatrix {
    int bits;  // 4 or 8
    std::size_t n_rows, n_columns;
    const std::uint8_t* tiles;
    const std::uint16_t* scales;

    std::size_t n_groups() const { return n_columns / kGroup; }
    std::size_t n_stripes() const { return (n_rows + kTileRows - 1) / kTileRows; }
    std::size_t tile_bytes() const { return kTileRows * kGroup * std::size_t(bits) / 8; }
    int offset() const { return bits == 4 ? 8 : 128; }
};

// Rows of activations, rounded. NaN or infinity in a group makes its scale NaN.
//
// Rows lie in blocks of 16, the last one as high as what is left. In a block come the first groups
// of all its rows, one after the other, then the second groups: what is multiplied with one tile of
// weights lies together, and a single row lies end to end.
struct QuantizedRows {
    std::size_t n_rows, n_columns;
    std::int8_t* values;  // of each group 32, -127 … 127
    float* scales;        // of each group
    std::int32_t* sums;   // of each group, of its 32 values

    // Rows of the block that holds this row: so many groups lie between a row's group and its next.
    std::size_t height(std::size_t row) const {
        const std::size_t left = n_rows - (row - row % kTileRows);
        return left < kTileRows ? left : kTileRows;
    }

    // Where a row's first group lies, counted in groups; that of the next row of its block follows.
    std::size_t first_group(std::size_t row) const {
        return (row - row % kTileRows) * (n_columns / kGroup) + row % kTileRows;
    }
};

// Kernels may read, but not use, so many scales beyond the last.
constexpr std::size_t kScalesBeyond = 3;

// Round row `row` of x [n_rows, n_columns].
using QuantizeRow = void (*)(const float* x, const QuantizedRows& rows, std::size_t row);

// Where results go: [n_rows of x, n_rows of w]; added to what is there, or in its place.
struct Output {
    float* values;
    bool adds;
};

// Ask for the bytes of a tile 4 KiB further on. The processor guesses what will be read next, but not
// far enough ahead. With AVX-512, one row on one thread: 22 GB/s if it is left to that, 25 with every
// line asked for 2 KiB ahead, 27 with 4 KiB, as much as a loop that only loads; eight rows: 229 and,
// 4 KiB ahead, 310 billion operations a second. With AVX2, four rows: 145 and 192. Static: each file
// that includes this gets its own, compiled with its own flags.
static inline void fetch_ahead(const std::uint8_t* tile, std::size_t n_bytes) {
    for (std::size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(tile + 4096 + i, 0, 3);
}

// Columns 16·stripe … 16·stripe + 15 of the results, for the rows first … last-1 of x; `first` is a
// multiple of 16.
using LinearStripe = void (*)(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                              std::size_t first, std::size_t last, const Output& out);

void quantize_row_scalar(const float* x, const QuantizedRows& rows, std::size_t row);
void linear_stripe_scalar(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                          std::size_t first, std::size_t last, const Output& out);

// Need avx2, fma and f16c.
void quantize_row_avx2(const float* x, const QuantizedRows& rows, std::size_t row);
void linear_stripe_avx2(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                        std::size_t first, std::size_t last, const Output& out);

// Needs avx512 and avx512_vnni.
void linear_stripe_avx512_vnni(const QuantizedMatrix& w, std::size_t stripe,
                               const QuantizedRows& x, std::size_t first, std::size_t last,
                               const Output& out);

// Needs amx_int8 and avx512_vnni.
void linear_stripe_amx(const QuantizedMatrix& w, std::size_t stripe, const QuantizedRows& x,
                       std::size_t first, std::size_t last, const Output& out);

}  // namespace sirocco
