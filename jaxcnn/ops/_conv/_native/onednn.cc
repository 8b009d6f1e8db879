// Convolution's three maps by oneDNN, as handlers of XLA's foreign function interface.
//
//     correlate        y   = x * k                x (N, *spatial, C_in), k (*size, C_in/groups, C_out)
//     input_gradient   dx  from dy and k          y (N, *out, C_out)
//     kernel_gradient  dk  from x and dy
//
// Attributes, an entry per spatial axis: strides s, lo (zeros before x), dilation d; and groups. Sizes come from the
// arrays, and the zeros after x from both:  hi = (out - 1) s + (k - 1) d + 1 - H - lo,  below 0 where a stride leaves
// rows over.
//
// A call is cut into pieces, each computed by one thread of XLA's pool: images, and rows of the first spatial axis where
// there are fewer images than threads. oneDNN's own threads would fight with XLA's. Partial dk are added in the order of
// their pieces, so that the same number of threads gives the same bits.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

extern "C" void omp_set_num_threads(int);  // of the OpenMP that oneDNN is linked with
extern "C" int omp_get_max_threads(void);

namespace {

namespace ffi = xla::ffi;
using dnnl::memory;
using Sizes = memory::dims;
using Span = ffi::Span<const int64_t>;

enum Map { CORRELATE, INPUT_GRADIENT, KERNEL_GRADIENT };

constexpr size_t PRIMITIVES = 512;           // kept at most
constexpr size_t KEPT_BYTES = size_t{1} << 26;  // of scratch, per thread and use
constexpr int64_t PARTIAL_BYTES = int64_t{1} << 28;  // of all partial dk
constexpr int64_t WORTH_A_THREAD = 1 << 17;  // multiply-adds

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// One oneDNN thread in this scope; the setting belongs to the calling thread, which may be Python's.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Memory for one call, kept by its thread for the next unless it is large.
class Scratch {
 public:
  Scratch(size_t bytes, int use) : kept_(kept(use)) {
    bytes = (bytes + 4095) / 4096 * 4096;
    if (kept_.bytes < bytes) {
      std::free(kept_.start);
      kept_.start = std::aligned_alloc(4096, bytes);
      kept_.bytes = kept_.start ? bytes : 0;
      if (!kept_.start) throw std::bad_alloc();
    }
  }
  ~Scratch() {
    if (kept_.bytes > KEPT_BYTES) {
      std::free(kept_.start);
      kept_.start = nullptr;
      kept_.bytes = 0;
    }
  }
  void* data() const { return kept_.start; }

 private:
  struct Kept {
    void* start = nullptr;
    size_t bytes = 0;
    ~Kept() { std::free(start); }
  };
  static Kept& kept(int use) {
    static thread_local Kept all[3];
    return all[use];
  }
  Kept& kept_;
};

// What a call computes, the first spatial axis first.
struct Geometry {
  int64_t images, c_in, c_out, groups;
  Sizes in, out, size, strides, lo, dilation;
  memory::data_type of_x, of_kernel, of_y;

  int64_t span(size_t axis) const { return (size[axis] - 1) * dilation[axis] + 1; }
  int64_t hi(size_t axis) const { return (out[axis] - 1) * strides[axis] + span(axis) - in[axis] - lo[axis]; }
};

// Images and rows that one thread computes, as a geometry of its own.
struct Piece {
  int64_t first_image, first_in, first_out;  // rows
  Geometry geometry;
  int64_t hi;  // of the first axis
};

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }

Piece whole(const Geometry& g) { return {0, 0, 0, g, g.hi(0)}; }

Piece of_images(const Geometry& g, int64_t first, int64_t stop) {
  Piece piece = whole(g);
  piece.first_image = first;
  piece.geometry.images = stop - first;
  return piece;
}

