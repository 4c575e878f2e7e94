// Linear layers of float32 over all rows of a step, on all threads.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "linear_all.h"
#include "thread_pool.h"

namespace sirocco {
namespace {

// Columns of a panel that all rows pass through before the next ones: they stay in the first cache.
constexpr std::size_t kChunk = 128;
// What a piece of work holds at most: its sums, and a chunk of its rows, stay in the second cache.
constexpr std::size_t kRowsABlock = 192, kPanelsABlock = 16;
// Pieces that each thread gets at least, if there are panels enough.
constexpr std::size_t kBlocksAThread = 6;

// Panels of one of the matrices, and rows of x.
struct Block {
    std::size_t matrix, first_panel, last_panel, first_row, last_row;

    std::size_t n_rows() const { return last_row - first_row; }
};

std::vector<Block> blocks_of(const std::vector<Product<FloatMatrix>>& products,
                             std::size_t n_rows) {
    std::size_t n_panels = 0;
    for (const auto& product : products) n_panels += product.matrix->n_panels();
    const std::size_t n_row_blocks = (n_rows + kRowsABlock - 1) / kRowsABlock;
    const std::size_t fair = n_panels * n_row_blocks / (kBlocksAThread * n_threads());
    const std::size_t size = std::min(kPanelsABlock, std::max<std::size_t>(1, fair));
    std::vector<Block> blocks;
    for (std::size_t row = 0; row < n_rows; row += kRowsABlock)
        for (std::size_t i = 0; i < products.size(); ++i) {
            const std::size_t n = products[i].matrix->n_panels();
            for (std::size_t panel = 0; panel < n; panel += size)
                blocks.push_back({i, panel, std::min(panel + size, n), row,
                                  std::min(row + kRowsABlock, n_rows)});
        }
    return blocks;
}

// Room for a piece's sums, kept by its thread, at a multiple of 64 bytes.
float* room(std::size_t n_floats) {
    thread_local std::vector<float> numbers;
    if (numbers.size() < n_floats + 16) numbers.resize(n_floats + 16);
    const auto address = reinterpret_cast<std::uintptr_t>(numbers.data());
    return numbers.data() + (64 - address % 64) % 64 / sizeof(float);
}

// The sums of a piece: [panels][rows][32].
void compute(const FloatMatrix& w, const Block& block, const float* x, AddPanelRun add,
             float* sums) {
    for (std::size_t k = 0; k < w.n_columns; k += kChunk) {
        const std::size_t n = std::min(kChunk, w.n_columns - k);
        float* of_panel = sums;
        for (std::size_t panel = block.first_panel; panel < block.last_panel; ++panel) {
            const float* weights = w.panels + panel * w.panel_numbers() + k * kPanelRows;
            add({weights, x + block.first_row * w.n_columns + k, n, block.n_rows(), w.n_columns,
                 weights + w.panel_numbers()},
                of_panel);
            of_panel += block.n_rows() * kPanelRows;
        }
    }
}

void write(const FloatMatrix& w, const Block& block, const float* sums, float* out, bool adds) {
    for (std::size_t row = block.first_row; row < block.last_row; ++row, sums += kPanelRows) {
        const float* of_panel = sums;
        for (std::size_t panel = block.first_panel; panel < block.last_panel; ++panel) {
            const std::size_t n = std::min(kPanelRows, w.n_rows - panel * kPanelRows);
            float* results = out + row * w.n_rows + panel * kPanelRows;
            for (std::size_t r = 0; r < n; ++r)
                results[r] = adds ? results[r] + of_panel[r] : of_panel[r];
            of_panel += block.n_rows() * kPanelRows;
        }
    }
}

}  // namespace

void multiply_floats(const float* x, std::size_t n_rows,
                     const std::vector<Product<FloatMatrix>>& products, bool adds,
                     const Isa& isa) {
    const std::vector<Block> blocks = blocks_of(products, n_rows);
    parallel_for(blocks.size(), [&](std::size_t index) {
        const Block& block = blocks[index];
        const Product<FloatMatrix>& product = products[block.matrix];
        const std::size_t n_sums =
            (block.last_panel - block.first_panel) * block.n_rows() * kPanelRows;
        float* sums = room(n_sums);
        std::fill_n(sums, n_sums, 0.0f);
        compute(*product.matrix, block, x, isa.add_panel_run, sums);
        write(*product.matrix, block, sums, product.out, adds);
    });
}

}  // namespace sirocco
