// Sums over the rows of a sparse matrix on a CPU, on all threads that XLA has; `abkd_jax.aggregate.native` builds and
// calls them. Every row is summed by one thread in the order of its entries, product and sum rounded apart (no fused
// multiply-add): the numbers are those of XLA's own CSR kernel to the bit, for any number of threads.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;
using FloatsOut = ffi::ResultBuffer<ffi::F32>;

namespace {

constexpr int64_t kChunks = 64;        // per call: rows differ in length, so that threads take small pieces in turn
constexpr int64_t kAhead = 8;          // entries: the rows of x that these name are fetched meanwhile
constexpr int64_t kLeastWork = 16384;  // multiply-adds; a smaller call ends before another thread has woken

// Calls `work(begin, end)` for chunks of [0, count). The caller takes chunks like the other threads and waits only for
// chunks that have begun, so that no call waits for a thread that is itself waiting.
template <typename Work>
void InParallel(ffi::ThreadPool& pool, int64_t count, int64_t operations, const Work& work) {
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable ended;
  };
  const int64_t chunk = std::max<int64_t>(1, (count + kChunks - 1) / kChunks);
  const int64_t chunks = (count + chunk - 1) / chunk;
  const int64_t helpers = operations < kLeastWork ? 0 : std::min<int64_t>(pool.num_threads(), chunks) - 1;
  if (helpers <= 0) return work(int64_t{0}, count);
  auto progress = std::make_shared<Progress>();
  auto take = [progress, chunks, chunk, count, &work] {  // one that begins late finds no chunk and never reads `work`
    int64_t taken = 0;
    for (int64_t i; (i = progress->next.fetch_add(1)) < chunks; ++taken) {
      work(i * chunk, std::min(count, (i + 1) * chunk));
    }
    if (taken && progress->done.fetch_add(taken) + taken == chunks) {
      std::lock_guard<std::mutex> lock(progress->mutex);
      progress->ended.notify_all();
    }
  };
  for (int64_t i = 0; i < helpers; ++i) {
    auto helper = take;
    pool.Schedule(std::move(helper));
  }
  take();
  std::unique_lock<std::mutex> lock(progress->mutex);
  progress->ended.wait(lock, [&] { return progress->done.load() == chunks; });
}

// L floats that the compiler keeps in one or more registers; unaligned.
template <int L>
struct Lanes {
  typedef float type __attribute__((vector_size(4 * L), aligned(4), may_alias));
};
template <>
struct Lanes<1> {
  typedef float type;
};

struct Matrix {
  const int32_t *row_ptr, *cols;
  const int32_t* order;  // where the values of the entries are; null: at the entries themselves
  const float *values, *x;
  float* out;
  int64_t rows, entries, heads, width;
};

// Sums B neighbouring blocks of L floats of one row; a block lies within one head.
template <int L, int B>
void SumBlocks(const Matrix& m, int64_t row, int64_t lane) {
  using V = typename Lanes<L>::type;
  const int64_t stride = m.heads * m.width;
  int64_t head[B];
  V sum[B];
  for (int b = 0; b < B; ++b) head[b] = (lane + b * L) / m.width, sum[b] = V{};
  for (int64_t e = m.row_ptr[row]; e < m.row_ptr[row + 1]; ++e) {
    if (e + kAhead < m.entries) {
      const float* later = m.x + m.cols[e + kAhead] * stride + lane;
#pragma GCC unroll 8
      for (int b = 0; b < B * L; b += 16) __builtin_prefetch(later + b);
    }
    const float* values = m.values + (m.order ? m.order[e] : e) * m.heads;
    const V* from = reinterpret_cast<const V*>(m.x + m.cols[e] * stride + lane);
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) sum[b] += values[head[b]] * from[b];
  }
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) reinterpret_cast<V*>(m.out + row * stride + lane)[b] = sum[b];
}

template <int L, int B = 8>
void SumLast(const Matrix& m, int64_t row, int64_t lane, int64_t blocks) {
  if constexpr (B > 0) {
    if (blocks == B) return SumBlocks<L, B>(m, row, lane);
    SumLast<L, B - 1>(m, row, lane, blocks);
  }
}

template <int L>
void SumRows(const Matrix& m, int64_t begin, int64_t end) {
  const int64_t blocks = m.heads * m.width / L;
  for (int64_t row = begin; row < end; ++row) {
    int64_t b = 0;
    for (; b + 8 <= blocks; b += 8) SumBlocks<L, 8>(m, row, b * L);
    SumLast<L>(m, row, b * L, blocks - b);
  }
}

