// The threads that all kernels share.
//
// A kernel cuts its work into numbered pieces whose results do not depend on who computes them, so
// an answer has the same bits with any number of threads. Each thread begins with a share of them,
// and whoever is done takes from the others', so a slow thread does not hold them up.
#pragma once

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

}  // namespace sirocco
