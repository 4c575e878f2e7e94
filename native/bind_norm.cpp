#include <stdexcept>
#include <string>

#include "bind.h"
#include "isa.h"

namespace sirocco {
namespace {

void rms_norm(Array<const float, 2> x, Array<const float, 1> weight, float eps,
              Array<float, 2> out, const std::string& isa) {
    if (x.shape(1) == 0 || weight.shape(0) != x.shape(1) || out.shape(0) != x.shape(0) ||
        out.shape(1) != x.shape(1))
        throw std::invalid_argument("rms_norm wants x and out [T, dim], weight [dim], dim > 0");
    const RmsNorm kernel = isa_named(isa).rms_norm;
    nb::gil_scoped_release without_gil;
    kernel(x.data(), weight.data(), eps, out.data(), x.shape(0), x.shape(1));
}

}  // namespace

void bind_norm(nb::module_& m) {
    // noconvert: a silent copy would leave the caller's `out` untouched.
    m.def("rms_norm", &rms_norm, nb::arg("x").noconvert(), nb::arg("weight").noconvert(),
          nb::arg("eps"), nb::arg("out").noconvert(), nb::arg("isa"));
}

}  // namespace sirocco
