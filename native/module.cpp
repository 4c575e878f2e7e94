// sirocco.native._kernels: one file of bindings for each family of kernels.
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu.h"
#include "isa.h"
#include "thread_pool.h"

namespace sirocco {
namespace {

std::vector<std::string> isa_names() {
    std::vector<std::string> names;
    for (const Isa& isa : isas()) names.push_back(isa.name);
    return names;
}

void set_threads(std::size_t n) {
    if (n == 0) throw std::invalid_argument("at least 1 thread is needed");
    nb::gil_scoped_release without_gil;
    set_n_threads(n);
}

}  // namespace
}  // namespace sirocco

NB_MODULE(_kernels, m) {
    m.def("cpu_features", &sirocco::cpu_feature_names);
    m.def("isas", &sirocco::isa_names);
    m.def("n_threads", &sirocco::n_threads);
    m.def("set_n_threads", &sirocco::set_threads, nanobind::arg("n"));
    sirocco::bind_elementwise(m);
    sirocco::bind_linear(m);
    sirocco::bind_attention(m);
    sirocco::bind_layer(m);
}
