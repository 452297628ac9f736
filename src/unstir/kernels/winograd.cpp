// The linear maps of Winograd's convolution F(4x4, 3x3), each y = M x M^T for every tile and channel.
//
// Images are (batch, height, width, channels) and kernels (outputs, 3, 3, inputs), channels fastest. Tiles are
// (36, count, channels): each of a tile's 36 values is a matrix of its own, to be multiplied by that of the kernel.
// Images are cut into squares of 4x4 outputs; where a tile reaches beyond an image it holds zeros.

#include "numbers.h"

namespace {

constexpr int64_t LANES = 16;
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));

inline vec read(const float* from) { return *reinterpret_cast<const vec*>(from); }
inline void write(float* to, vec value) { *reinterpret_cast<vec*>(to) = value; }

// Lavin and Gray 2016, section 4.3: B^T of the input, G of the kernel, A^T of the output.
struct Input {
    static constexpr int rows = 6, columns = 6;
    static constexpr float at[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                                       {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
};
struct Kernel {
    static constexpr int rows = 6, columns = 3;
    static constexpr float at[6][3] = {{1 / 4.f, 0, 0},
                                       {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                       {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                       {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                       {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                       {0, 0, 1}};
};
struct Output {
    static constexpr int rows = 4, columns = 6;
    static constexpr float at[4][6] = {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
};

// The matrix M, or its transpose, with which the gradient goes the other way.
template <class M, bool TRANSPOSED>
struct Map {
    static constexpr int rows = TRANSPOSED ? M::columns : M::rows, columns = TRANSPOSED ? M::rows : M::columns;
    static constexpr float at(int i, int j) { return TRANSPOSED ? M::at[j][i] : M::at[i][j]; }
};

template <class M>
inline void transform(const vec (&x)[M::columns][M::columns], vec (&y)[M::rows][M::rows]) {
    vec half[M::rows][M::columns];
#pragma GCC unroll 8
    for (int i = 0; i < M::rows; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < M::columns; ++j) {
            vec sum = {};
#pragma GCC unroll 8
            for (int k = 0; k < M::columns; ++k)
                if (M::at(i, k) != 0) sum += M::at(i, k) * x[k][j];
            half[i][j] = sum;
        }
#pragma GCC unroll 8
    for (int i = 0; i < M::rows; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < M::rows; ++j) {
            vec sum = {};
#pragma GCC unroll 8
            for (int k = 0; k < M::columns; ++k)
                if (M::at(j, k) != 0) sum += M::at(j, k) * half[i][k];
            y[i][j] = sum;
        }
}

struct Images {
    int64_t batch, height, width, channels;
    int64_t down() const { return (height + 3) / 4; }
    int64_t across() const { return (width + 3) / 4; }
    int64_t tiles() const { return batch * down() * across(); }
    bool holds(int64_t y, int64_t x) const { return y >= 0 && y < height && x >= 0 && x < width; }
    int64_t place(int64_t b, int64_t y, int64_t x) const { return ((b * height + y) * width + x) * channels; }
};

// Tiles from squares of images, which begin at OFFSET from the tile's 4x4 outputs.
template <class M, int OFFSET>
void to_tiles(const float* x, float* tiles, Images images) {
    const int64_t channels = images.channels, across = images.across(), stride = images.tiles() * channels;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < images.batch * images.down(); ++row)
        for (int64_t column = 0; column < across; ++column) {
            const int64_t b = row / images.down(), top = 4 * (row % images.down()) + OFFSET, left = 4 * column + OFFSET;
            for (int64_t c = 0; c < channels; c += LANES) {
                vec square[M::columns][M::columns], tile[6][6];
                for (int i = 0; i < M::columns; ++i)
                    for (int j = 0; j < M::columns; ++j)
                        square[i][j] = images.holds(top + i, left + j) ? read(x + images.place(b, top + i, left + j) + c)
                                                                       : vec{};
                transform<M>(square, tile);
                float* to = tiles + (row * across + column) * channels + c;
                for (int i = 0; i < 6; ++i)
                    for (int j = 0; j < 6; ++j) write(to + (6 * i + j) * stride, tile[i][j]);
            }
        }
}

// Images from tiles: the sum of the squares that overlap, plus a bias if there is one.
template <class M, int OFFSET>
void from_tiles(const float* tiles, const float* bias, float* y, Images images) {
    const int64_t channels = images.channels, across = images.across(), stride = images.tiles() * channels;
    constexpr bool overlap = M::rows > 4;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < images.batch; ++b) {
        if (overlap) std::memset(y + images.place(b, 0, 0), 0, sizeof(float) * images.place(1, 0, 0));
        for (int64_t square = 0; square < images.down() * across; ++square) {
            const int64_t top = 4 * (square / across) + OFFSET, left = 4 * (square % across) + OFFSET;
            for (int64_t c = 0; c < channels; c += LANES) {
                vec tile[6][6], values[M::rows][M::rows];
                const float* from = tiles + (b * images.down() * across + square) * channels + c;
                for (int i = 0; i < 6; ++i)
                    for (int j = 0; j < 6; ++j) tile[i][j] = read(from + (6 * i + j) * stride);
                transform<M>(tile, values);
                const vec shift = bias ? read(bias + c) : vec{};
                for (int i = 0; i < M::rows; ++i)
                    for (int j = 0; j < M::rows; ++j)
                        if (images.holds(top + i, left + j)) {
                            float* to = y + images.place(b, top + i, left + j) + c;
                            write(to, values[i][j] + (overlap ? read(to) : shift));
                        }
            }
        }
    }
}

}  // namespace

extern "C" void winograd_input(const float* x, float* tiles, const Images* images) {
    to_tiles<Map<Input, false>, -1>(x, tiles, *images);
}

extern "C" void winograd_input_gradient(const float* tiles, float* dx, const Images* images) {
    from_tiles<Map<Input, true>, -1>(tiles, nullptr, dx, *images);
}

extern "C" void winograd_output(const float* tiles, const float* bias, float* y, const Images* images) {
    from_tiles<Map<Output, false>, 0>(tiles, bias, y, *images);
}

extern "C" void winograd_output_gradient(const float* dy, float* tiles, const Images* images) {
    to_tiles<Map<Output, true>, 0>(dy, tiles, *images);
}

extern "C" void winograd_kernel(const float* kernel, float* tiles, int64_t outputs, int64_t inputs) {
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < outputs; ++o)
        for (int64_t c = 0; c < inputs; c += LANES) {
            vec square[3][3], tile[6][6];
            for (int i = 0; i < 9; ++i) square[i / 3][i % 3] = read(kernel + (9 * o + i) * inputs + c);
            transform<Map<Kernel, false>>(square, tile);
            for (int i = 0; i < 36; ++i) write(tiles + (i * outputs + o) * inputs + c, tile[i / 6][i % 6]);
        }
}

extern "C" void winograd_kernel_gradient(const float* tiles, float* kernel, int64_t outputs, int64_t inputs) {
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < outputs; ++o)
        for (int64_t c = 0; c < inputs; c += LANES) {
            vec tile[6][6], square[3][3];
            for (int i = 0; i < 36; ++i) tile[i / 6][i % 6] = read(tiles + (i * outputs + o) * inputs + c);
            transform<Map<Kernel, true>>(tile, square);
            for (int i = 0; i < 9; ++i) write(kernel + (9 * o + i) * inputs + c, square[i / 3][i % 3]);
        }
}
