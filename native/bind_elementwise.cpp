#include <string>

#include "bind.h"
#include "isa.h"
#include "step.h"

namespace sirocco {
namespace {

void rms_norm(Address x, Address weight, float eps, Address out, std::size_t n_rows,
              std::size_t dim, const std::string& isa) {
    nb::gil_scoped_release without_gil;
    norm_all(at<const float>(x), at<const float>(weight), eps, at<float>(out), n_rows, dim,
             isa_named(isa));
}

void swiglu(Address gate, Address value, Address out, std::size_t n_rows, std::size_t dim,
            const std::string& isa) {
    nb::gil_scoped_release without_gil;
    swiglu_all(at<const float>(gate), at<const float>(value), at<float>(out), n_rows, dim,
               isa_named(isa));
}

void rotate(Address x, Address cosine, Address sine, std::size_t n_rows, std::size_t n_heads,
            std::size_t d, const std::string& isa) {
    nb::gil_scoped_release without_gil;
    rotate_all(at<float>(x), at<const float>(cosine), at<const float>(sine), n_rows, n_heads, d,
               isa_named(isa));
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
