#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "handles.h"
#include "isa.h"
#include "memory.h"
#include "quantize.h"
#include "step.h"
#include "thread_pool.h"

namespace sirocco {
namespace {

Matrix matrix_of(const Tiles& tiles, const Scales& scales, std::size_t n_rows) {
    const int bits = tiles.shape(2) == 512 ? 8 : 4;
    const QuantizedMatrix w{bits, n_rows, tiles.shape(1) * kGroup, tiles.data(),
                            reinterpret_cast<const std::uint16_t*>(scales.data())};
    if (tiles.shape(2) != w.tile_bytes() || tiles.shape(0) != w.n_stripes() || n_rows == 0 ||
        tiles.shape(1) == 0 || scales.shape(0) != tiles.shape(0) ||
        scales.shape(1) != tiles.shape(1) || scales.shape(2) != kTileRows)
        throw std::invalid_argument("tiles or scales do not have the shape of a quantised matrix");
    return {nb::make_tuple(tiles, scales), w, std::nullopt};
}

Matrix float_matrix_of(const Panels& panels, std::size_t n_rows) {
    const FloatMatrix w{n_rows, panels.shape(1), panels.data()};
    if (panels.shape(0) != w.n_panels() || panels.shape(2) != kPanelRows || n_rows == 0 ||
        panels.shape(1) == 0)
        throw std::invalid_argument("panels do not have the shape of a matrix of floats");
    return {nb::cast(panels), std::nullopt, w};
}

void pack(Array<const float, 2> weights, Array<float, 3> panels) {
    const std::size_t n_rows = weights.shape(0), n_columns = weights.shape(1);
    const FloatMatrix w{n_rows, n_columns, panels.data()};
    if (panels.size() != w.n_panels() * w.panel_numbers())
        throw std::invalid_argument("pack wants room for all panels");
    nb::gil_scoped_release without_gil;
    prefer_huge_pages(panels.data(), panels.size() * sizeof(float));
    parallel_for(w.n_panels(), [&](std::size_t panel) {
        pack_panel(weights.data(), n_rows, n_columns, panel, panels.data());
    });
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
    prefer_huge_pages(tiles.data(), tiles.size());
    parallel_for(w.n_stripes(), [&](std::size_t stripe) {
        quantize_stripe(weights.data(), n_rows, n_columns, bits, stripe, tiles.data(), scale_bits);
    });
}

// Copy bytes of a mapped file into large pages, and let go of the file's.
void settle(Array<const std::uint8_t, 1> mapped, Array<std::uint8_t, 1> out) {
    constexpr std::size_t kPiece = std::size_t(1) << 22;
    const std::size_t n_bytes = mapped.shape(0);
    if (out.shape(0) != n_bytes) throw std::invalid_argument("settle wants room for all bytes");
    nb::gil_scoped_release without_gil;
    prefer_huge_pages(out.data(), n_bytes);
    parallel_for((n_bytes + kPiece - 1) / kPiece, [&](std::size_t piece) {
        const std::size_t first = piece * kPiece, n = std::min(kPiece, n_bytes - first);
        std::memcpy(out.data() + first, mapped.data() + first, n);
    });
    forget_mapped_pages(mapped.data(), n_bytes);
}

void float_rows(const Matrix& matrix, Array<const std::int64_t, 1> rows, Array<float, 2> out) {
    const AnyMatrix w = matrix.any();
    const std::size_t n_columns = w.n_columns();
    if (out.shape(0) != rows.shape(0) || out.shape(1) != n_columns)
        throw std::invalid_argument("float_rows wants out [R, K]");
    for (std::size_t i = 0; i < rows.shape(0); ++i)
        if (rows.data()[i] < 0 || std::size_t(rows.data()[i]) >= w.n_rows())
            throw std::invalid_argument("a row is not in the matrix");
    nb::gil_scoped_release without_gil;
    parallel_for(rows.shape(0), [&](std::size_t i) {
        float* row = out.data() + i * n_columns;
        if (w.rounded)
            dequantize_row(*w.rounded, std::size_t(rows.data()[i]), row);
        else
            unpack_row(*w.floats, std::size_t(rows.data()[i]), row);
    });
}

// x: [n_rows, n_columns]; outs: for each matrix [n_rows, its rows].
void linear(Address x, std::size_t n_rows, std::size_t n_columns,
            const std::vector<const Matrix*>& matrices, const std::vector<Address>& outs,
            bool adds, const std::string& isa_name) {
    if (matrices.size() != outs.size())
        throw std::invalid_argument("linear wants room for each matrix");
    for (const Matrix* matrix : matrices)
        if (matrix->any().n_columns() != n_columns)
            throw std::invalid_argument("linear wants x [T, K] for a matrix [N, K]");
    const Isa& isa = isa_named(isa_name);
    std::vector<AnyMatrix> weights;
    std::vector<float*> results;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
        weights.push_back(matrices[i]->any());
        results.push_back(at<float>(outs[i]));
    }
    nb::gil_scoped_release without_gil;
    linear_all(at<const float>(x), n_rows, n_columns, weights, results, adds, isa);
}

}  // namespace

void bind_linear(nb::module_& m) {
    m.def("quantize", &quantize, nb::arg("weights").noconvert(), nb::arg("bits"),
          nb::arg("tiles").noconvert(), nb::arg("scales").noconvert());
    m.def("settle", &settle, nb::arg("mapped").noconvert(), nb::arg("out").noconvert());
    nb::class_<Matrix>(m, "Matrix")
        .def_prop_ro("n_rows", [](const Matrix& matrix) { return matrix.any().n_rows(); })
        .def_prop_ro("n_columns", [](const Matrix& matrix) { return matrix.any().n_columns(); });
    m.def("matrix", &matrix_of, nb::arg("tiles").noconvert(), nb::arg("scales").noconvert(),
          nb::arg("n_rows"));
    m.def("pack", &pack, nb::arg("weights").noconvert(), nb::arg("panels").noconvert());
    m.def("float_matrix", &float_matrix_of, nb::arg("panels").noconvert(), nb::arg("n_rows"));
    m.def("float_rows", &float_rows, nb::arg("matrix"), nb::arg("rows").noconvert(),
          nb::arg("out").noconvert());
    m.def("linear", &linear, nb::arg("x"), nb::arg("n_rows"), nb::arg("n_columns"),
          nb::arg("matrices"), nb::arg("outs"), nb::arg("adds"), nb::arg("isa"));
}

}  // namespace sirocco