// Rows of y of one image, with the rows of x that they see; none where they see none.
std::optional<Piece> of_out_rows(const Geometry& g, int64_t image, int64_t first, int64_t stop) {
  int64_t begin = first * g.strides[0] - g.lo[0], end = (stop - 1) * g.strides[0] + g.span(0) - g.lo[0];
  int64_t x_first = std::max<int64_t>(0, begin), x_stop = std::min(g.in[0], end);
  if (x_first >= x_stop) return std::nullopt;
  Piece piece = of_images(g, image, image + 1);
  piece.first_in = x_first, piece.first_out = first;
  piece.geometry.in[0] = x_stop - x_first, piece.geometry.out[0] = stop - first;
  piece.geometry.lo[0] = x_first - begin, piece.hi = end - x_stop;
  return piece;
}

// Rows of dx of one image, with the rows of dy that reach them; none where oneDNN has no padding for that.
std::optional<Piece> of_in_rows(const Geometry& g, int64_t image, int64_t first, int64_t stop) {
  int64_t s = g.strides[0], lo = g.lo[0];
  int64_t begin = std::max<int64_t>(0, std::min(ceil_div(first + lo - g.span(0) + 1, s), (first + lo) / s));
  int64_t end = std::min(g.out[0], (stop - 1 + lo) / s + 1);
  int64_t before = first + lo - begin * s, after = (end - 1) * s + g.span(0) - lo - stop;
  if (begin >= end || before < 0 || after <= -s) return std::nullopt;
  Piece piece = of_images(g, image, image + 1);
  piece.first_in = first, piece.first_out = begin;
  piece.geometry.in[0] = stop - first, piece.geometry.out[0] = end - begin;
  piece.geometry.lo[0] = before, piece.hi = after;
  return piece;
}

int64_t product(const Sizes& sizes) {
  int64_t all = 1;
  for (int64_t size : sizes) all *= size;
  return all;
}

std::vector<Piece> pieces_of(Map map, const Geometry& g, int64_t threads) {
  int64_t terms = g.images * product(g.out) * g.c_out * product(g.size) * (g.c_in / g.groups);
  threads = std::max<int64_t>(1, std::min(threads, terms / WORTH_A_THREAD));
  if (map == KERNEL_GRADIENT) {
    int64_t bytes = product(g.size) * (g.c_in / g.groups) * g.c_out * 4;
    threads = std::min(threads, 1 + PARTIAL_BYTES / bytes);
  }
  std::vector<Piece> pieces;
  if (threads <= g.images) {
    for (int64_t t = 0; t < threads; t++) pieces.push_back(of_images(g, g.images * t / threads, g.images * (t + 1) / threads));
    return pieces;
  }
  int64_t rows = map == INPUT_GRADIENT ? g.in[0] : g.out[0];
  int64_t parts = std::min(rows, ceil_div(threads, g.images));
  for (int64_t image = 0; image < g.images; image++) {
    for (int64_t part = 0; part < parts; part++) {
      int64_t first = rows * part / parts, stop = rows * (part + 1) / parts;
      auto piece = map == INPUT_GRADIENT ? of_in_rows(g, image, first, stop) : of_out_rows(g, image, first, stop);
      if (!piece) return {whole(g)};
      pieces.push_back(*piece);
    }
  }
  return pieces;
}

// A compiled convolution, and what brings the kernel from its layout to the one that oneDNN wants, or back.
struct Primitive {
  memory::desc x, y, kernel, wanted, of_scratch, of_reorder_scratch;
  dnnl::primitive convolution, reorder;
  bool reorders = false;
  size_t scratch_bytes = 0;
};

