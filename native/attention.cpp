#include "attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "thread_pool.h"

namespace sirocco {
namespace {

// Rows that share each tile of keys once it is loaded.
constexpr std::size_t kRowsAPiece = 64;
// With fewer pieces than this for each thread, segments become pieces of their own.
constexpr std::size_t kPiecesAThread = 4;
// Tokens whose keys are stored together.
constexpr std::size_t kTokensAtATime = 32;

// A tile of queries, the positions it sees, and where its result goes.
struct Piece {
    QueryTile tile;
    Range seen;
    float* out;
};

std::size_t result_floats(const QueryTile& tile, std::size_t head_dim) {
    return tile.n_rows() * padded(head_dim) + 2 * padded(tile.n_rows());
}

SegmentResult result_in(float* room, const QueryTile& tile, std::size_t head_dim) {
    float* peaks = room + tile.n_rows() * padded(head_dim);
    return {room, peaks, peaks + padded(tile.n_rows())};
}

// The first of at least n_floats floats of `room` that is aligned for vectors.
float* aligned(std::vector<float>& room, std::size_t n_floats) {
    if (room.size() < n_floats + 16) room.resize(n_floats + 16);
    const auto address = reinterpret_cast<std::uintptr_t>(room.data());
    return room.data() + (64 - address % 64) % 64 / sizeof(float);
}

// Memory of this thread, good until the next call.
float* scratch_of_thread(std::size_t n_floats) {
    thread_local std::vector<float> room;
    return aligned(room, n_floats);
}

// The segments that `seen` touches, cut to it.
std::vector<Range> segments_of(Range seen) {
    std::vector<Range> segments;
    for (std::size_t at = seen.begin; at < seen.end;) {
        const std::size_t next = (at / kSegment + 1) * kSegment;
        segments.push_back({at, std::min(next, seen.end)});
        at = next;
    }
    return segments;
}

// total := total and part under their common peak.
void merge_row(float* total, float& peak, float& weight, const float* part, float part_peak,
               float part_weight, std::size_t head_dim) {
    const float higher = part_peak > peak ? part_peak : peak;
    const float base = std::isinf(higher) && higher < 0 ? 0.0f : higher;
    const float a = std::exp2(peak - base), b = std::exp2(part_peak - base);
    peak = higher;
    weight = weight * a + part_weight * b;
    for (std::size_t d = 0; d < head_dim; ++d) total[d] = total[d] * a + part[d] * b;
}

// Add a segment to those before it. A row begins with the first segment of which it sees
// something, so its result does not depend on where the tile's other rows begin.
void merge(const QueryTile& tile, Range segment, const SegmentResult& total,
           const SegmentResult& part, std::size_t head_dim) {
    const std::size_t stride = padded(head_dim);
    for (std::size_t row = 0; row < tile.n_rows(); ++row) {
        const Range seen = visible_to(tile, tile.token_of(row), {0, segment.end});
        if (seen.end <= segment.begin) continue;
        if (seen.begin >= segment.begin) {
            std::copy_n(part.sums + row * stride, head_dim, total.sums + row * stride);
            total.peaks[row] = part.peaks[row];
            total.weights[row] = part.weights[row];
        } else {
            merge_row(total.sums + row * stride, total.peaks[row], total.weights[row],
                      part.sums + row * stride, part.peaks[row], part.weights[row], head_dim);
        }
    }
}

void finish(const Piece& piece, const SegmentResult& total, std::size_t head_dim) {
    const QueryTile& tile = piece.tile;
    for (std::size_t row = 0; row < tile.n_rows(); ++row) {
        const float* sums = total.sums + row * padded(head_dim);
        float* out = piece.out + tile.offset_of(row, head_dim);
        const float inverse = 1.0f / total.weights[row];
        for (std::size_t d = 0; d < head_dim; ++d) out[d] = sums[d] * inverse;
    }
}

class Step {
  public:
    Step(const KvLayer& layer, const AttentionPlan& plan, AttendSegment attend)
        : layer_(layer), plan_(plan), attend_(attend) {}

    void run(const float* q, float* out, std::size_t n_heads) {
        for (const AttentionSpan& span : plan_.spans) n_segments_ += n_segments(span);
        cut(q, out, n_heads);
        const std::size_t n = n_threads();
        if (n > 1 && pieces_.size() < kPiecesAThread * n && is_long())
            run_segment_by_segment();
        else
            parallel_for(pieces_.size(), [this](std::size_t i) { run_piece(pieces_[i]); });
    }

  private:
    // Later tokens see more; they come first, so that no thread is left with a long piece at last.
    void cut(const float* q, float* out, std::size_t n_heads) {
        const std::size_t D = layer_.head_dim, group_size = n_heads / layer_.n_kv_heads;
        const std::size_t tokens_a_piece = std::max<std::size_t>(1, kRowsAPiece / group_size);
        const float scale = float(1.4426950408889634 / std::sqrt(double(D)));
        for (const AttentionSpan& span : plan_.spans) {
            const std::size_t n_tiles = (span.n_tokens + tokens_a_piece - 1) / tokens_a_piece;
            for (std::size_t i = n_tiles; i-- > 0;) {
                const std::size_t token = i * tokens_a_piece;
                const std::size_t n = std::min(tokens_a_piece, span.n_tokens - token);
                const std::size_t at = (span.first_row + token) * n_heads * D;
                const std::size_t together = heads_together(n * group_size);
                QueryTile tile{q + at, n, group_size, n_heads * D, 0, together,
                               span.first_position + token, plan_.window,
                               plan_.block_ids.data() + span.first_block, span.n_reclaimed, scale};
                const Range all{0, SIZE_MAX};
                const Range seen{visible_to(tile, 0, all).begin, visible_to(tile, n - 1, all).end};
                for (; tile.kv_head < layer_.n_kv_heads; tile.kv_head += tile.n_kv_heads) {
                    pieces_.push_back({tile, seen, out + at + tile.kv_head * group_size * D});
                    tile.q += tile.n_kv_heads * group_size * D;
                }
            }
        }
    }

