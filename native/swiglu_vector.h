// SwiGLU with vectors of any width: included, alone, by a file that has defined
//   Vec, kLanes, all, load, store, add, sub, mul, div, fma, smaller, larger, power_of_two
// in namespace sirocco's unnamed namespace. See attention_vector.h for why all of this is unnamed.
//
// The plain loop of elementwise_kernels.h has the same formula, but gcc makes branches of its
// limits and then finds no vectors in it.
#include <cstddef>

namespace sirocco {
namespace {

// gate / (1 + e^-gate) * value. The exponential is 2^n times a polynomial on ±ln(2)/2, of arguments
// cut to what float32 can hold; a NaN stays one. Source: Cody & Waite 1980, §6.
Vec swiglu(Vec gate, Vec value) {
    const Vec x = larger(all(-87.0f), smaller(all(88.0f), sub(all(0.0f), gate)));
    const Vec magic = all(12582912.0f);  // 1.5 · 2^23: rounds to an integer
    const Vec shifted = fma(x, all(1.44269504f), magic);
    const Vec n = sub(shifted, magic);
    const Vec r = fma(n, all(2.12194440e-4f), fma(n, all(-0.693359375f), x));
    Vec p = all(1.9875691500e-4f);
    p = fma(p, r, all(1.3981999507e-3f));
    p = fma(p, r, all(8.3334519073e-3f));
    p = fma(p, r, all(4.1665795894e-2f));
    p = fma(p, r, all(1.6666665459e-1f));
    p = fma(p, r, all(5.0000001201e-1f));
    p = add(fma(mul(p, r), r, r), all(1.0f));
    return mul(div(gate, fma(p, power_of_two(shifted), all(1.0f))), value);
}

void swiglu_row(const float* gate, const float* value, float* out, std::size_t n) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(out + i, swiglu(load(gate + i), load(value + i)));
    if (i == n) return;
    float last_gate[kLanes] = {}, last_value[kLanes] = {}, last_out[kLanes];
    for (std::size_t j = i; j < n; ++j) {
        last_gate[j - i] = gate[j];
        last_value[j - i] = value[j];
    }
    store(last_out, swiglu(load(last_gate), load(last_value)));
    for (std::size_t j = i; j < n; ++j) out[j] = last_out[j - i];
}

}  // namespace
}  // namespace sirocco
