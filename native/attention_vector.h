// Attention with vectors of any width: included, alone, by a file that has defined
//   Vec, kLanes, kMaxRows, kFewRows, kTilesAhead, zero, all, load, store, add, sub, mul, fma,
//   larger, keep, convert, convert_8, padded_to_lanes, exp2, max_lanes, sum_lanes, first_lane
// in namespace sirocco's unnamed namespace. All of this is in the unnamed namespace too, templates
// included: no function compiled with one file's flags may stand in for another's. For the same
// reason neither this nor such a file uses <cmath> or <algorithm>.
#include "attention_kernels.h"
#include "half.h"

namespace sirocco {
namespace {

constexpr std::size_t kColumns = kTile / kLanes;  // vectors in a tile's positions
constexpr int kVectorsALine = 32 / kLanes;  // of 16-bit numbers, in the 64 bytes of a line
constexpr float kMinusInfinity = -__builtin_inff();

// The memory of one call.
struct Room {
    Room(float* scratch, std::size_t n_rows, std::size_t stride)
        : q(scratch), scores(q + n_rows * stride), weights(scores + n_rows * kTile),
          kept(weights + n_rows * 16), keys(kept + n_rows * 16), values(keys + kTile * stride) {}

    float* q;        // [rows, padded D], scaled
    float* scores;   // [rows, tile]; then the weights of the values
    float* weights;  // [rows, 16], of which kLanes are used: the running sum, lane by lane
    float* kept;     // [rows]: what the sums so far are worth under the new peak
    float* keys;     // [D, tile]
    float* values;   // [tile, padded D]
};

// What is read at a time: the positions first … first + kTile - 1 of the query tile's KV head
// number `head`.
struct KvTile {
    std::size_t first, head;
};

struct Place {
    std::size_t head, offset;  // block * K + KV head; position in the block
};

Place place_of(const KvLayer& layer, const QueryTile& tile, std::size_t head,
               std::size_t position) {
    const std::size_t index = position / layer.block_size - tile.n_reclaimed;
    return {std::size_t(tile.block_ids[index]) * layer.n_kv_heads + tile.kv_head + head,
            position % layer.block_size};
}

// Where a tile's vectors of positions begin, if no block cuts one.
struct Places {
    Places(const KvLayer& layer, const QueryTile& tile, KvTile kv) {
        for (std::size_t c = 0; c < kColumns; ++c)
            columns[c] = place_of(layer, tile, kv.head, kv.first + c * kLanes);
    }

