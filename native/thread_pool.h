// The threads that all kernels share.
//
// A kernel cuts its work into numbered pieces whose results do not depend on who computes them, so
// an answer has the same bits with any number of threads. Each thread begins with a share of them,
// and whoever is done takes from the others', so a slow thread does not hold them up.
#pragma once

#include <algorithm>
#include <cstddef>

namespace sirocco {

// How many threads work on a kernel, the caller's own included.
void set_n_threads(std::size_t n);
std::size_t n_threads();

using Piece = void (*)(const void* context, std::size_t index);

// Run piece(context, 0) … piece(context, n_pieces - 1), each once, and return when all are done.
// One caller at a time; others wait for their turn. Pieces do not throw.
void run_pieces(std::size_t n_pieces, Piece piece, const void* context);

// The same for anything that can be called with an index.
template <typename Work>
void parallel_for(std::size_t n_pieces, const Work& work) {
    run_pieces(
        n_pieces,
        [](const void* context, std::size_t index) { (*static_cast<const Work*>(context))(index); },
        &work);
}

// Call work(first, last) for runs of rows of `row_numbers` numbers each, on all threads if there is
// enough to do: below so many numbers a thread costs more than it brings.
template <typename Work>
void for_rows(std::size_t n_rows, std::size_t row_numbers, const Work& work) {
    constexpr std::size_t kPieceNumbers = 16384;
    const std::size_t rows = std::max<std::size_t>(1, kPieceNumbers / row_numbers);
    parallel_for((n_rows + rows - 1) / rows, [&](std::size_t piece) {
        work(piece * rows, std::min(n_rows, (piece + 1) * rows));
    });
}

}  // namespace sirocco
