/* Inner loops over blocks of numbers, for one type T and one instruction set. executor.c includes this file once for each.

   K(name) gives the names. `_kernels.h`, generated from the operation table, holds ROW1 to ROW4 entries: the name of a
   row, its inputs, its rule with vectormath.h's functions, and 1 where that rule answers NaN for "ask libm", with the rule
   that does so. An output may be the same block as an input, but must not overlap one otherwise. */

#define VL ((ptrdiff_t)(VBYTES / sizeof(T)))
typedef T K(vector) __attribute__((vector_size(VBYTES), aligned(sizeof(T)), may_alias));
#define V K(vector)

#include "vectormath.h"

/* ---- elementwise rows -------------------------------------------------------------------------------------------- */

#define ASK 64 /* how many numbers are computed before libm is asked for those that are missing */

#define LOOP(SIGNATURE, LOAD, ASKS, FAST, SLOW)                                                                              \
    static void SIGNATURE {                                                                                                  \
        T *y_ = (T *)y0;                                                                                                     \
        const T *p_ = (const T *)p0, *q_ = (const T *)q0, *r_ = (const T *)r0, *s_ = (const T *)s0;                          \
        (void)p_, (void)q_, (void)r_, (void)s_;                                                                              \
        if (!(ASKS)) {                                                                                                       \
            IVDEP for (ptrdiff_t i = 0; i < n; i++) {                                                                        \
                LOAD;                                                                                                        \
                y_[i] = FAST;                                                                                                \
            }                                                                                                                \
            return;                                                                                                          \
        }                                                                                                                    \
        T part[ASK];                                                                                                         \
        for (ptrdiff_t from = 0; from < n; from += ASK) {                                                                    \
            ptrdiff_t count = n - from < ASK ? n - from : ASK;                                                               \
            int missing = 0;                                                                                                 \
            IVDEP for (ptrdiff_t j = 0; j < count; j++) {                                                                    \
                ptrdiff_t i = from + j;                                                                                      \
                LOAD;                                                                                                        \
                part[j] = FAST;                                                                                              \
            }                                                                                                                \
            for (ptrdiff_t j = 0; j < count; j++) missing |= part[j] != part[j];                                             \
            if (missing)                                                                                                     \
                for (ptrdiff_t j = 0; j < count; j++)                                                                        \
                    if (part[j] != part[j]) {                                                                                \
                        ptrdiff_t i = from + j;                                                                              \
                        LOAD;                                                                                                \
                        part[j] = SLOW;                                                                                      \
                    }                                                                                                        \
            memcpy(y_ + from, part, (size_t)count * sizeof(T));                                                              \
        }                                                                                                                    \
    }

#define SIGNATURE(name) K(name)(void *y0, const void *p0, const void *q0, const void *r0, const void *s0, ptrdiff_t n)

#define V_(a, p) const T a = p[i]
#define S_(a, p) const T a = *p

#define ROW1(name, a, ASKS, FAST, SLOW) LOOP(SIGNATURE(name##_v), V_(a, p_), ASKS, FAST, SLOW)