    // How many KV heads a piece takes at once. Those of a block lie side by side, and memory is
    // read faster the longer the stretch; but each thread needs its share of pieces.
    std::size_t heads_together(std::size_t rows_a_head) const {
        std::size_t n = layer_.n_kv_heads;
        const std::size_t enough = n_threads() > 1 ? 2 * n_threads() : 1;
        while (n % 2 == 0 && (n * rows_a_head > kRowsAPiece ||
                              layer_.n_kv_heads / n * n_segments_ < enough))
            n /= 2;
        return n * rows_a_head > kRowsAPiece ? 1 : n;
    }

    // Of what a span's last token sees.
    std::size_t n_segments(const AttentionSpan& span) const {
        const std::size_t end = span.first_position + span.n_tokens;
        return (std::min(end, plan_.window) + kSegment - 1) / kSegment;
    }

    bool is_long() const {
        return std::any_of(pieces_.begin(), pieces_.end(), [](const Piece& piece) {
            return piece.seen.end - piece.seen.begin > kSegment;
        });
    }

    void run_piece(const Piece& piece) const {
        const std::size_t D = layer_.head_dim;
        const std::size_t n_result = result_floats(piece.tile, D);
        float* scratch = scratch_of_thread(2 * n_result + scratch_floats(piece.tile.n_rows(), D));
        const SegmentResult total = result_in(scratch, piece.tile, D);
        const SegmentResult part = result_in(scratch + n_result, piece.tile, D);
        bool is_first = true;
        for (const Range& segment : segments_of(piece.seen)) {
            attend_(layer_, piece.tile, segment, scratch + 2 * n_result, is_first ? total : part);
            if (!is_first) merge(piece.tile, segment, total, part, D);
            is_first = false;
        }
        finish(piece, total, D);
    }

    struct Part {
        std::size_t piece;
        Range segment;
        std::size_t result;  // where it is in the results
    };

    // The same additions in the same order; only who does them differs.
    void run_segment_by_segment() const {
        const std::size_t D = layer_.head_dim;
        std::vector<Part> parts;
        std::size_t n_floats = 0;
        for (std::size_t i = 0; i < pieces_.size(); ++i)
            for (const Range& segment : segments_of(pieces_[i].seen)) {
                parts.push_back({i, segment, n_floats});
                n_floats += result_floats(pieces_[i].tile, D);
            }
        std::vector<float> room;
        float* results = aligned(room, n_floats);
        parallel_for(parts.size(), [&](std::size_t i) {
            const QueryTile& tile = pieces_[parts[i].piece].tile;
            attend_(layer_, tile, parts[i].segment,
                    scratch_of_thread(scratch_floats(tile.n_rows(), D)),
                    result_in(results + parts[i].result, tile, D));
        });
        merge_parts(parts, results);
    }

    void merge_parts(const std::vector<Part>& parts, float* results) const {
        const std::size_t D = layer_.head_dim;
        for (std::size_t i = 0; i < parts.size();) {
            const Piece& piece = pieces_[parts[i].piece];
            const SegmentResult total = result_in(results + parts[i].result, piece.tile, D);
            std::size_t next = i + 1;
            for (; next < parts.size() && parts[next].piece == parts[i].piece; ++next)
                merge(piece.tile, parts[next].segment, total,
                      result_in(results + parts[next].result, piece.tile, D), D);
            finish(piece, total, D);
            i = next;
        }
    }

    const KvLayer& layer_;
    const AttentionPlan& plan_;
    const AttendSegment attend_;
    std::size_t n_segments_ = 0;  // of all sequences; for each KV head they are work of its own
    std::vector<Piece> pieces_;
};

void append_all(const KvLayer& layer, const AttentionPlan& plan, const float* k, const float* v,
                AppendKv append) {
    const std::size_t n_tokens = plan.slots.size(), K = layer.n_kv_heads, D = layer.head_dim;
    const auto work = [&](std::size_t piece) {
        const std::size_t token = piece / K * kTokensAtATime, kv_head = piece % K;
        const std::size_t at = (token * K + kv_head) * D;
        append(layer, k + at, v + at, plan.slots.data() + token,
               std::min(kTokensAtATime, n_tokens - token), kv_head);
    };
    const std::size_t n_pieces = (n_tokens + kTokensAtATime - 1) / kTokensAtATime * K;
    if (n_tokens > kTokensAtATime)
        parallel_for(n_pieces, work);
    else  // less than what it takes to call the other threads
        for (std::size_t i = 0; i < n_pieces; ++i) work(i);
}

}  // namespace

void paged_attention(const KvLayer& layer, const AttentionPlan& plan, const float* q,
                     const float* k, const float* v, float* out, std::size_t n_heads,
                     AttendSegment attend, AppendKv append) {
    append_all(layer, plan, k, v, append);
    Step(layer, plan, attend).run(q, out, n_heads);
}

}  // namespace sirocco
