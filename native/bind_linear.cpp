#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind.h"
#include "isa.h"
#include "linear.h"
#include "quantize.h"
#include "thread_pool.h"

namespace sirocco {
namespace {

// Rows of x that pass through a stripe's weights before the next stripe: they stay in a cache.
constexpr std::size_t kRowsAtATime = 64;
// Stripes that one piece of work holds at most, and pieces that each thread gets at least.
constexpr std::size_t kStripesAPiece = 8, kPiecesAThread = 6;

// Tiles [n_stripes, n_groups, bytes] and scales [n_stripes, n_groups, 16] (the bits of float16).
using Tiles = Array<const std::uint8_t, 3>;
using Scales = Array<const std::int16_t, 3>;

// A checked matrix, which keeps its arrays alive.
struct Matrix {
    Tiles tiles;
    Scales scales;
    QuantizedMatrix w;
};

Matrix matrix_of(const Tiles& tiles, const Scales& scales, std::size_t n_rows) {
    const int bits = tiles.shape(2) == 512 ? 8 : 4;
    const QuantizedMatrix w{bits, n_rows, tiles.shape(1) * kGroup, tiles.data(),
                            reinterpret_cast<const std::uint16_t*>(scales.data())};
    if (tiles.shape(2) != w.tile_bytes() || tiles.shape(0) != w.n_stripes() || n_rows == 0 ||
        tiles.shape(1) == 0 || scales.shape(0) != tiles.shape(0) ||
        scales.shape(1) != tiles.shape(1) || scales.shape(2) != kTileRows)
        throw std::invalid_argument("tiles or scales do not have the shape of a quantised matrix");
    return {tiles, scales, w};
}

void quantize(Array<const float, 2> weights, int bits, Array<std::uint8_t, 3> tiles,
              Array<std::int16_t, 3> scales) {
    const std::size_t n_rows = weights.shape(0), n_columns = weights.shape(1);
    auto* scale_bits = reinterpret_cast<std::uint16_t*>(scales.data());
    const QuantizedMatrix w{bits, n_rows, n_columns, tiles.data(), scale_bits};
    if ((bits != 4 && bits != 8) || n_columns % kGroup || tiles.size() != w.n_stripes() * w.n_groups() * w.tile_bytes() ||
        scales.size() != w.n_stripes() * w.n_groups() * kTileRows)
        throw std::invalid_argument("quantize wants bits 4 or 8, K a multiple of 32, room to write");
    nb::gil_scoped_release without_gil;
    parallel_for(w.n_stripes(), [&](std::size_t stripe) {
        quantize_stripe(weights.data(), n_rows, n_columns, bits, stripe, tiles.data(), scale_bits);
    });
}

void dequantize_rows(const Matrix& matrix, Array<const std::int64_t, 1> rows,
                     Array<float, 2> out) {
    const QuantizedMatrix& w = matrix.w;
    if (out.shape(0) != rows.shape(0) || out.shape(1) != w.n_columns)
        throw std::invalid_argument("dequantize_rows wants out [R, K]");
    for (std::size_t i = 0; i < rows.shape(0); ++i)
        if (rows.data()[i] < 0 || std::size_t(rows.data()[i]) >= w.n_rows)
            throw std::invalid_argument("a row is not in the matrix");
    nb::gil_scoped_release without_gil;
    for (std::size_t i = 0; i < rows.shape(0); ++i)
        dequantize_row(w, std::size_t(rows.data()[i]), out.data() + i * w.n_columns);
}

// Room for rounded activations.
class RowBuffer {
  public:
    RowBuffer(std::size_t n_rows, std::size_t n_columns)
        : values_(new std::int8_t[n_rows * n_columns]),
          scales_(new float[n_rows * n_columns / kGroup]),
          sums_(new std::int32_t[n_rows * n_columns / kGroup]),
          rows{n_rows, n_columns, values_.get(), scales_.get(), sums_.get()} {}