    Place columns[kColumns];
};

// The slots of neighbouring positions, block by block: a division costs more than a vector of sums.
template <typename Work>
void for_each_slot(const KvLayer& layer, const QueryTile& tile, std::size_t head, Range range,
                   const Work& work) {
    for (std::size_t at = range.begin; at < range.end;) {
        const Place place = place_of(layer, tile, head, at);
        std::size_t slot = place.head * layer.block_size + place.offset;
        const std::size_t block_end = at + layer.block_size - place.offset;
        for (const std::size_t end = block_end < range.end ? block_end : range.end; at < end; ++at)
            work(at, slot++);
    }
}

float single(const float* x) { return *x; }
float single(const std::uint16_t* x) { return float_from_half(*x); }
float single(const std::int8_t* x) { return float(*x); }

template <typename T>
constexpr bool kIsScaled = sizeof(T) == 1;

// One vector of positions that lie in one block; lanes outside of begin … end - 1 become 0.
template <typename T>
void load_key_column(const KvLayer& layer, Place place, int begin, int end, float* keys) {
    const T* from = static_cast<const T*>(layer.k) +
                    place.head * layer.head_dim * layer.block_size + place.offset;
    Vec scales = all(1.0f);
    if (kIsScaled<T>)
        scales = load(layer.k_scales + place.head * layer.block_size + place.offset);
    const bool is_whole = begin == 0 && end == int(kLanes);
    for (std::size_t d = 0; d < layer.head_dim; ++d, from += layer.block_size, keys += kTile) {
        Vec x = convert(from);
        if (kIsScaled<T>) x = mul(x, scales);
        store(keys, is_whole ? x : keep(x, zero(), begin, end));
    }
}

// One position at a time, for blocks into which no vector fits.
template <typename T>
void load_key(const KvLayer& layer, Place place, float* keys) {
    const T* from = static_cast<const T*>(layer.k) +
                    place.head * layer.head_dim * layer.block_size + place.offset;
    const float scale =
        kIsScaled<T> ? layer.k_scales[place.head * layer.block_size + place.offset] : 1.0f;
    for (std::size_t d = 0; d < layer.head_dim; ++d)
        keys[d * kTile] = single(from + d * layer.block_size) * scale;
}

// Positions `seen` of the tile, as float32: [D, tile].
template <typename T>
void load_keys(const KvLayer& layer, const QueryTile& tile, KvTile kv, Range seen, float* keys) {
    for (std::size_t c = 0; c < kTile; c += kLanes) {
        const std::size_t at = kv.first + c, end = at + kLanes;
        const Range part{seen.begin > at ? seen.begin : at, seen.end < end ? seen.end : end};
        if (part.begin < part.end && layer.block_size % kLanes == 0) {
            load_key_column<T>(layer, place_of(layer, tile, kv.head, at), int(part.begin - at),
                               int(part.end - at), keys + c);
            continue;
        }
        if (part.begin != at || part.end != end)
            for (std::size_t d = 0; d < layer.head_dim; ++d) store(keys + d * kTile + c, zero());
        for (std::size_t position = part.begin; position < part.end; ++position)
            load_key<T>(layer, place_of(layer, tile, kv.head, position),
                        keys + (position - kv.first));
    }
}

// The same for values: [tile, padded D]; rows outside of `seen` are left as they are.
template <typename T>
void load_values(const KvLayer& layer, const QueryTile& tile, KvTile kv, Range seen,
                 float* values) {
    const std::size_t D = layer.head_dim;
    for_each_slot(layer, tile, kv.head, seen, [&](std::size_t position, std::size_t slot) {
        const T* from = static_cast<const T*>(layer.v) + slot * D;
        float* to = values + (position - kv.first) * padded(D);
        const Vec scale = all(kIsScaled<T> ? layer.v_scales[slot] : 1.0f);
        for (std::size_t d = 0; d < D; d += kLanes) {
            const Vec x = d + kLanes <= D ? convert(from + d) : convert_8(from + d);
            store(to + d, kIsScaled<T> ? mul(x, scale) : x);
        }
    });
}

// Where keys and values come from: from the room, where a tile was converted once for many rows,
// or, with few rows, from the blocks themselves. Either way they are the same floats. Meanwhile a
// later tile is asked for: its blocks lie anywhere, and no processor guesses where.
struct LoadedKeys {
    const float* keys;

    Vec at(std::size_t d, std::size_t column) const {
        return load(keys + d * kTile + column * kLanes);
    }
    void ask(std::size_t, std::size_t) const {}
};

struct LoadedValues {
    const float* values;
    std::size_t stride;

    Vec at(std::size_t position, std::size_t d) const {
        return load(values + position * stride + d);
    }
    const float* ahead(std::size_t) const { return values; }
    void ask(const float*) const {}
};

template <typename T>
struct StoredKeys {
    StoredKeys(const KvLayer& layer, const Places& places, const Places& later)
        : stride(layer.block_size) {
        const T* keys = static_cast<const T*>(layer.k);
        for (std::size_t c = 0; c < kColumns; ++c) {
            const Place place = places.columns[c], ahead = later.columns[c];
            columns[c] = keys + place.head * layer.head_dim * stride + place.offset;
            wanted[c] = keys + ahead.head * layer.head_dim * stride + ahead.offset;
            if (kIsScaled<T>) scales[c] = layer.k_scales + place.head * stride + place.offset;
        }
    }

    Vec at(std::size_t d, std::size_t column) const {
        const Vec x = convert(columns[column] + d * stride);
        return kIsScaled<T> ? mul(x, load(scales[column])) : x;
    }

    void ask(std::size_t d, std::size_t column) const {
        if constexpr (kTilesAhead > 0) __builtin_prefetch(wanted[column] + d * stride, 0, 2);
    }

