// What the files with bindings share. They check shapes, choose a kernel and let go of the GIL.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdint>

namespace sirocco {

namespace nb = nanobind;

// Contiguous arrays on the CPU; T is const where a kernel only reads.
template <typename T, int n_dims>
using Array = nb::ndarray<T, nb::ndim<n_dims>, nb::c_contig, nb::device::cpu>;

// Activations go in and out as addresses: converting a tensor to an array takes microseconds, which
// is more than some kernels do. The Python face has checked dtype, device and contiguity.
using Address = std::uintptr_t;

template <typename T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

void bind_elementwise(nb::module_& m);
void bind_layer(nb::module_& m);
void bind_linear(nb::module_& m);
void bind_attention(nb::module_& m);

}  // namespace sirocco