#define TWO(name, A, B, a, b, ASKS, FAST, SLOW) LOOP(SIGNATURE(name), A(a, p_); B(b, q_), ASKS, FAST, SLOW)
#define ROW2(name, a, b, ASKS, FAST, SLOW)                                                                                   \
    TWO(name##_vv, V_, V_, a, b, ASKS, FAST, SLOW)                                                                           \
    TWO(name##_vs, V_, S_, a, b, ASKS, FAST, SLOW)                                                                           \
    TWO(name##_sv, S_, V_, a, b, ASKS, FAST, SLOW)

#define THREE(name, A, B, C, a, b, c, ASKS, FAST, SLOW)                                                                      \
    LOOP(SIGNATURE(name), A(a, p_); B(b, q_); C(c, r_), ASKS, FAST, SLOW)
#define ROW3(name, a, b, c, ASKS, FAST, SLOW)                                                                                \
    THREE(name##_vvv, V_, V_, V_, a, b, c, ASKS, FAST, SLOW)                                                                 \
    THREE(name##_vvs, V_, V_, S_, a, b, c, ASKS, FAST, SLOW)                                                                 \
    THREE(name##_vsv, V_, S_, V_, a, b, c, ASKS, FAST, SLOW)                                                                 \
    THREE(name##_vss, V_, S_, S_, a, b, c, ASKS, FAST, SLOW)                                                                 \
    THREE(name##_svv, S_, V_, V_, a, b, c, ASKS, FAST, SLOW)                                                                 \
    THREE(name##_svs, S_, V_, S_, a, b, c, ASKS, FAST, SLOW)

#define FOUR(name, A, B, C, D, a, b, c, d, ASKS, FAST, SLOW)                                                                 \
    LOOP(SIGNATURE(name), A(a, p_); B(b, q_); C(c, r_); D(d, s_), ASKS, FAST, SLOW)
#define ROW4(name, a, b, c, d, ASKS, FAST, SLOW)                                                                             \
    FOUR(name##_vvvv, V_, V_, V_, V_, a, b, c, d, ASKS, FAST, SLOW)                                                          \
    FOUR(name##_vsvv, V_, S_, V_, V_, a, b, c, d, ASKS, FAST, SLOW)                                                          \
    FOUR(name##_vsvs, V_, S_, V_, S_, a, b, c, d, ASKS, FAST, SLOW)                                                          \
    FOUR(name##_vssv, V_, S_, S_, V_, a, b, c, d, ASKS, FAST, SLOW)                                                          \
    FOUR(name##_vsss, V_, S_, S_, S_, a, b, c, d, ASKS, FAST, SLOW)                                                          \
    FOUR(name##_vvss, V_, V_, S_, S_, a, b, c, d, ASKS, FAST, SLOW)

#include "_kernels.h"

static const kernel K(rows)[ROW_COUNT][16] = {ROW_TABLE(K)};

#undef ROW1
#undef ROW2
#undef ROW3
#undef ROW4
#undef TWO
#undef THREE
#undef FOUR
#undef V_
#undef S_

/* ---- loading what lies scattered --------------------------------------------------------------------------------- */

static void K(load_row)(T *y, const char *x, int kind, ptrdiff_t stride, ptrdiff_t n) {
    if (kind == FROM_INT) {
        const int64_t *p = (const int64_t *)x;
        for (ptrdiff_t i = 0; i < n; i++) y[i] = (T)p[i * stride];
        return;
    }
    if (kind == FROM_BOOL) {
        const uint8_t *p = (const uint8_t *)x;
        for (ptrdiff_t i = 0; i < n; i++) y[i] = (T)(p[i * stride] != 0);
        return;
    }
    const T *p = (const T *)x;
    if (stride == 1) {
        memcpy(y, p, (size_t)n * sizeof(T));
    } else if (stride == 0) {
        T value = *p;
        for (ptrdiff_t i = 0; i < n; i++) y[i] = value;
    } else {
        for (ptrdiff_t i = 0; i < n; i++) y[i] = p[i * stride];
    }
}

/* y = the elements of x over a nest of loops, one after the other; returns how many. */
static ptrdiff_t K(load)(T *y, const char *x, int kind, int ndim, const ptrdiff_t *shape, const ptrdiff_t *strides) {
    if (ndim == 0) {
        K(load_row)(y, x, kind, 1, 1);
        return 1;
    }
    if (ndim == 1) {
        K(load_row)(y, x, kind, strides[0], shape[0]);
        return shape[0];
    }
    if (strides[0] == 0 && shape[0] > 0) { /* repeat what is there: in doubling steps */
        ptrdiff_t once = K(load)(y, x, kind, ndim - 1, shape + 1, strides + 1), have = once, all = once * shape[0];
        while (have < all) {
            ptrdiff_t more = have < all - have ? have : all - have;
            memcpy(y + have, y, (size_t)more * sizeof(T));
            have += more;
        }
        return all;
    }
    ptrdiff_t size = kind == FROM_INT ? 8 : kind == FROM_BOOL ? 1 : (ptrdiff_t)sizeof(T), done = 0;
    if (ndim == 2 && kind == FROM_SAME) {
        ptrdiff_t rows = shape[0], columns = shape[1], s0 = strides[0], s1 = strides[1];
        const T *p = (const T *)x;
        if (s1 == 0) {
            for (ptrdiff_t i = 0; i < rows; i++, y += columns)
                for (ptrdiff_t j = 0; j < columns; j++) y[j] = p[i * s0];
        } else if (s0 == 1 && columns >= 8) { /* a transposed matrix: four columns of it at a time */
            ptrdiff_t i = 0;
            for (; i + 4 <= rows; i += 4) {
                T *d = y + i * columns;
                for (ptrdiff_t j = 0; j < columns; j++) {
                    const T *q = p + j * s1 + i;
                    d[j] = q[0], d[j + columns] = q[1], d[j + 2 * columns] = q[2], d[j + 3 * columns] = q[3];
                }
            }
            for (; i < rows; i++) K(load_row)(y + i * columns, (const char *)(p + i), kind, s1, columns);
        } else {
            for (ptrdiff_t i = 0; i < rows; i++, y += columns) K(load_row)(y, (const char *)(p + i * s0), kind, s1, columns);
        }
        return rows * columns;
    }
    for (ptrdiff_t i = 0; i < shape[0]; i++)
        done += K(load)(y + done, x + i * strides[0] * size, kind, ndim - 1, shape + 1, strides + 1);
    return done;
}

/* y (strided) = or += x (strided); the loops run in order, so that overlapping places of y add up */
static void K(copy)(T *y, const T *x, int ndim, const ptrdiff_t *shape, const ptrdiff_t *ys, const ptrdiff_t *xs, int add) {
    if (ndim > 1) {
        for (ptrdiff_t i = 0; i < shape[0]; i++) K(copy)(y + i * ys[0], x + i * xs[0], ndim - 1, shape + 1, ys + 1, xs + 1, add);
        return;
    }
    ptrdiff_t n = ndim ? shape[0] : 1, a = ndim ? ys[0] : 1, b = ndim ? xs[0] : 1;
    if (!add && a == 1 && b == 1) {
        memcpy(y, x, (size_t)n * sizeof(T));
    } else if (!add) {
        for (ptrdiff_t i = 0; i < n; i++) y[i * a] = x[i * b];
    } else if (a == 1 && b == 1) {
        IVDEP for (ptrdiff_t i = 0; i < n; i++) y[i] += x[i];
    } else {
        for (ptrdiff_t i = 0; i < n; i++) y[i * a] += x[i * b];
    }
}

/* ---- reductions: each adds to, or compares with, what is there --------------------------------------------------- */

typedef union {
    V v;
    T x[VBYTES / sizeof(T)];
} K(lanes);

static INLINE T K(sum_block)(const T *x, ptrdiff_t n) {
    T total = 0;
    if (n >= VL) {
        K(lanes) a;
        V s0 = *(const V *)x, s1 = {0}, s2 = {0}, s3 = {0};
        ptrdiff_t i = VL;
        for (; i + 4 * VL <= n; i += 4 * VL) {
            s0 += *(const V *)(x + i), s1 += *(const V *)(x + i + VL);
            s2 += *(const V *)(x + i + 2 * VL), s3 += *(const V *)(x + i + 3 * VL);
        }
        for (; i + VL <= n; i += VL) s1 += *(const V *)(x + i);
        a.v = (s0 + s1) + (s2 + s3);
        for (int width = VL / 2; width > 0; width /= 2)
            for (int j = 0; j < width; j++) a.x[j] += a.x[j + width];
        total = a.x[0];
        x += i, n -= i;
    }
    for (ptrdiff_t i = 0; i < n; i++) total += x[i];
    return total;
}

#define LANES 16
#define EXTREME(name, PICK)                                                                                                  \
    static INLINE T K(name##_block)(const T *x, ptrdiff_t n) {                                                               \
        T best = x[0];                                                                                                       \
        ptrdiff_t i = 0;                                                                                                     \
        if (n >= 2 * LANES) {                                                                                                \
            T a[LANES];                                                                                                      \
            memcpy(a, x, sizeof a);                                                                                          \
            for (i = LANES; i + LANES <= n; i += LANES)                                                                      \
                for (int j = 0; j < LANES; j++) a[j] = VM(PICK)(a[j], x[i + j]);                                             \
            for (int j = 0; j < LANES; j++) best = VM(PICK)(best, a[j]);                                                     \
        }                                                                                                                    \
        for (; i < n; i++) best = VM(PICK)(best, x[i]);                                                                      \
        return best;                                                                                                         \
    }
EXTREME(amax, maximum)
EXTREME(amin, minimum)

/* reduce x, of `count` rows of `length`: mode ROWS gives one number per row, COLUMNS one per column, ALL one. */
#define REDUCE(name, ROW, PICK)                                                                                              \
    static void K(name##_rows)(T * y, ptrdiff_t stride, const T *x, ptrdiff_t count, ptrdiff_t length) {                     \
        for (ptrdiff_t i = 0; i < count; i++, y += stride, x += length) {                                                    \
            T a = *y, b = ROW(x, length);                                                                                    \
            *y = PICK(a, b);                                                                                                 \
        }                                                                                                                    \
    }                                                                                                                        \
    static void K(name##_columns)(T * y, ptrdiff_t stride, const T *x, ptrdiff_t count, ptrdiff_t length) {                  \
        if (stride == 1) {                                                                                                   \
            ptrdiff_t i = 0;                                                                                                 \
            for (; i + 4 <= count; i += 4, x += 4 * length) {                                                                \
                const T *x1 = x + length, *x2 = x1 + length, *x3 = x2 + length;                                              \
                IVDEP for (ptrdiff_t j = 0; j < length; j++) {                                                               \
                    T a = PICK(x[j], x1[j]), b = PICK(x2[j], x3[j]), c = PICK(a, b);                                         \
                    y[j] = PICK(y[j], c);                                                                                    \
                }                                                                                                            \
            }                                                                                                                \
            for (; i < count; i++, x += length)                                                                              \
                IVDEP for (ptrdiff_t j = 0; j < length; j++) y[j] = PICK(y[j], x[j]);                                        \
            return;                                                                                                          \
        }                                                                                                                    \
        T part[128];                                                                                                         \
        for (ptrdiff_t from = 0; count > 0 && from < length; from += 128) {                                                  \
            ptrdiff_t n = length - from < 128 ? length - from : 128;                                                         \
            memcpy(part, x + from, (size_t)n * sizeof(T));                                                                   \
            for (ptrdiff_t i = 1; i < count; i++)                                                                            \
                IVDEP for (ptrdiff_t j = 0; j < n; j++) part[j] = PICK(part[j], x[i * length + from + j]);                   \
            for (ptrdiff_t j = 0; j < n; j++) {                                                                              \
                T *to = y + (from + j) * stride;                                                                             \
                *to = PICK(*to, part[j]);                                                                                    \
            }                                                                                                                \
        }                                                                                                                    \
    }
#define PLUS(a, b) ((a) + (b))
REDUCE(sum, K(sum_block), PLUS)
REDUCE(amax, K(amax_block), VM(maximum))
REDUCE(amin, K(amin_block), VM(minimum))

/* ---- matrix products --------------------------------------------------------------------------------------------- */

/* A tile of c (mr rows, nv vectors wide) = or += a times b. a lies anyhow; rows of b are contiguous and `bs` apart.
   With one or two rows, the sum over k is split in `split` parts, for an addition takes several steps. */
static INLINE void K(tile)(const int mr, const int nv, const int split, ptrdiff_t depth, const T *a, ptrdiff_t ars, ptrdiff_t acs,
                           const T *b, ptrdiff_t bs, T *c, ptrdiff_t crs, int add) {
    V s[4][8][4];
    for (int u = 0; u < split; u++)
        for (int i = 0; i < mr; i++)
            for (int j = 0; j < nv; j++) s[u][i][j] = (V){0};
    ptrdiff_t k = 0;
    for (; k + split <= depth; k += split)
        for (int u = 0; u < split; u++)
            for (int i = 0; i < mr; i++) {
                T x = a[i * ars + (k + u) * acs];
                for (int j = 0; j < nv; j++) s[u][i][j] += x * *(const V *)(b + (k + u) * bs + j * VL);
            }
    for (; k < depth; k++)
        for (int i = 0; i < mr; i++) {
            T x = a[i * ars + k * acs];
            for (int j = 0; j < nv; j++) s[0][i][j] += x * *(const V *)(b + k * bs + j * VL);
        }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) {
            V total = s[0][i][j];
            for (int u = 1; u < split; u++) total += s[u][i][j];
            V *to = (V *)(c + i * crs + j * VL);
            if (add) total += *to;
            *to = total;
        }
}

#define TILE(mr, nv, split)                                                                                                  \
    static void K(tile_##mr##_##nv)(ptrdiff_t depth, const T *a, ptrdiff_t ars, ptrdiff_t acs, const T *b, ptrdiff_t bs,     \
                                    T *c, ptrdiff_t crs, int add) {                                                          \
        K(tile)(mr, nv, split, depth, a, ars, acs, b, bs, c, crs, add);                                                      \
    }
TILE(1, 4, 2) TILE(1, 2, 4) TILE(1, 1, 4)
TILE(2, 4, 1) TILE(2, 2, 2) TILE(2, 1, 4)
TILE(4, 4, 1) TILE(4, 2, 1) TILE(4, 1, 2)
#if VBYTES == 64
TILE(6, 4, 1) TILE(8, 2, 1) TILE(8, 1, 1)
#else
TILE(6, 2, 1)
#endif

/* c (rows x nv vectors) = or += a times b */
static void K(strip)(ptrdiff_t rows, int nv, ptrdiff_t depth, const T *a, ptrdiff_t ars, ptrdiff_t acs, const T *b, ptrdiff_t bs,
                     T *c, ptrdiff_t crs, int add) {
#define RUN(mr, nv)                                                                                                          \
    do {                                                                                                                     \
        K(tile_##mr##_##nv)(depth, a, ars, acs, b, bs, c, crs, add);                                                         \
        a += mr * ars, c += mr * crs, rows -= mr;                                                                            \
    } while (0)
    if (nv == 4) {
#if VBYTES == 64
        while (rows >= 6 && rows != 8) RUN(6, 4);
#endif
        while (rows >= 4) RUN(4, 4);
        if (rows >= 2) RUN(2, 4);
        if (rows) RUN(1, 4);
    } else if (nv == 2) {
#if VBYTES == 64
        while (rows >= 8) RUN(8, 2);
#else
        while (rows >= 6 && rows != 8) RUN(6, 2);
#endif
        while (rows >= 4) RUN(4, 2);
        if (rows >= 2) RUN(2, 2);
        if (rows) RUN(1, 2);
    } else {
#if VBYTES == 64
        while (rows >= 8) RUN(8, 1);
#endif
        while (rows >= 4) RUN(4, 1);
        if (rows >= 2) RUN(2, 1);
        if (rows) RUN(1, 1);
    }
#undef RUN
}

/* c[i, j] = or += the inner product of row i of a with row j of b, rows contiguous */
static void K(dots)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t depth, const T *a, ptrdiff_t ars, const T *b, ptrdiff_t bs, T *c,
                    ptrdiff_t crs, ptrdiff_t ccs, int add) {
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            const T *x = a + i * ars, *y = b + j * bs;
            V s0 = {0}, s1 = {0};
            ptrdiff_t k = 0;
            for (; k + 2 * VL <= depth; k += 2 * VL) {
                s0 += *(const V *)(x + k) * *(const V *)(y + k);
                s1 += *(const V *)(x + k + VL) * *(const V *)(y + k + VL);
            }
            for (; k + VL <= depth; k += VL) s0 += *(const V *)(x + k) * *(const V *)(y + k);
            K(lanes) s;
            s.v = s0 + s1;
            for (int width = VL / 2; width > 0; width /= 2)
                for (int l = 0; l < width; l++) s.x[l] += s.x[l + width];
            T total = s.x[0];
            for (; k < depth; k++) total += x[k] * y[k];
            T *to = c + i * crs + j * ccs;
            *to = add ? *to + total : total;
        }
}

/* One matrix product over strided operands; `pack` has room for PACK numbers. */
static void K(matmul)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t depth, const T *a, ptrdiff_t ars, ptrdiff_t acs, const T *b,
                      ptrdiff_t brs, ptrdiff_t bcs, T *c, ptrdiff_t crs, ptrdiff_t ccs, int add, T *pack) {
    if (crs == 1 && ccs != 1) { /* work on the transposed problem */
        const T *p = a;
        ptrdiff_t t = m;
        m = n, n = t, a = b, b = p;
        t = ars, ars = bcs, bcs = t;
        t = acs, acs = brs, brs = t;
        t = crs, crs = ccs, ccs = t;
    }
    if (n == 1 && ars == 1 && crs == 1 && m > 1) { /* a vector: as a row it is contiguous */
        K(matmul)(1, m, depth, b, bcs, brs, a, acs, ars, c, ccs, 1, add, pack);
        return;
    }
    if (n <= 4 && n < VL && acs == 1 && depth >= VL && (brs == 1 || n * depth <= PACK)) {
        if (brs != 1) {
            ptrdiff_t shape[2] = {n, depth}, strides[2] = {bcs, brs};
            K(load)(pack, (const char *)b, FROM_SAME, 2, shape, strides);
            b = pack, bcs = depth;
        }
        K(dots)(m, n, depth, a, ars, b, bcs, c, crs, ccs, add);
        return;
    }
    const ptrdiff_t most = PACK / 2;
    for (ptrdiff_t j = 0; j < n;) {
        int nv = n - j >= 4 * VL && (VBYTES == 64 || m <= 4) ? 4 : n - j > VL ? 2 : 1;
        ptrdiff_t width = nv * VL, wide = n - j < width ? n - j : width;
        if (nv == 2 && wide <= VL) nv = 1, width = VL;
        ptrdiff_t slice = most / width; /* of k: what of b fits into `pack` */
        int partial = wide < width, direct = bcs == 1 && !partial && (m < 64 || brs <= 64);
        if (direct) slice = 1024;
        for (ptrdiff_t k = 0; k < depth || k == 0; k += slice) {
            ptrdiff_t deep = depth - k < slice ? depth - k : slice;
            const T *from = b + k * brs + j * bcs;
            ptrdiff_t bs = brs;
            if (!direct) {
                for (ptrdiff_t r = 0; r < deep; r++) {
                    T *to = pack + r * width;
                    const T *x = from + r * brs;
                    if (bcs == 1)
                        memcpy(to, x, (size_t)wide * sizeof(T));
                    else
                        for (ptrdiff_t i = 0; i < wide; i++) to[i] = x[i * bcs];
                    for (ptrdiff_t i = wide; i < width; i++) to[i] = 0;
                }
                from = pack, bs = width;
            }
            int more = add || k > 0;
            const T *left = a + k * acs;
            if (!partial && ccs == 1) {
                K(strip)(m, nv, deep, left, ars, acs, from, bs, c + j, crs, more);
            } else { /* by way of a few rows that are wide enough */
                T *rows = pack + most;
                for (ptrdiff_t i = 0; i < m; i += 8) {
                    ptrdiff_t high = m - i < 8 ? m - i : 8;
                    K(strip)(high, nv, deep, left + i * ars, ars, acs, from, bs, rows, width, 0);
                    for (ptrdiff_t r = 0; r < high; r++)
                        for (ptrdiff_t l = 0; l < wide; l++) {
                            T *to = c + (i + r) * crs + (j + l) * ccs;
                            *to = more ? *to + rows[r * width + l] : rows[r * width + l];
                        }
                }
            }
        }
        j += wide;
    }
}

/* ---- the table of this instruction set --------------------------------------------------------------------------- */

static void K(do_copy)(void *y, const void *x, int ndim, const ptrdiff_t *shape, const ptrdiff_t *ys, const ptrdiff_t *xs, int add) {
    K(copy)((T *)y, (const T *)x, ndim, shape, ys, xs, add);
}
static void K(do_load)(void *y, const void *x, int kind, int ndim, const ptrdiff_t *shape, const ptrdiff_t *strides) {
    (void)K(load)((T *)y, (const char *)x, kind, ndim, shape, strides);
}
static void K(do_reduce)(int code, int mode, void *y, ptrdiff_t stride, const void *x, ptrdiff_t count, ptrdiff_t length) {
    typedef void (*reduction)(T *, ptrdiff_t, const T *, ptrdiff_t, ptrdiff_t);
    static const reduction all[3][2] = {{K(sum_rows), K(sum_columns)}, {K(amax_rows), K(amax_columns)}, {K(amin_rows), K(amin_columns)}};
    all[code][mode]((T *)y, stride, (const T *)x, count, length);
}
static void K(do_matmul)(const ptrdiff_t *s, const void *a, const void *b, void *c, int add, void *pack) {
    K(matmul)(s[0], s[1], s[2], (const T *)a, s[3], s[4], (const T *)b, s[5], s[6], (T *)c, s[7], s[8], add, (T *)pack);
}
static void K(do_fill)(void *y, double value, ptrdiff_t n) {
    T *to = (T *)y, x = (T)value;
    for (ptrdiff_t i = 0; i < n; i++) to[i] = x;
}
static const Isa K(isa) = {K(rows), K(do_copy), K(do_load), K(do_reduce), K(do_matmul), K(do_fill)};

#undef V
#undef VL
#undef LOOP
#undef SIGNATURE
#undef ASK
#undef LANES
#undef EXTREME
#undef REDUCE
#undef PLUS
#undef TILE