    std::size_t stride;
    const T* columns[kColumns];
    const T* wanted[kColumns];
    const float* scales[kColumns];
};

template <typename T>
struct StoredValues {
    StoredValues(const KvLayer& layer, const Places& places, const Places& later)
        : in_column(kLanes * layer.head_dim) {
        const T* values = static_cast<const T*>(layer.v);
        for (std::size_t c = 0; c < kColumns; ++c) {
            const Place place = places.columns[c], ahead = later.columns[c];
            const std::size_t slot = place.head * layer.block_size + place.offset;
            wanted[c] = values + (ahead.head * layer.block_size + ahead.offset) * layer.head_dim;
            for (std::size_t i = 0; i < kLanes; ++i) {
                rows[c * kLanes + i] = values + (slot + i) * layer.head_dim;
                if (kIsScaled<T>) scales[c * kLanes + i] = layer.v_scales[slot + i];
            }
        }
    }

    Vec at(std::size_t position, std::size_t d) const {
        const Vec x = convert(rows[position] + d);
        return kIsScaled<T> ? mul(x, all(scales[position])) : x;
    }

    // A pass over the positions reads some channels of each; what it asks for meanwhile is as much
    // of the later tile, but as it lies in memory: a third faster than channel by channel.
    const T* ahead(std::size_t d) const {
        return wanted[d * kTile / in_column] + d * kTile % in_column;
    }
    void ask(const T* from) const {
        if constexpr (kTilesAhead > 0) __builtin_prefetch(from, 0, 2);
    }

    std::size_t in_column;  // values of a vector of positions
    const T* rows[kTile];
    const T* wanted[kColumns];
    float scales[kTile];
};

// scores [R, C vectors] = q · keys, each the sum over channels in order.
template <int R, int C, typename Keys>
void score(const float* q, const Keys& keys, std::size_t column, std::size_t head_dim,
           float* scores) {
    Vec sums[R][C];
    for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) sums[r][c] = zero();
    const std::size_t stride = padded(head_dim);
    for (std::size_t d = 0; d < head_dim; ++d) {
        Vec k[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) k[c] = keys.at(d, column + c);
        // A block of 16 positions has half a line for each channel.
        for (int c = 0; c < C; c += kVectorsALine / 2) keys.ask(d, column + c);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vec x = all(q[r * stride + d]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) sums[r][c] = fma(x, k[c], sums[r][c]);
        }
    }
    for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) store(scores + r * kTile + (column + c) * kLanes, sums[r][c]);
}

// Vectors side by side, so that as many sums are under way as the registers hold.
template <int R>
constexpr int kSideBySide = 2 * kMaxRows / R < 8 ? 2 * kMaxRows / R : 8;

template <int R, typename Keys>
void score_rows(const float* q, const Keys& keys, std::size_t head_dim, float* scores) {
    constexpr int C = kSideBySide<R> < int(kColumns) ? kSideBySide<R> : int(kColumns);
    for (std::size_t c = 0; c < kColumns; c += C) score<R, C>(q, keys, c, head_dim, scores);
}

