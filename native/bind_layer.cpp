#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "handles.h"
#include "isa.h"
#include "layer.h"

namespace sirocco {
namespace {

// The weights of a layer; Python keeps the matrices and norms alive.
struct BoundWeights {
    LayerWeights w;
    nb::object owned;  // matrices and norm weights

    BoundWeights(Array<const float, 1> attention_norm, Array<const float, 1> feed_forward_norm,
                 float eps, std::size_t n_heads, const Matrix& wq, const Matrix& wk,
                 const Matrix& wv, const Matrix& wo, const Matrix& w1, const Matrix& w2,
                 const Matrix& w3, nb::object owned)
        : w{attention_norm.data(), feed_forward_norm.data(), eps, n_heads, wq.any(), wk.any(),
            wv.any(), wo.any(), w1.any(), w2.any(), w3.any()},
          owned(owned) {
        const std::size_t dim = w.wq.n_columns();
        const bool fits = attention_norm.shape(0) == dim && feed_forward_norm.shape(0) == dim &&
                          w.wk.n_columns() == dim && w.wv.n_columns() == dim &&
                          w.wv.n_rows() == w.wk.n_rows() && w.wo.n_rows() == dim &&
                          w.wo.n_columns() == w.wq.n_rows() && w.w1.n_columns() == dim &&
                          w.w3.n_columns() == dim && w.w1.n_rows() == w.w3.n_rows() &&
                          w.w2.n_rows() == dim && w.w2.n_columns() == w.w1.n_rows() &&
                          n_heads > 0 && w.wq.n_rows() % n_heads == 0;
        if (!fits) throw std::invalid_argument("these matrices are not those of one layer");
    }
};

void check_fit(const LayerWeights& w, const KvLayer& kv, const BoundPlan& plan, std::size_t n_rows) {
    const std::size_t d = kv.head_dim;
    if (plan.n_blocks != kv.n_blocks || plan.block_size != kv.block_size)
        throw std::invalid_argument("the plan is for a cache of another shape");
    if (plan.plan.slots.size() != n_rows || w.wq.n_rows() != w.n_heads * d ||
        w.wk.n_rows() != kv.n_kv_heads * d || d % 2 || w.n_heads % kv.n_kv_heads)
        throw std::invalid_argument("run_layers wants a plan and a cache of the layers' shape");
}

void run(const std::vector<const BoundWeights*>& layers, Address x, std::size_t n_rows,
         Address cosine, Address sine, const std::vector<const BoundLayer*>& kv,
         const BoundPlan& plan, const std::string& isa_name) {
    if (layers.empty() || layers.size() != kv.size())
        throw std::invalid_argument("run_layers wants a cache for each of its layers");
    for (std::size_t i = 0; i < layers.size(); ++i)
        check_fit(layers[i]->w, kv[i]->layer, plan, n_rows);
    const Isa& isa = isa_named(takes_vectors(kv[0]->layer.head_dim) ? isa_name : "scalar");
    nb::gil_scoped_release without_gil;
    for (std::size_t i = 0; i < layers.size(); ++i)
        run_layer(layers[i]->w, at<float>(x), n_rows, at<const float>(cosine),
                  at<const float>(sine), kv[i]->layer, plan.plan, isa);
}

}  // namespace

void bind_layer(nb::module_& m) {
    nb::class_<BoundWeights>(m, "LayerWeights")
        .def(nb::init<Array<const float, 1>, Array<const float, 1>, float, std::size_t,
                      const Matrix&, const Matrix&, const Matrix&, const Matrix&, const Matrix&,
                      const Matrix&, const Matrix&, nb::object>(),
             nb::arg("attention_norm").noconvert(), nb::arg("feed_forward_norm").noconvert(),
             nb::arg("eps"), nb::arg("n_heads"), nb::arg("wq"), nb::arg("wk"), nb::arg("wv"),
             nb::arg("wo"), nb::arg("w1"), nb::arg("w2"), nb::arg("w3"), nb::arg("owned"));
    m.def("run_layers", &run, nb::arg("layers"), nb::arg("x"), nb::arg("n_rows"),
          nb::arg("cosine"), nb::arg("sine"), nb::arg("kv"), nb::arg("plan"), nb::arg("isa"));
}

}  // namespace sirocco