std::shared_ptr<Primitive> compiled(Map map, const Piece& piece) {
  const Geometry& g = piece.geometry;
  size_t axes = g.in.size();
  auto tag = axes == 1 ? memory::format_tag::nwc : axes == 2 ? memory::format_tag::nhwc : memory::format_tag::ndhwc;
  auto with_channels = [&](int64_t channels, const Sizes& spatial) {
    Sizes sizes{g.images, channels};
    sizes.insert(sizes.end(), spatial.begin(), spatial.end());
    return sizes;
  };
  // the kernel (*size, C_in/groups, C_out) as (groups, C_out/groups, C_in/groups, *size), or without groups
  Sizes sizes{g.c_out / g.groups, g.c_in / g.groups}, steps{1, g.c_out};
  for (size_t axis = 0; axis < axes; axis++) {
    sizes.push_back(g.size[axis]);
    int64_t step = g.c_out * (g.c_in / g.groups);
    for (size_t later = axis + 1; later < axes; later++) step *= g.size[later];
    steps.push_back(step);
  }
  if (g.groups > 1) {
    sizes.insert(sizes.begin(), g.groups);
    steps.insert(steps.begin(), g.c_out / g.groups);
  }
  Sizes dilation, hi{piece.hi};
  for (int64_t d : g.dilation) dilation.push_back(d - 1);
  for (size_t axis = 1; axis < axes; axis++) hi.push_back(g.hi(axis));

  auto made = std::make_shared<Primitive>();
  made->x = memory::desc(with_channels(g.c_in, g.in), g.of_x, tag);
  made->y = memory::desc(with_channels(g.c_out, g.out), g.of_y, tag);
  made->kernel = memory::desc(sizes, g.of_kernel, steps);
  memory::desc any(sizes, g.of_kernel, memory::format_tag::any);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  auto direct = dnnl::algorithm::convolution_direct;
  auto keep = [&](const auto& description, const dnnl::primitive& convolution, const memory::desc& wanted) {
    made->convolution = convolution;
    made->wanted = wanted;
    made->of_scratch = description.scratchpad_desc();
  };
  // the backward maps are described with the forward one; the gradient may be wider than what it is of
  auto narrow = map == INPUT_GRADIENT ? g.of_kernel : g.of_x;
  auto forward = [&](dnnl::prop_kind kind) {
    bool is_value = map == CORRELATE;
    memory::desc x = is_value ? made->x : memory::desc(with_channels(g.c_in, g.in), narrow, tag);
    memory::desc y = is_value ? made->y : memory::desc(with_channels(g.c_out, g.out), narrow, tag);
    memory::desc k = is_value ? any : memory::desc(sizes, narrow, memory::format_tag::any);
    return dnnl::convolution_forward::primitive_desc(engine(), kind, direct, x, k, y, g.strides, dilation, g.lo, hi, attributes);
  };
  if (map == CORRELATE) {
    auto description = forward(dnnl::prop_kind::forward_inference);
    keep(description, dnnl::convolution_forward(description), description.weights_desc());
  } else if (map == INPUT_GRADIENT) {
    dnnl::convolution_backward_data::primitive_desc description(
        engine(), direct, made->x, any, made->y, g.strides, dilation, g.lo, hi, forward(dnnl::prop_kind::forward_training), attributes);
    keep(description, dnnl::convolution_backward_data(description), description.weights_desc());
  } else {
    dnnl::convolution_backward_weights::primitive_desc description(
        engine(), direct, made->x, any, made->y, g.strides, dilation, g.lo, hi, forward(dnnl::prop_kind::forward_training), attributes);
    keep(description, dnnl::convolution_backward_weights(description), description.diff_weights_desc());
  }
  made->reorders = made->wanted != made->kernel;
  made->scratch_bytes = made->of_scratch.get_size();
  if (made->reorders) {
    const auto& from = map == KERNEL_GRADIENT ? made->wanted : made->kernel;
    const auto& to = map == KERNEL_GRADIENT ? made->kernel : made->wanted;
    dnnl::reorder::primitive_desc description(engine(), from, engine(), to, attributes);
    made->reorder = dnnl::reorder(description);
    made->of_reorder_scratch = description.scratchpad_desc();
    made->scratch_bytes = std::max(made->scratch_bytes, made->of_reorder_scratch.get_size());
  }
  return made;
}