  private:
    std::unique_ptr<std::int8_t[]> values_;
    std::unique_ptr<float[]> scales_;
    std::unique_ptr<std::int32_t[]> sums_;

  public:
    const QuantizedRows rows;
};

// A run of stripes of one of the matrices.
struct Piece {
    std::size_t matrix, first, last;
};

std::vector<Piece> pieces_of(const std::vector<const Matrix*>& matrices) {
    std::size_t n_stripes = 0;
    for (const Matrix* matrix : matrices) n_stripes += matrix->w.n_stripes();
    const std::size_t fair = n_stripes / (kPiecesAThread * n_threads());
    const std::size_t size = std::min(kStripesAPiece, std::max<std::size_t>(1, fair));
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
        const std::size_t n = matrices[i]->w.n_stripes();
        for (std::size_t first = 0; first < n; first += size)
            pieces.push_back({i, first, std::min(first + size, n)});
    }
    return pieces;
}

void round_rows(const float* x, QuantizeRow kernel, const QuantizedRows& rows) {
    const std::size_t n_pieces = (rows.n_rows + kRowsAtATime - 1) / kRowsAtATime;
    parallel_for(n_pieces, [&](std::size_t piece) {
        const std::size_t last = std::min(rows.n_rows, (piece + 1) * kRowsAtATime);
        for (std::size_t row = piece * kRowsAtATime; row < last; ++row) kernel(x, rows, row);
    });
}

// x: [n_rows, n_columns]; outs: for each matrix [n_rows, its rows].
void linear(Address x, std::size_t n_rows, std::size_t n_columns,
            const std::vector<const Matrix*>& matrices, const std::vector<Address>& outs,
            bool adds, const std::string& isa_name) {
    if (matrices.size() != outs.size())
        throw std::invalid_argument("linear wants room for each matrix");
    for (const Matrix* matrix : matrices)
        if (matrix->w.n_columns != n_columns)
            throw std::invalid_argument("linear wants x [T, K] for a matrix [N, K]");
    const Isa& isa = isa_named(isa_name);
    nb::gil_scoped_release without_gil;
    const RowBuffer buffer(n_rows, n_columns);
    round_rows(at<const float>(x), isa.quantize_row, buffer.rows);
    const std::vector<Piece> pieces = pieces_of(matrices);
    parallel_for(pieces.size(), [&](std::size_t index) {
        const Piece& piece = pieces[index];
        const Output out{at<float>(outs[piece.matrix]), adds};
        for (std::size_t row = 0; row < n_rows; row += kRowsAtATime) {
            const std::size_t last = std::min(n_rows, row + kRowsAtATime);
            for (std::size_t stripe = piece.first; stripe < piece.last; ++stripe)
                isa.linear_stripe(matrices[piece.matrix]->w, stripe, buffer.rows, row, last, out);
        }
    });
}

}  // namespace

void bind_linear(nb::module_& m) {
    m.def("quantize", &quantize, nb::arg("weights").noconvert(), nb::arg("bits"),
          nb::arg("tiles").noconvert(), nb::arg("scales").noconvert());
    nb::class_<Matrix>(m, "Matrix")
        .def_prop_ro("n_rows", [](const Matrix& matrix) { return matrix.w.n_rows; })
        .def_prop_ro("n_columns", [](const Matrix& matrix) { return matrix.w.n_columns; });
    m.def("matrix", &matrix_of, nb::arg("tiles").noconvert(), nb::arg("scales").noconvert(),
          nb::arg("n_rows"));
    m.def("dequantize_rows", &dequantize_rows, nb::arg("matrix"), nb::arg("rows").noconvert(),
          nb::arg("out").noconvert());
    m.def("linear", &linear, nb::arg("x"), nb::arg("n_rows"), nb::arg("n_columns"),
          nb::arg("matrices"), nb::arg("outs"), nb::arg("adds"), nb::arg("isa"));
}

}  // namespace sirocco
