// Linear layers of 4 and 8 bits over all rows of a step, on all threads.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "linear_all.h"
#include "thread_pool.h"

namespace sirocco {
namespace {

// Rows of x that pass through a stripe's weights before the next stripe: they stay in a cache.
constexpr std::size_t kRowsAtATime = 64;
// More rows than that stay in a cache for all stripes of a piece: so many of them at most, but so
// few that each thread has some pieces. Fewer rows take a stripe at a time, so that all threads are
// done at the same time.
constexpr std::size_t kStripesAPiece = 8, kPiecesAThread = 6;

// Room for rounded activations.
class RowBuffer {
  public:
    RowBuffer(std::size_t n_rows, std::size_t n_columns)
        : values_(new std::int8_t[n_rows * n_columns]),
          scales_(new float[n_rows * n_columns / kGroup + kScalesBeyond]),
          sums_(new std::int32_t[n_rows * n_columns / kGroup]),
          rows{n_rows, n_columns, values_.get(), scales_.get(), sums_.get()} {}

  private:
    std::unique_ptr<std::int8_t[]> values_;
    std::unique_ptr<float[]> scales_;
    std::unique_ptr<std::int32_t[]> sums_;

  public:
    const QuantizedRows rows;
};

// A run of stripes of one of the matrices.
struct StripeRun {
    std::size_t matrix, first, last;
};

std::vector<StripeRun> pieces_of(const std::vector<Product<QuantizedMatrix>>& products,
                                 std::size_t n_rows) {
    std::size_t n_stripes = 0;
    for (const auto& product : products) n_stripes += product.matrix->n_stripes();
    const std::size_t fair = n_stripes / (kPiecesAThread * n_threads());
    const std::size_t most = n_rows > kRowsAtATime ? kStripesAPiece : 1;
    const std::size_t size = std::min(most, std::max<std::size_t>(1, fair));
    std::vector<StripeRun> pieces;
    for (std::size_t i = 0; i < products.size(); ++i) {
        const std::size_t n = products[i].matrix->n_stripes();
        for (std::size_t first = 0; first < n; first += size)
            pieces.push_back({i, first, std::min(first + size, n)});
    }
    return pieces;
}

}  // namespace

void multiply_rounded(const float* x, std::size_t n_rows, std::size_t n_columns,
                      const std::vector<Product<QuantizedMatrix>>& products, bool adds,
                      const Isa& isa) {
    const RowBuffer buffer(n_rows, n_columns);
    for_rows(n_rows, n_columns, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row) isa.quantize_row(x, buffer.rows, row);
    });
    const std::vector<StripeRun> pieces = pieces_of(products, n_rows);
    parallel_for(pieces.size(), [&](std::size_t index) {
        const StripeRun& piece = pieces[index];
        const Product<QuantizedMatrix>& product = products[piece.matrix];
        for (std::size_t row = 0; row < n_rows; row += kRowsAtATime) {
            const std::size_t last = std::min(n_rows, row + kRowsAtATime);
            for (std::size_t stripe = piece.first; stripe < piece.last; ++stripe)
                isa.linear_stripe(*product.matrix, stripe, buffer.rows, row, last,
                                  {product.out, adds});
        }
    });
}

}  // namespace sirocco
