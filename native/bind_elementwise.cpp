#include <algorithm>
#include <stdexcept>
#include <string>

#include "bind.h"
#include "isa.h"
#include "thread_pool.h"

namespace sirocco {
namespace {

// Numbers that a piece of work holds at least: below that a thread costs more than it brings.
constexpr std::size_t kPieceNumbers = 16384;

// Call work(first, last) for runs of rows, on all threads if there is enough to do.
template <typename Work>
void for_rows(std::size_t n_rows, std::size_t row_numbers, const Work& work) {
    const std::size_t rows = std::max<std::size_t>(1, kPieceNumbers / row_numbers);
    parallel_for((n_rows + rows - 1) / rows, [&](std::size_t piece) {
        work(piece * rows, std::min(n_rows, (piece + 1) * rows));
    });
}

void rms_norm(Array<const float, 2> x, Array<const float, 1> weight, float eps,
              Array<float, 2> out, const std::string& isa) {
    const std::size_t dim = x.shape(1);
    if (dim == 0 || weight.shape(0) != dim || out.shape(0) != x.shape(0) || out.shape(1) != dim)
        throw std::invalid_argument("rms_norm wants x and out [T, dim], weight [dim], dim > 0");
    const RmsNorm kernel = isa_named(isa).rms_norm;
    nb::gil_scoped_release without_gil;
    for_rows(x.shape(0), dim, [&](std::size_t first, std::size_t last) {
        kernel(x.data() + first * dim, weight.data(), eps, out.data() + first * dim, last - first,
               dim);
    });
}

void swiglu(Array<const float, 2> gate, Array<const float, 2> value, Array<float, 2> out,
            const std::string& isa) {
    const std::size_t dim = gate.shape(1);
    if (dim == 0 || value.shape(0) != gate.shape(0) || value.shape(1) != dim ||
        out.shape(0) != gate.shape(0) || out.shape(1) != dim)
        throw std::invalid_argument("swiglu wants gate, value and out of one shape");
    const SwiGlu kernel = isa_named(isa).swiglu;
    nb::gil_scoped_release without_gil;
    for_rows(gate.shape(0), dim, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row)
            kernel(gate.data() + row * dim, value.data() + row * dim, out.data() + row * dim, dim);
    });
}

void rotate(Array<float, 3> x, Array<const float, 2> cosine, Array<const float, 2> sine,
            const std::string& isa) {
    const std::size_t n_heads = x.shape(1), d = x.shape(2), half = d / 2;
    if (d == 0 || d % 2 || cosine.shape(0) != x.shape(0) || cosine.shape(1) != half ||
        sine.shape(0) != x.shape(0) || sine.shape(1) != half)
        throw std::invalid_argument("rotate wants x [T, H, D], cosine and sine [T, D/2], D even");
    const Rotate kernel = isa_named(isa).rotate;
    nb::gil_scoped_release without_gil;
    for_rows(x.shape(0), n_heads * d, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row)
            kernel(x.data() + row * n_heads * d, cosine.data() + row * half,
                   sine.data() + row * half, n_heads, d);
    });
}

}  // namespace

void bind_elementwise(nb::module_& m) {
    // noconvert: a silent copy would leave the caller's array untouched.
    m.def("rms_norm", &rms_norm, nb::arg("x").noconvert(), nb::arg("weight").noconvert(),
          nb::arg("eps"), nb::arg("out").noconvert(), nb::arg("isa"));
    m.def("swiglu", &swiglu, nb::arg("gate").noconvert(), nb::arg("value").noconvert(),
          nb::arg("out").noconvert(), nb::arg("isa"));
    m.def("rotate", &rotate, nb::arg("x").noconvert(), nb::arg("cosine").noconvert(),
          nb::arg("sine").noconvert(), nb::arg("isa"));
}

}  // namespace sirocco
