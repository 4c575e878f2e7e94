#include <algorithm>
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

// x, out: [n_rows, dim]; weight: [dim].
void rms_norm(Address x, Address weight, float eps, Address out, std::size_t n_rows,
              std::size_t dim, const std::string& isa) {
    const RmsNorm kernel = isa_named(isa).rms_norm;
    nb::gil_scoped_release without_gil;
    for_rows(n_rows, dim, [&](std::size_t first, std::size_t last) {
        kernel(at<const float>(x) + first * dim, at<const float>(weight), eps,
               at<float>(out) + first * dim, last - first, dim);
    });
}

// gate, value, out: [n_rows, dim].
void swiglu(Address gate, Address value, Address out, std::size_t n_rows, std::size_t dim,
            const std::string& isa) {
    const SwiGlu kernel = isa_named(isa).swiglu;
    nb::gil_scoped_release without_gil;
    for_rows(n_rows, dim, [&](std::size_t first, std::size_t last) {
        kernel(at<const float>(gate) + first * dim, at<const float>(value) + first * dim,
               at<float>(out) + first * dim, (last - first) * dim);
    });
}

// x: [n_rows, n_heads, d]; cosine, sine: [n_rows, d / 2].
void rotate(Address x, Address cosine, Address sine, std::size_t n_rows, std::size_t n_heads,
            std::size_t d, const std::string& isa) {
    const Rotate kernel = isa_named(isa).rotate;
    nb::gil_scoped_release without_gil;
    for_rows(n_rows, n_heads * d, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row)
            kernel(at<float>(x) + row * n_heads * d, at<const float>(cosine) + row * d / 2,
                   at<const float>(sine) + row * d / 2, n_heads, d);
    });
}

}  // namespace

void bind_elementwise(nb::module_& m) {
    m.def("rms_norm", &rms_norm, nb::arg("x"), nb::arg("weight"), nb::arg("eps"), nb::arg("out"),
          nb::arg("n_rows"), nb::arg("dim"), nb::arg("isa"));
    m.def("swiglu", &swiglu, nb::arg("gate"), nb::arg("value"), nb::arg("out"), nb::arg("n_rows"),
          nb::arg("dim"), nb::arg("isa"));
    m.def("rotate", &rotate, nb::arg("x"), nb::arg("cosine"), nb::arg("sine"), nb::arg("n_rows"),
          nb::arg("n_heads"), nb::arg("d"), nb::arg("isa"));
}

}  // namespace sirocco
