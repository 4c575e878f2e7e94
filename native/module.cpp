// sirocco.native._kernels: the bindings. They check shapes, choose a kernel and let go of the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "cpu.h"
#include "rms_norm.h"

namespace nb = nanobind;

namespace sirocco {
namespace {

using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

struct Isa {
    std::string name;
    RmsNorm rms_norm;
};

// The instruction sets that this build holds and this processor runs, the fastest first.
const std::vector<Isa>& isas() {
    static const std::vector<Isa> usable = [] {
        std::vector<Isa> found;
#if defined(SIROCCO_HAS_AVX2)
        if (cpu_features().avx2 && cpu_features().fma) found.push_back({"avx2", rms_norm_avx2});
#endif
        found.push_back({"scalar", rms_norm_scalar});
        return found;
    }();
    return usable;
}

const Isa& isa_named(const std::string& name) {
    for (const Isa& isa : isas())
        if (isa.name == name) return isa;
    throw std::invalid_argument("isa " + name + " is not usable here");
}

std::vector<std::string> isa_names() {
    std::vector<std::string> names;
    for (const Isa& isa : isas()) names.push_back(isa.name);
    return names;
}

std::vector<std::string> feature_names() {
    std::vector<std::string> names;
    if (cpu_features().avx2) names.push_back("avx2");
    if (cpu_features().fma) names.push_back("fma");
    return names;
}

void rms_norm(Matrix x, Vector weight, float eps, OutMatrix out, const std::string& isa) {
    if (x.shape(1) == 0 || weight.shape(0) != x.shape(1) || out.shape(0) != x.shape(0) ||
        out.shape(1) != x.shape(1))
        throw std::invalid_argument("rms_norm wants x and out [T, dim], weight [dim], dim > 0");
    const RmsNorm kernel = isa_named(isa).rms_norm;
    nb::gil_scoped_release without_gil;
    kernel(x.data(), weight.data(), eps, out.data(), x.shape(0), x.shape(1));
}

}  // namespace
}  // namespace sirocco

NB_MODULE(_kernels, m) {
    m.def("cpu_features", &sirocco::feature_names);
    m.def("isas", &sirocco::isa_names);
    // noconvert: a silent copy would leave the caller's `out` untouched.
    m.def("rms_norm", &sirocco::rms_norm, nb::arg("x").noconvert(), nb::arg("weight").noconvert(),
          nb::arg("eps"), nb::arg("out").noconvert(), nb::arg("isa"));
}
