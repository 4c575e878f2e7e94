#include "step.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "thread_pool.h"

namespace sirocco {
namespace {

// Rows of x that pass through a stripe's weights before the next stripe: they stay in a cache.
constexpr std::size_t kRowsAtATime = 64;
// Stripes that one piece of work holds at most, and pieces that each thread gets at least.
constexpr std::size_t kStripesAPiece = 8, kPiecesAThread = 6;

// Numbers that a piece of elementwise work holds at least: below that a thread costs more than it
// brings.
constexpr std::size_t kPieceNumbers = 16384;

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

std::vector<StripeRun> pieces_of(const std::vector<const QuantizedMatrix*>& matrices) {
    std::size_t n_stripes = 0;
    for (const QuantizedMatrix* matrix : matrices) n_stripes += matrix->n_stripes();
    const std::size_t fair = n_stripes / (kPiecesAThread * n_threads());
    const std::size_t size = std::min(kStripesAPiece, std::max<std::size_t>(1, fair));
    std::vector<StripeRun> pieces;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
        const std::size_t n = matrices[i]->n_stripes();
        for (std::size_t first = 0; first < n; first += size)
            pieces.push_back({i, first, std::min(first + size, n)});
    }
    return pieces;
}

void round_rows(const float* x, QuantizeRow kernel, const QuantizedRows& rows) {
    const std::size_t n_pieces = (rows.n_rows + kRowsAtATime - 1) / kRowsAtATime;
    parallel_for(n_pieces, [&](std::size_t piece) {
        const std::size_t last = std::min(rows.n_rows, (piece + 1) * kRowsAtATime);
        for (std::size_t row = piece * kRowsAtATime; row < last; ++row) kernel(x, rows, row);
    });
}

// Call work(first, last) for runs of rows, on all threads if there is enough to do.
template <typename Work>
void for_rows(std::size_t n_rows, std::size_t row_numbers, const Work& work) {
    const std::size_t rows = std::max<std::size_t>(1, kPieceNumbers / row_numbers);
    parallel_for((n_rows + rows - 1) / rows, [&](std::size_t piece) {
        work(piece * rows, std::min(n_rows, (piece + 1) * rows));
    });
}

}  // namespace

void linear_all(const float* x, std::size_t n_rows, std::size_t n_columns,
                const std::vector<const QuantizedMatrix*>& matrices,
                const std::vector<float*>& outs, bool adds, const Isa& isa) {
    const RowBuffer buffer(n_rows, n_columns);
    round_rows(x, isa.quantize_row, buffer.rows);
    const std::vector<StripeRun> pieces = pieces_of(matrices);
    parallel_for(pieces.size(), [&](std::size_t index) {
        const StripeRun& piece = pieces[index];
        const Output out{outs[piece.matrix], adds};
        for (std::size_t row = 0; row < n_rows; row += kRowsAtATime) {
            const std::size_t last = std::min(n_rows, row + kRowsAtATime);
            for (std::size_t stripe = piece.first; stripe < piece.last; ++stripe)
                isa.linear_stripe(*matrices[piece.matrix], stripe, buffer.rows, row, last, out);
        }
    });
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
