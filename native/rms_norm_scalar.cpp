// The definition, in plain C++: any processor, and the judge of the others.
#include "rms_norm.h"

#include <cmath>

namespace sirocco {

void rms_norm_scalar(const float* x, const float* weight, float eps, float* out,
                     std::size_t n_rows, std::size_t dim) {
    for (std::size_t row = 0; row < n_rows; ++row, x += dim, out += dim) {
        double sum = 0.0;  // double: the judge should not add errors of its own
        for (std::size_t i = 0; i < dim; ++i) sum += double(x[i]) * double(x[i]);
        const float scale = float(1.0 / std::sqrt(sum / double(dim) + double(eps)));
        for (std::size_t i = 0; i < dim; ++i) out[i] = weight[i] * (x[i] * scale);
    }
}

}  // namespace sirocco