std::shared_ptr<Primitive> cached(Map map, const Piece& piece) {
  static std::mutex mutex;
  static std::map<std::vector<int64_t>, std::shared_ptr<Primitive>> primitives;
  const Geometry& g = piece.geometry;
  std::vector<int64_t> key{map, g.images, g.c_in, g.c_out, g.groups, piece.hi,
                           int64_t(g.of_x), int64_t(g.of_kernel), int64_t(g.of_y)};
  for (const Sizes* sizes : {&g.in, &g.out, &g.size, &g.strides, &g.lo, &g.dilation}) key.insert(key.end(), sizes->begin(), sizes->end());
  std::lock_guard<std::mutex> lock(mutex);
  auto found = primitives.find(key);
  if (found != primitives.end()) return found->second;
  auto made = compiled(map, piece);
  if (primitives.size() >= PRIMITIVES) primitives.clear();
  return primitives[key] = made;
}

void execute(Map map, const Primitive& p, void* x, void* kernel, void* y) {
  dnnl::stream stream(engine());
  Scratch scratch(p.scratch_bytes + 1, 0), reordered(p.reorders ? p.wanted.get_size() : 1, 1);
  memory given(p.kernel, engine(), kernel), wanted(p.wanted, engine(), p.reorders ? reordered.data() : kernel);
  auto reorder = [&](memory from, memory to) {
    p.reorder.execute(stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to},
                               {DNNL_ARG_SCRATCHPAD, memory(p.of_reorder_scratch, engine(), scratch.data())}});
  };
  if (p.reorders && map != KERNEL_GRADIENT) reorder(given, wanted);
  int of_x = map == INPUT_GRADIENT ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC;
  int of_kernel = map == KERNEL_GRADIENT ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS;
  int of_y = map == CORRELATE ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST;
  p.convolution.execute(stream, {{of_x, memory(p.x, engine(), x)}, {of_kernel, wanted}, {of_y, memory(p.y, engine(), y)},
                                 {DNNL_ARG_SCRATCHPAD, memory(p.of_scratch, engine(), scratch.data())}});
  if (p.reorders && map == KERNEL_GRADIENT) reorder(wanted, given);
  stream.wait();
}

// f(0), ..., f(count - 1) over XLA's pool. The caller works too, and waits only for what has begun: it cannot deadlock.
// What f throws is thrown here.
void in_parallel(ffi::ThreadPool& pool, int64_t count, std::function<void(int64_t)> f) {
  struct Shared {
    std::function<void(int64_t)> f;
    int64_t count;
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all_done;
    std::exception_ptr thrown;
  };
  auto shared = std::make_shared<Shared>();
  shared->f = std::move(f);
  shared->count = count;
  auto work = [shared] {
    for (int64_t i; (i = shared->next++) < shared->count;) {
      try {
        shared->f(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->thrown = std::current_exception();
      }
      if (++shared->done == shared->count) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->all_done.notify_all();
      }
    }
  };
  for (int64_t i = 1; i < count; i++) pool.Schedule([work] { work(); });
  work();
  for (int spin = 0; spin < 20000 && shared->done != count; spin++) __builtin_ia32_pause();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
  if (shared->thrown) std::rethrow_exception(shared->thrown);
}

memory::data_type type_of(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32: return memory::data_type::f32;
    case ffi::DataType::BF16: return memory::data_type::bf16;
    case ffi::DataType::F16: return memory::data_type::f16;
    default: throw std::invalid_argument("float32, bfloat16 and float16 only");
  }
}

