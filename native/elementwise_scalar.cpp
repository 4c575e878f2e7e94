#include "elementwise.h"
#include "elementwise_kernels.h"

namespace sirocco {

void swiglu_scalar(const float* gate, const float* value, float* out, std::size_t n) {
    swiglu_plain(gate, value, out, n);
}

void rotate_scalar(float* x, const float* cosine, const float* sine, std::size_t n_heads,
                 std::size_t d) {
    rotate_heads(x, cosine, sine, n_heads, d);
}

}  // namespace sirocco