// sums [R, C vectors] = sums * kept + weights · values over positions begin … end - 1, in order.
template <int R, int C, typename Values>
void add_values(const float* weights, const Values& values, const float* kept, std::size_t d,
                std::size_t stride, std::size_t begin, std::size_t end, float* sums) {
    Vec total[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c)
            total[r][c] = mul(load(sums + r * stride + d + c * kLanes), all(kept[r]));
    const auto* ahead = values.ahead(d);
    for (std::size_t j = begin; j < end; ++j, ahead += C * kLanes) {
        Vec v[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) v[c] = values.at(j, d + c * kLanes);
        for (int c = 0; c < C; c += kVectorsALine) values.ask(ahead + c * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vec p = all(weights[r * kTile + j]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) total[r][c] = fma(p, v[c], total[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(sums + r * stride + d + c * kLanes, total[r][c]);
}

template <int R, int C, typename Values>
void add_values_to_rows(const float* weights, const Values& values, const float* kept,
                        std::size_t d, std::size_t head_dim, std::size_t begin, std::size_t end,
                        float* sums) {
    for (; d + C * kLanes <= padded_to_lanes(head_dim); d += C * kLanes)
        add_values<R, C>(weights, values, kept, d, padded(head_dim), begin, end, sums);
    if constexpr (C > 1)
        add_values_to_rows<R, C / 2>(weights, values, kept, d, head_dim, begin, end, sums);
}

// Turn a row's scores into weights under the new peak. Lanes outside of begin … end - 1 weigh 0.
void weigh(float* scores, float* weights, float* peak, float* kept, int begin, int end) {
    Vec s[kColumns];
    Vec largest = all(kMinusInfinity);
    for (std::size_t c = 0; c < kColumns; ++c) {
        s[c] = load(scores + c * kLanes);
        if (begin > 0 || end < int(kTile))
            s[c] = keep(s[c], all(kMinusInfinity), begin - int(c * kLanes), end - int(c * kLanes));
        largest = larger(s[c], largest);
    }
    const float tile_peak = max_lanes(largest);
    const float old = *peak, higher = tile_peak > old ? tile_peak : old;
    // -infinity minus itself would be NaN, where every score so far is -infinity.
    const float base = higher == kMinusInfinity ? 0.0f : higher;
    *peak = higher;
    *kept = old == base ? 1.0f : first_lane(exp2(all(old - base)));
    Vec sum = zero();
    for (std::size_t c = 0; c < kColumns; ++c) {
        const Vec p = exp2(sub(s[c], all(base)));
        store(scores + c * kLanes, p);
        sum = add(sum, p);
    }
    store(weights, fma(load(weights), all(*kept), sum));
}

template <int R, typename Keys, typename Values>
void attend_some(const Room& room, const Keys& keys, const Values& values,
                 const SegmentResult& result, std::size_t head_dim, std::size_t row,
                 std::size_t begin, std::size_t end) {
    const std::size_t stride = padded(head_dim);
    float* scores = room.scores + row * kTile;
    score_rows<R>(room.q + row * stride, keys, head_dim, scores);
    for (std::size_t r = 0; r < R; ++r)
        weigh(scores + r * kTile, room.weights + (row + r) * 16, result.peaks + row + r,
              room.kept + row + r, int(begin), int(end));
    add_values_to_rows<R, kSideBySide<R>>(scores, values, room.kept + row, 0, head_dim, begin, end,
                                          result.sums + row * stride);
}

// Rows row … row + n - 1, all of which see the tile's positions begin … end - 1.
template <typename Keys, typename Values>
void attend_rows(const Room& room, const Keys& keys, const Values& values,
                 const SegmentResult& result, std::size_t head_dim, std::size_t row, std::size_t n,
                 std::size_t begin, std::size_t end) {
    for (; n >= kMaxRows; n -= kMaxRows, row += kMaxRows)
        attend_some<kMaxRows>(room, keys, values, result, head_dim, row, begin, end);
    if (kMaxRows > 4 && (n & 4)) {
        attend_some<4>(room, keys, values, result, head_dim, row, begin, end);
        row += 4;
    }
    if (n & 2) {
        attend_some<2>(room, keys, values, result, head_dim, row, begin, end);
        row += 2;
    }
    if (n & 1) attend_some<1>(room, keys, values, result, head_dim, row, begin, end);
}

void begin_rows(const QueryTile& tile, std::size_t head_dim, const Room& room,
                const SegmentResult& result) {
    const std::size_t stride = padded(head_dim);
    for (std::size_t row = 0; row < tile.n_rows(); ++row) {
        const float* q = tile.q + tile.offset_of(row, head_dim);
        for (std::size_t d = 0; d < head_dim; ++d) room.q[row * stride + d] = q[d] * tile.scale;
        for (std::size_t d = 0; d < stride; ++d) result.sums[row * stride + d] = 0.0f;
        for (std::size_t i = 0; i < 16; ++i) room.weights[row * 16 + i] = 0.0f;
        result.peaks[row] = kMinusInfinity;
    }
}

// What will be read kTilesAhead tiles from now; the same again where that is past the end.
KvTile later_than(const QueryTile& tile, KvTile kv) {
    const std::size_t ahead = kv.head + kTilesAhead;
    const KvTile later{kv.first + ahead / tile.n_kv_heads * kTile, ahead % tile.n_kv_heads};
    return later.first + kTile <= tile.first_position + tile.n_tokens ? later : kv;
}

// A tile of which every row of its head sees the whole.
template <typename T>
void attend_whole_tile(const KvLayer& layer, const QueryTile& tile, KvTile kv, const Room& room,
                       const SegmentResult& result) {
    const std::size_t D = layer.head_dim, n = tile.rows_a_head(), row = kv.head * n;
    if (n <= kFewRows && layer.block_size % kLanes == 0 && D % kLanes == 0) {
        const Places places(layer, tile, kv);
        const Places later = kTilesAhead > 0 ? Places(layer, tile, later_than(tile, kv)) : places;
        return attend_rows(room, StoredKeys<T>(layer, places, later),
                           StoredValues<T>(layer, places, later), result, D, row, n, 0, kTile);
    }
    const Range all{kv.first, kv.first + kTile};
    load_keys<T>(layer, tile, kv, all, room.keys);
    load_values<T>(layer, tile, kv, all, room.values);
    attend_rows(room, LoadedKeys{room.keys}, LoadedValues{room.values, padded(D)}, result, D, row,
                n, 0, kTile);
}

// A tile at an edge, where each token sees a part of its own: all of it together is `seen`.
template <typename T>
void attend_edge_tile(const KvLayer& layer, const QueryTile& tile, KvTile kv, Range seen,
                      const Room& room, const SegmentResult& result) {
    const std::size_t D = layer.head_dim;
    load_keys<T>(layer, tile, kv, seen, room.keys);
    load_values<T>(layer, tile, kv, seen, room.values);
    for (std::size_t token = 0; token < tile.n_tokens; ++token) {
        const Range part = visible_to(tile, token, {kv.first, kv.first + kTile});
        if (part.begin < part.end)
            attend_rows(room, LoadedKeys{room.keys}, LoadedValues{room.values, padded(D)}, result,
                        D, kv.head * tile.rows_a_head() + token * tile.group_size,
                        tile.group_size, part.begin - kv.first, part.end - kv.first);
    }
}

template <typename T>
void attend_segment(const KvLayer& layer, const QueryTile& tile, Range range, float* scratch,
                    const SegmentResult& result) {
    const std::size_t last = tile.n_tokens - 1;
    const Room room(scratch, tile.n_rows(), padded(layer.head_dim));
    begin_rows(tile, layer.head_dim, room, result);
    const std::size_t visible_end = tile.first_position + tile.n_tokens;
    const std::size_t end = visible_end < range.end ? visible_end : range.end;
    for (std::size_t at = visible_to(tile, 0, range).begin; at < end;) {
        const std::size_t first = at / kTile * kTile, next = first + kTile;
        const Range whole{first, next}, seen{at, next < end ? next : end};
        const bool is_whole = visible_to(tile, 0, whole).end == next &&
                              visible_to(tile, last, whole).begin == first;
        // Head after head of the same positions: neighbours in memory.
        for (std::size_t head = 0; head < tile.n_kv_heads; ++head)
            if (is_whole)
                attend_whole_tile<T>(layer, tile, {first, head}, room, result);
            else
                attend_edge_tile<T>(layer, tile, {first, head}, seen, room, result);
        at = next;
    }
    for (std::size_t row = 0; row < tile.n_rows(); ++row)
        result.weights[row] = sum_lanes(load(room.weights + row * 16));
}

void attend_any_format(const KvLayer& layer, const QueryTile& tile, Range range, float* scratch,
                       const SegmentResult& result) {
    switch (layer.format) {
        case KvFormat::float32: return attend_segment<float>(layer, tile, range, scratch, result);
        case KvFormat::float16:
            return attend_segment<std::uint16_t>(layer, tile, range, scratch, result);
        case KvFormat::int8:
            return attend_segment<std::int8_t>(layer, tile, range, scratch, result);
    }
}

}  // namespace
}  // namespace sirocco