// Calls `run` with the largest number of lanes that divides the width.
template <typename Run>
void ByWidth(int64_t width, const Run& run) {
  if (width % 16 == 0) return run(std::integral_constant<int, 16>());
  if (width % 8 == 0) return run(std::integral_constant<int, 8>());
  if (width % 4 == 0) return run(std::integral_constant<int, 4>());
  run(std::integral_constant<int, 1>());
}

ffi::Error Sums(ffi::ThreadPool& pool, const Ints& row_ptr, const Ints& cols, const int32_t* order,
                const Floats& values, const Floats& x, FloatsOut& out) {
  const Matrix m{row_ptr.typed_data(), cols.typed_data(),        order,
                 values.typed_data(),  x.typed_data(),           out->typed_data(),
                 row_ptr.dimensions()[0] - 1, cols.dimensions()[0], x.dimensions()[1], x.dimensions()[2]};
  ByWidth(m.width, [&](auto lanes) {
    InParallel(pool, m.rows, m.entries * m.heads * m.width,
               [m](int64_t begin, int64_t end) { SumRows<decltype(lanes)::value>(m, begin, end); });
  });
  return ffi::Error::Success();
}

// The sums of the rows; the values in the order of the entries.
ffi::Error RowSums(ffi::ThreadPool pool, Ints row_ptr, Ints cols, Floats values, Floats x, FloatsOut out) {
  return Sums(pool, row_ptr, cols, nullptr, values, x, out);
}

// The same, with the value of entry e at order[e]: for a transpose, whose values stay where they are.
ffi::Error OrderedRowSums(ffi::ThreadPool pool, Ints row_ptr, Ints cols, Ints order, Floats values, Floats x,
                          FloatsOut out) {
  return Sums(pool, row_ptr, cols, order.typed_data(), values, x, out);
}

// <a[rows[e], h], b[cols[e], h]> for every entry and head.
ffi::Error EdgeDots(ffi::ThreadPool pool, Ints rows, Ints cols, Floats a, Floats b, FloatsOut out) {
  const int64_t entries = rows.dimensions()[0], heads = a.dimensions()[1], width = a.dimensions()[2];
  const int32_t *row = rows.typed_data(), *col = cols.typed_data();
  const float *left = a.typed_data(), *right = b.typed_data();
  float* to = out->typed_data();
  ByWidth(width, [&](auto lanes) {
    constexpr int L = decltype(lanes)::value;
    using V = typename Lanes<L>::type;
    InParallel(pool, entries, entries * heads * width, [=](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        if (e + kAhead < entries) {
          for (int64_t j = 0; j < heads * width; j += 16) {
            __builtin_prefetch(right + col[e + kAhead] * heads * width + j);
          }
        }
        for (int64_t h = 0; h < heads; ++h) {
          const V* p = reinterpret_cast<const V*>(left + (row[e] * heads + h) * width);
          const V* q = reinterpret_cast<const V*>(right + (col[e] * heads + h) * width);
          V sum{};
          for (int64_t j = 0; j < width / L; ++j) sum += p[j] * q[j];
          float total = 0;
          for (int l = 0; l < L; ++l) total += reinterpret_cast<const float*>(&sum)[l];
          to[e * heads + h] = total;
        }
      }
    });
  });
  return ffi::Error::Success();
}

// The largest value of each row and head; minus infinity without entries. A NaN stays.
ffi::Error RowMaxima(ffi::ThreadPool pool, Ints row_ptr, Floats values, FloatsOut out) {
  const int64_t rows = row_ptr.dimensions()[0] - 1, heads = values.dimensions()[1];
  const int32_t* ptr = row_ptr.typed_data();
  const float* from = values.typed_data();
  float* to = out->typed_data();
  InParallel(pool, rows, values.element_count(), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* best = to + row * heads;
      std::fill(best, best + heads, -std::numeric_limits<float>::infinity());
      for (int64_t e = ptr[row]; e < ptr[row + 1]; ++e) {
        for (int64_t h = 0; h < heads; ++h) {
          const float value = from[e * heads + h];
          best[h] = best[h] >= value || best[h] != best[h] ? best[h] : value;
        }
      }
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    AbkdRowSums, RowSums,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Ints>().Arg<Ints>().Arg<Floats>().Arg<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(AbkdOrderedRowSums, OrderedRowSums,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Ints>()
                                  .Arg<Ints>()
                                  .Arg<Ints>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    AbkdEdgeDots, EdgeDots,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Ints>().Arg<Ints>().Arg<Floats>().Arg<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(AbkdRowMaxima, RowMaxima,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Ints>().Arg<Floats>().Ret<Floats>());
