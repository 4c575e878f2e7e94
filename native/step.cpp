#include "step.h"

#include "linear_all.h"
#include "thread_pool.h"

namespace sirocco {

void linear_all(const float* x, std::size_t n_rows, std::size_t n_columns,
                const std::vector<AnyMatrix>& matrices, const std::vector<float*>& outs, bool adds,
                const Isa& isa) {
    std::vector<Product<QuantizedMatrix>> rounded;
    std::vector<Product<FloatMatrix>> floats;
    for (std::size_t i = 0; i < matrices.size(); ++i)
        if (matrices[i].rounded)
            rounded.push_back({matrices[i].rounded, outs[i]});
        else
            floats.push_back({matrices[i].floats, outs[i]});
    if (!rounded.empty()) multiply_rounded(x, n_rows, n_columns, rounded, adds, isa);
    if (!floats.empty()) multiply_floats(x, n_rows, floats, adds, isa);
}

void norm_all(const float* x, const float* weight, float eps, float* out, std::size_t n_rows,
              std::size_t dim, const Isa& isa) {
    for_rows(n_rows, dim, [&](std::size_t first, std::size_t last) {
        isa.rms_norm(x + first * dim, weight, eps, out + first * dim, last - first, dim);
    });
}

void swiglu_all(const float* gate, const float* value, float* out, std::size_t n_rows,
                std::size_t dim, const Isa& isa) {
    for_rows(n_rows, dim, [&](std::size_t first, std::size_t last) {
        isa.swiglu(gate + first * dim, value + first * dim, out + first * dim,
                   (last - first) * dim);
    });
}

void rotate_all(float* x, const float* cosine, const float* sine, std::size_t n_rows,
                std::size_t n_heads, std::size_t d, const Isa& isa) {
    for_rows(n_rows, n_heads * d, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row)
            isa.rotate(x + row * n_heads * d, cosine + row * d / 2, sine + row * d / 2, n_heads, d);
    });
}

}  // namespace sirocco