template <typename X, typename Kernel, typename Y>
void convolve(Map map, ffi::ThreadPool& pool, X& x, Kernel& kernel, Y& y, Span strides, Span lo, Span dilation, int64_t groups) {
  auto of_x = x.dimensions(), of_kernel = kernel.dimensions(), of_y = y.dimensions();
  size_t axes = strides.size();
  auto sizes = [&](Span from, size_t start) { return Sizes(from.begin() + start, from.begin() + start + axes); };
  Geometry g{of_x[0], of_x.back(), of_kernel.back(), groups, sizes(of_x, 1), sizes(of_y, 1), sizes(of_kernel, 0),
             sizes(strides, 0), sizes(lo, 0), sizes(dilation, 0),
             type_of(x.element_type()), type_of(kernel.element_type()), type_of(y.element_type())};
  auto at = [](auto& array, int64_t element) {
    return static_cast<char*>(array.untyped_data()) + element * ffi::ByteWidth(array.element_type());
  };
  if (x.element_count() == 0 || y.element_count() == 0) {  // an empty batch: only dk has anything, zeros
    if (map == KERNEL_GRADIENT) std::memset(kernel.untyped_data(), 0, kernel.size_bytes());
    return;
  }
  auto pieces = pieces_of(map, g, pool.num_threads());
  int64_t of_row_in = g.c_in * product(g.in) / g.in[0], of_row_out = g.c_out * product(g.out) / g.out[0];
  int64_t in_kernel = kernel.element_count(), partials = map == KERNEL_GRADIENT ? pieces.size() - 1 : 0;
  Scratch scratch(partials * in_kernel * sizeof(float) + 1, 2);
  float* partial = static_cast<float*>(scratch.data());
  in_parallel(pool, pieces.size(), [&](int64_t number) {
    OneThread one;
    const Piece& piece = pieces[number];
    void* into = map == KERNEL_GRADIENT && number ? partial + (number - 1) * in_kernel : kernel.untyped_data();
    execute(map, *cached(map, piece), at(x, (piece.first_image * g.in[0] + piece.first_in) * of_row_in), into,
            at(y, (piece.first_image * g.out[0] + piece.first_out) * of_row_out));
  });
  if (!partials) return;
  float* sum = static_cast<float*>(kernel.untyped_data());  // dk is float32
  int64_t slices = std::max<int64_t>(1, std::min<int64_t>(pool.num_threads(), in_kernel * partials / WORTH_A_THREAD));
  in_parallel(pool, slices, [&](int64_t slice) {
    for (int64_t number = 0; number < partials; number++)
      for (int64_t i = in_kernel * slice / slices, stop = in_kernel * (slice + 1) / slices; i < stop; i++) sum[i] += partial[number * in_kernel + i];
  });
}

template <typename... Arguments>
ffi::Error reported(Map map, Arguments&&... arguments) {
  try {
    convolve(map, arguments...);
    return ffi::Error::Success();
  } catch (const dnnl::error& error) {
    return ffi::Error::Internal(std::string("jaxcnn's oneDNN: ") + error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("jaxcnn's oneDNN: ") + error.what());
  }
}

using Array = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

ffi::Error correlate(ffi::ThreadPool pool, Array x, Array kernel, Result y, Span s, Span lo, Span d, int64_t groups) {
  return reported(CORRELATE, pool, x, kernel, *y, s, lo, d, groups);
}
ffi::Error input_gradient(ffi::ThreadPool pool, Array dy, Array kernel, Result dx, Span s, Span lo, Span d, int64_t groups) {
  return reported(INPUT_GRADIENT, pool, *dx, kernel, dy, s, lo, d, groups);
}
ffi::Error kernel_gradient(ffi::ThreadPool pool, Array x, Array dy, Result dk, Span s, Span lo, Span d, int64_t groups) {
  return reported(KERNEL_GRADIENT, pool, x, *dk, dy, s, lo, d, groups);
}

}  // namespace

#define JAXCNN_HANDLER(map)                                                                            \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcnn_onednn_##map, map,                                              \
                                ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>()      \
                                    .Ret<ffi::AnyBuffer>().Attr<Span>("strides").Attr<Span>("lo")      \
                                    .Attr<Span>("dilation").Attr<int64_t>("groups"))

JAXCNN_HANDLER(correlate);
JAXCNN_HANDLER(input_gradient);
JAXCNN_HANDLER(kernel_gradient);

// Which of the narrow floats this processor multiplies itself: bit 0 bfloat16, bit 1 float16.
extern "C" __attribute__((visibility("default"))) int jaxcnn_onednn_narrow() {
  auto has = [](dnnl::cpu_isa isa) { return (int(dnnl::get_effective_cpu_isa()) & int(isa)) == int(isa); };
  return has(dnnl::cpu_isa::avx512_core_bf16) | has(dnnl::cpu_isa::avx512_core_fp16) << 1;
}
