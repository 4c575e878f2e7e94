#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sirocco {
namespace {

// Between two kernels of one step the next comes within microseconds, and waking a thread that
// sleeps takes tens of them. So a thread looks about for this long before it sleeps; between
// steps it sleeps, and leaves its processor to the server.
constexpr auto kLookAbout = std::chrono::microseconds(100);

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

// Pieces that nobody has taken yet: a run of indices, on a cache line of its own.
class alignas(64) Share {
  public:
    void fill(std::size_t first, std::size_t last) {
        left_.store(std::uint64_t(first) << 32 | last, std::memory_order_relaxed);
    }

    std::size_t n_left() const {
        const std::uint64_t left = left_.load(std::memory_order_relaxed);
        return last_of(left) - first_of(left);
    }

    // Take the first piece, or the last one; false if none is left.
    bool take_first(std::size_t& index) {
        return take(index, std::uint64_t(1) << 32, [](std::uint64_t left) { return first_of(left); });
    }
    bool take_last(std::size_t& index) {
        return take(index, std::uint64_t(0) - 1, [](std::uint64_t left) { return last_of(left) - 1; });
    }

  private:
    static std::size_t first_of(std::uint64_t left) { return left >> 32; }
    static std::size_t last_of(std::uint64_t left) { return left & 0xFFFFFFFF; }

    template <typename Which>
    bool take(std::size_t& index, std::uint64_t change, Which which) {
        std::uint64_t left = left_.load(std::memory_order_relaxed);
        do {
            if (first_of(left) == last_of(left)) return false;
            index = which(left);
        } while (!left_.compare_exchange_weak(left, left + change, std::memory_order_relaxed));
        return true;
    }

    std::atomic<std::uint64_t> left_{0};  // the first index in the upper half, the last + 1 below
};

// A kernel's pieces, and who works on them.
//
// Each thread begins with a share of neighbouring pieces, so that it reads weights end to end, as
// memory likes it best; whoever is done takes from the end of the longest share.
//
// The caller never waits for a helper that has not begun: on a busy machine it may be long until
// the system lets it run. It joins if it comes in time, and the caller waits only for those that
// have taken a piece.
class Pool {
  public:
    explicit Pool(std::size_t n_helpers) : shares_(n_helpers + 1) {
        for (std::size_t i = 0; i < n_helpers; ++i)
            helpers_.emplace_back([this, i] { help(shares_[i + 1]); });
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            is_closing_ = true;
            round_.fetch_add(1);
        }
        wake_.notify_all();
        for (std::thread& helper : helpers_) helper.join();
    }

    std::size_t n_threads() const { return helpers_.size() + 1; }

    void run(std::size_t n_pieces, Piece piece, const void* context) {
        bool anyone_sleeps;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            piece_ = piece;
            context_ = context;
            for (std::size_t i = 0; i < n_threads(); ++i)
                shares_[i].fill(n_pieces * i / n_threads(), n_pieces * (i + 1) / n_threads());
            is_open_ = true;
            anyone_sleeps = n_asleep_ > 0;
            round_.fetch_add(1, std::memory_order_release);
        }
        if (anyone_sleeps) wake_.notify_all();
        take_pieces(shares_[0]);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            is_open_ = false;
        }
        while (n_inside_.load(std::memory_order_acquire) != 0) pause();
    }

  private:
    void take_pieces(Share& own) {
        std::size_t index;
        while (own.take_first(index)) piece_(context_, index);
        for (Share* longest; (longest = &longest_share())->n_left() > 0;)
            if (longest->take_last(index)) piece_(context_, index);
    }

    Share& longest_share() {
        return *std::max_element(shares_.begin(), shares_.end(), [](const Share& a, const Share& b) {
            return a.n_left() < b.n_left();
        });
    }

    void help(Share& own) {
        std::uint64_t seen = 0;
        for (;;) {
            seen = wait_for_round_after(seen);
            {
                std::lock_guard<std::mutex> lock(mutex_);
                if (is_closing_) return;
                if (!is_open_) continue;  // too late: the caller has done it alone
                n_inside_.fetch_add(1, std::memory_order_relaxed);
            }
            take_pieces(own);
            n_inside_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::uint64_t wait_for_round_after(std::uint64_t seen) {
        const auto deadline = std::chrono::steady_clock::now() + kLookAbout;
        do {
            for (int i = 0; i < 32; ++i) {
                const std::uint64_t round = round_.load(std::memory_order_acquire);
                if (round != seen) return round;
                pause();
            }
        } while (std::chrono::steady_clock::now() < deadline);
        std::unique_lock<std::mutex> lock(mutex_);
        ++n_asleep_;
        wake_.wait(lock, [&] { return round_.load() != seen; });
        --n_asleep_;
        return round_.load();
    }

    std::mutex mutex_;  // of what follows, but for the atomics
    std::condition_variable wake_;
    std::atomic<std::uint64_t> round_{0};
    std::atomic<std::size_t> n_inside_{0};
    std::vector<Share> shares_;  // the caller's, then those of the helpers
    std::size_t n_asleep_ = 0;
    Piece piece_ = nullptr;
    const void* context_ = nullptr;
    bool is_open_ = false;
    bool is_closing_ = false;
    std::vector<std::thread> helpers_;
};

std::mutex turn;  // whose kernel runs
std::unique_ptr<Pool> pool;

std::size_t default_n_threads() {
    const std::size_t n = std::thread::hardware_concurrency();
    return n == 0 ? 1 : n;
}

Pool& the_pool() {
    if (!pool) pool = std::make_unique<Pool>(default_n_threads() - 1);
    return *pool;
}

}  // namespace

void set_n_threads(std::size_t n) {
    std::lock_guard<std::mutex> lock(turn);
    pool.reset();
    pool = std::make_unique<Pool>(n - 1);
}

std::size_t n_threads() {
    std::lock_guard<std::mutex> lock(turn);
    return the_pool().n_threads();
}

void run_pieces(std::size_t n_pieces, Piece piece, const void* context) {
    if (n_pieces == 0) return;
    std::lock_guard<std::mutex> lock(turn);
    Pool& threads = the_pool();
    if (n_pieces == 1 || threads.n_threads() == 1) {
        for (std::size_t i = 0; i < n_pieces; ++i) piece(context, i);
        return;
    }
    threads.run(n_pieces, piece, context);
}

}  // namespace sirocco
