/* The native executor: runs a planned array program.

   compiler/native.py makes the plan: instructions as one list of 64-bit integers over a list of NumPy buffers. A `Plan` reads
   and checks it once (every place that an instruction can touch lies inside its buffer), and `run()` executes it without
   allocating anything. There are seven instructions:

     GROUP    a stretch of elementwise rows over one nest of loops, block by block, so that what is between two rows stays
              in the nearest cache; reductions of its results are accumulated on the way
     MATMUL   matrix products over strided operands: small ones here, large ones by the BLAS that set_blas was told of
     COPY     strided to strided, assigning or adding, also between number types
     FILL     with one number
     GATHER, SCATTER, CHECK   rows at an array of places, their adding up, and whether all places are inside

   The loops are in kernels.h, compiled once for each instruction set; the rules of elementwise rows come from the operation
   table by way of `_kernels.h`. Long groups and batches of products are split over a few threads (`pool`), and the GIL is
   released while a plan runs that is not short. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

/* ---- kernels, for each instruction set and type ------------------------------------------------------------------ */

#define INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define IVDEP _Pragma("GCC ivdep")
#endif
#define PACK 16384 /* numbers of scratch for packing in a matrix product */
#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)

typedef void (*kernel)(void *, const void *, const void *, const void *, const void *, ptrdiff_t);
enum { FROM_SAME, FROM_INT, FROM_BOOL };

typedef struct {
    const kernel (*rows)[16]; /* by which operands are single numbers */
    void (*copy)(void *, const void *, int, const ptrdiff_t *, const ptrdiff_t *, const ptrdiff_t *, int);
    void (*load)(void *, const void *, int, int, const ptrdiff_t *, const ptrdiff_t *);
    void (*reduce)(int, int, void *, ptrdiff_t, const void *, ptrdiff_t, ptrdiff_t);
    void (*matmul)(const ptrdiff_t *, const void *, const void *, void *, int, void *);
    void (*fill)(void *, double, ptrdiff_t);
} Isa;

#include "_kernels.h" /* without ROW1, ...: ROW_COUNT, ROW_TABLE, ROW_ARITY, KERNEL_HASH */

#define SET base
#define VBYTES 16
#include "both.h"
#undef SET
#undef VBYTES

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define HAS_FMA
#define SET avx2
#define VBYTES 32
#include "both.h"
#undef SET
#undef VBYTES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define SET avx512
#define VBYTES 64
#include "both.h"
#undef SET
#undef VBYTES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

typedef struct {
    const char *name;
    const Isa *of[2]; /* float64, float32 */
} Choice;

static const Choice choices[] = {
#if defined(__x86_64__)
    {"avx512", {&isa_avx512_d, &isa_avx512_s}},
    {"avx2", {&isa_avx2_d, &isa_avx2_s}},
#endif
    {"base", {&isa_base_d, &isa_base_s}},
};
#define CHOICES ((int)(sizeof choices / sizeof *choices))

static int runs_here(int i) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(choices[i].name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
    if (!strcmp(choices[i].name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return i >= 0;
}

/* ---- the BLAS that NumPy brings ---------------------------------------------------------------------------------- */

enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 };
typedef void (*dgemm64)(int, int, int, int64_t, int64_t, int64_t, double, const double *, int64_t, const double *, int64_t,
                        double, double *, int64_t);
typedef void (*sgemm64)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float,
                        float *, int64_t);
typedef void (*dgemm32)(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *, int);
typedef void (*sgemm32)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

static struct {
    uintptr_t dgemm, sgemm;
    int wide; /* its integers have 64 bits */
    int (*get_threads)(void);
    void (*set_threads)(int);
} blas;

typedef struct {
    ptrdiff_t leading;
    int transposed;
} Layout;

/* How BLAS sees a strided matrix; 0 when it cannot. */
static int layout(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t rs, ptrdiff_t cs, Layout *l) {
    if (cs == 1 && (rs >= columns || rows == 1)) {
        *l = (Layout){rs >= columns ? rs : columns, 0};
    } else if (rs == 1 && (cs >= rows || columns == 1)) {
        *l = (Layout){cs >= rows ? cs : rows, 1};
    } else {
        return 0;
    }
    return l->leading <= INT32_MAX;
}

/* s as in K(do_matmul); 0 when BLAS cannot take these strides */
static int by_blas(int single, const ptrdiff_t *s, const void *a, const void *b, void *c, int add) {
    ptrdiff_t m = s[0], n = s[1], k = s[2];
    Layout la, lb, lc;
    if (!layout(m, n, s[7], s[8], &lc) || !layout(m, k, s[3], s[4], &la) || !layout(k, n, s[5], s[6], &lb)) return 0;
    if (lc.transposed) { /* c.T = b.T a.T */
        const void *p = a;
        Layout l = la;
        a = b, b = p, la = lb, lb = l;
        la.transposed = !la.transposed, lb.transposed = !lb.transposed;
        m = s[1], n = s[0];
    }
    int ta = la.transposed ? TRANSPOSED : AS_IT_IS, tb = lb.transposed ? TRANSPOSED : AS_IT_IS;
    if (single && blas.wide)
        ((sgemm64)blas.sgemm)(ROW_MAJOR, ta, tb, m, n, k, 1.0f, a, la.leading, b, lb.leading, (float)add, c, lc.leading);
    else if (single)
        ((sgemm32)blas.sgemm)(ROW_MAJOR, ta, tb, (int)m, (int)n, (int)k, 1.0f, a, (int)la.leading, b, (int)lb.leading, (float)add, c,
                              (int)lc.leading);
    else if (blas.wide)
        ((dgemm64)blas.dgemm)(ROW_MAJOR, ta, tb, m, n, k, 1.0, a, la.leading, b, lb.leading, (double)add, c, lc.leading);
    else
        ((dgemm32)blas.dgemm)(ROW_MAJOR, ta, tb, (int)m, (int)n, (int)k, 1.0, a, (int)la.leading, b, (int)lb.leading, (double)add, c,
                              (int)lc.leading);
    return 1;
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

#define MOST_THREADS 64

typedef void (*Task)(void *context, int part, int parts);

static struct {
    pthread_mutex_t lock; /* of the fields below */
    pthread_cond_t work, done;
    int workers, busy, parts, next, open;
    uint64_t job;
    Task task;
    void *context;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void work_on(void) { /* with the lock held */
    while (pool.next < pool.parts) {
        int part = pool.next++;
        pthread_mutex_unlock(&pool.lock);
        pool.task(pool.context, part, pool.parts);
        pthread_mutex_lock(&pool.lock);
        pool.open--;
    }
}

static void *worker(void *unused) {
    (void)unused;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.job == seen) pthread_cond_wait(&pool.work, &pool.lock);
        seen = pool.job;
        work_on();
        if (pool.open == 0) pthread_cond_signal(&pool.done);
    }
    return NULL;
}

static void after_fork(void) { /* threads do not go along */
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.workers = pool.busy = pool.parts = pool.next = pool.open = 0;
}

/* task(context, 0 ... parts - 1), at once; by the caller alone while the pool serves another plan. */
static void in_parallel(Task task, void *context, int parts) {
    pthread_mutex_lock(&pool.lock);
    int alone = pool.busy;
    while (!alone && pool.workers < parts - 1) {
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        int failed = pthread_create(&thread, &attributes, worker, NULL);
        pthread_attr_destroy(&attributes);
        if (failed) break; /* fewer will do */
        pool.workers++;
    }
    if (alone || pool.workers == 0) {
        pthread_mutex_unlock(&pool.lock);
        for (int part = 0; part < parts; part++) task(context, part, parts);
        return;
    }
    pool.busy = 1, pool.task = task, pool.context = context, pool.parts = parts, pool.next = 0, pool.open = parts, pool.job++;
    pthread_cond_broadcast(&pool.work);
    work_on();
    while (pool.open > 0) pthread_cond_wait(&pool.done, &pool.lock);
    pool.busy = 0;
    pthread_mutex_unlock(&pool.lock);
}

/* ---- a plan ------------------------------------------------------------------------------------------------------ */

#define MOST_AXES 24

enum { GROUP, MATMUL, COPY, FILL, GATHER, SCATTER, CHECK };
enum { ROW, LOAD, REDUCE };
enum { ALONE, TOGETHER, APART }; /* how threads share a group: not at all; as it is; each with reductions of its own */
enum { BY_ROWS, BY_COLUMNS };
enum { NUMBERS, INTS, NUMBERS_TO_INTS, NUMBERS_TO_BOOLS };

typedef struct { /* a strided array in a buffer; strides and offset in elements */
    int buffer;
    ptrdiff_t offset;
    ptrdiff_t *strides;
} Place;

typedef struct {
    uint8_t type, code, mode, kind, hoisted;
    uint16_t y, a, b, c, d; /* slots */
    kernel row;
    ptrdiff_t stride, length; /* of a reduction's output, and of its rows or columns (0: the block) */
    ptrdiff_t total;          /* how many numbers it gives, where each thread has its own */
} Step;

typedef struct {
    int ndim, split; /* the block is a chunk of axis `split` and all axes behind it */
    ptrdiff_t chunk, inside, blocks, last; /* in rows of `inside` elements; `last`: of the last chunk */
    ptrdiff_t shape[MOST_AXES], extents[MOST_AXES]; /* extents: how many blocks in each loop over blocks */
    int places, slots, registers, steps, parallel;
    ptrdiff_t capacity; /* of a register, in bytes */
    Place *place;
    char **start;     /* where each place starts in memory */
    ptrdiff_t *jumps; /* jumps[loop * places + i], in bytes, when that loop goes on and those inside it start anew */
    Step *step;
    ptrdiff_t own; /* bytes that each thread but the first needs for reductions of its own; see `apart` */
    char *apart;
} Group;

typedef struct {
    int kind;
    Group group;
    int ndim, add, code, large;
    ptrdiff_t shape[MOST_AXES];
    ptrdiff_t size[9]; /* MATMUL: as K(do_matmul) takes them. GATHER, ...: places, rows, length of a row, stride of rows */
    Place y, a, b;
    double value;
} Instruction;

typedef struct {
    PyObject_HEAD
    int count, buffers, single, threads, fixed_threads, heavy, running;
    const Isa *isa;
    Instruction *instruction;
    Py_buffer *view;
    char **base;
    char *scratch; /* for each thread: registers, or packed matrices */
    size_t scratch_size;
    int64_t bad_index, bad_place; /* where a run stopped */
    const Instruction *stopped;
    PyObject *error, *names; /* the class to raise, and of each buffer the name */
} Plan;

/* what a reduction starts from: sum, amax, amin */
static const double neutral[] = {0.0, -(double)INFINITY, (double)INFINITY};

/* -- reading */

typedef struct {
    const int64_t *at, *end;
    Plan *plan;
    int failed;
} Reader;

static int refuse(Reader *r, const char *why) {
    if (!r->failed) PyErr_Format(PyExc_ValueError, "this is no plan: %s", why);
    r->failed = 1;
    return 0;
}

static int64_t next(Reader *r) {
    if (r->at >= r->end) return refuse(r, "it ends too early");
    return *r->at++;
}

static ptrdiff_t within(Reader *r, int64_t low, int64_t high) {
    int64_t x = next(r);
    if (!r->failed && (x < low || x > high)) return refuse(r, "a number is out of its range");
    return (ptrdiff_t)x;
}

static void *room(Reader *r, ptrdiff_t count, size_t size) {
    void *p = r->failed ? NULL : PyMem_Calloc((size_t)(count > 0 ? count : 1), size);
    if (!r->failed && p == NULL) {
        PyErr_NoMemory();
        r->failed = 1;
    }
    return p;
}

#define LARGEST ((int64_t)1 << 48)

static void read_shape(Reader *r, int ndim, ptrdiff_t *shape) {
    double size = 1;
    for (int i = 0; i < ndim; i++) size *= (double)(shape[i] = within(r, 0, LARGEST));
    if (size > (double)LARGEST) refuse(r, "it is too large");
}

/* A place, all of which over `shape` must lie in its buffer, whose elements have `itemsize` bytes (0: as they have). */
static void read_place(Reader *r, Place *p, int ndim, const ptrdiff_t *shape, int itemsize) {
    p->buffer = (int)within(r, 0, r->plan->buffers - 1);
    p->offset = within(r, 0, LARGEST);
    p->strides = room(r, ndim, sizeof(ptrdiff_t));
    double low = (double)p->offset, high = low;
    int empty = 0;
    for (int i = 0; i < ndim && !r->failed; i++) {
        p->strides[i] = within(r, -LARGEST, LARGEST);
        empty |= shape[i] == 0;
        double reach = (double)p->strides[i] * (double)(shape[i] - 1);
        if (reach < 0) low += reach;
        if (reach > 0) high += reach;
    }
    if (r->failed) return;
    const Py_buffer *view = &r->plan->view[p->buffer];
    if (itemsize && view->itemsize != itemsize) refuse(r, "a buffer has another type");
    if (!empty && (low < 0 || high >= (double)(view->len / view->itemsize))) refuse(r, "it reaches out of a buffer");
}

/* How a place lies within a block: one after the other, all the same, or otherwise. */
enum { IN_LINE, ALL_ONE, SCATTERED };

static int lies(const Group *g, const Place *p) {
    ptrdiff_t expected = 1;
    int line = 1, one = 1;
    for (int i = g->ndim - 1; i >= g->split; i--) {
        ptrdiff_t n = i == g->split ? g->chunk : g->shape[i];
        if (n == 1) continue;
        line &= p->strides[i] == expected;
        one &= p->strides[i] == 0;
        expected *= n;
    }
    return line ? IN_LINE : one ? ALL_ONE : SCATTERED;
}

static void read_row(Reader *r, const Group *g, Step *s) {
    s->code = (uint8_t)within(r, 0, ROW_COUNT - 1);
    int arity = r->failed ? 0 : ROW_ARITY[s->code], mask = 0;
    uint16_t *slots[5] = {&s->y, &s->a, &s->b, &s->c, &s->d};
    for (int i = 0; i <= arity && !r->failed; i++) {
        int slot = (int)within(r, 0, g->slots - 1);
        *slots[i] = (uint16_t)slot;
        if (slot >= g->places || r->failed) continue;
        const Place *p = &g->place[slot];
        int how = lies(g, p);
        if (r->plan->view[p->buffer].itemsize != (r->plan->single ? 4 : 8)) refuse(r, "a row works on another type");
        if (how == SCATTERED || (how == ALL_ONE && i == 0)) refuse(r, "an operand does not lie in line");
        if (i > 0) mask |= (how == ALL_ONE) << (i - 1);
    }
    if (!r->failed) s->row = r->plan->isa->rows[s->code][mask];
    if (!r->failed && s->row == NULL) refuse(r, "there is no such kernel");
}

static void read_load(Reader *r, const Group *g, Step *s) {
    static const int sizes[] = {0, 8, 1};
    s->y = (uint16_t)within(r, 0, g->slots - 1);
    s->a = (uint16_t)within(r, 0, g->places - 1);
    s->kind = (uint8_t)within(r, 0, 2);
    s->hoisted = (uint8_t)within(r, 0, 1);
    if (r->failed) return;
    int number = r->plan->single ? 4 : 8;
    if (r->plan->view[g->place[s->a].buffer].itemsize != (sizes[s->kind] ? sizes[s->kind] : number)) refuse(r, "a load of another type");
    if (s->y < g->places && (lies(g, &g->place[s->y]) != IN_LINE || r->plan->view[g->place[s->y].buffer].itemsize != number))
        refuse(r, "a load to what does not lie in line");
}

static void read_reduce(Reader *r, const Group *g, Step *s) {
    s->code = (uint8_t)within(r, 0, 2);
    s->y = (uint16_t)within(r, 0, g->places - 1);
    s->a = (uint16_t)within(r, 0, g->slots - 1);
    if (r->failed) return;
    int number = r->plan->single ? 4 : 8;
    if (r->plan->view[g->place[s->y].buffer].itemsize != number ||
        (s->a < g->places && (lies(g, &g->place[s->a]) != IN_LINE || r->plan->view[g->place[s->a].buffer].itemsize != number))) {
        refuse(r, "a reduction of what does not lie in line");
        return;
    }
    /* Behind `split`, the axes that the output has must be all in front, all behind, or none. */
    const ptrdiff_t *strides = g->place[s->y].strides;
    ptrdiff_t behind = 1, expected = 0;
    int changes = 0, previous = -1, kept_last = 0;
    for (int i = g->ndim - 1; i >= g->split; i--) {
        ptrdiff_t n = i == g->split ? g->chunk : g->shape[i];
        if (n == 1) continue;
        int kept = strides[i] != 0;
        if (previous < 0) kept_last = kept;
        if (previous >= 0 && kept != previous) changes++;
        if (changes == 0) behind *= n;
        if (kept) {
            if (expected == 0) s->stride = expected = strides[i];
            if (strides[i] != expected) refuse(r, "a reduction's output has no single stride");
            expected *= n;
        }
        previous = kept;
    }
    if (changes > 1) refuse(r, "a reduction has its axes on both sides");
    s->mode = (uint8_t)(kept_last ? BY_COLUMNS : BY_ROWS);
    s->length = changes ? behind : 0;
    if (previous < 0) s->mode = BY_ROWS, s->length = 0;
    if (s->stride == 0) s->stride = 1;
}

/* Reductions of which every thread makes its own: their results must lie in line. */
static void read_apart(Reader *r, Group *g) {
    for (Step *s = g->step; s < g->step + g->steps && !r->failed; s++) {
        if (s->type != REDUCE) continue;
        s->total = 1;
        for (int i = g->ndim - 1; i >= 0; i--) {
            ptrdiff_t stride = g->place[s->y].strides[i];
            if (stride == 0 || g->shape[i] == 1) continue;
            if (stride != s->total) refuse(r, "a shared reduction does not lie in line");
            s->total *= g->shape[i];
        }
        g->own += (s->total * 8 + 63) / 64 * 64;
    }
    if (!r->failed && posix_memalign((void **)&g->apart, 64, (size_t)(g->own * r->plan->threads + 64))) {
        g->apart = NULL;
        PyErr_NoMemory();
        r->failed = 1;
    }
}

static void read_group(Reader *r, Group *g) {
    g->ndim = (int)within(r, 1, MOST_AXES);
    g->split = r->failed ? 0 : (int)within(r, 0, g->ndim - 1);
    g->chunk = within(r, 1, LARGEST);
    g->parallel = (int)within(r, ALONE, APART);
    g->registers = (int)within(r, 0, 4096);
    g->places = (int)within(r, 0, 4096);
    g->steps = (int)within(r, 0, 1 << 20);
    if (r->failed) return;
    read_shape(r, g->ndim, g->shape);
    g->slots = g->places + g->registers;
    g->inside = 1;
    for (int i = g->split + 1; i < g->ndim; i++) g->inside *= g->shape[i];
    g->blocks = 1;
    for (int i = 0; i <= g->split; i++) {
        g->extents[i] = i < g->split ? g->shape[i] : (g->shape[i] + g->chunk - 1) / g->chunk;
        g->blocks *= g->extents[i];
    }
    if (g->inside == 0) g->blocks = 0;
    g->last = g->shape[g->split] - (g->extents[g->split] - 1) * g->chunk;
    double capacity = (double)g->chunk * (double)g->inside * 8.0;
    if (capacity * (g->registers + 1) > 64e6 && g->registers) refuse(r, "its blocks are too large");
    int number = r->plan->single ? 4 : 8;
    g->capacity = g->blocks ? ((ptrdiff_t)g->chunk * g->inside * number + 63) / 64 * 64 : 64;
    g->place = room(r, g->places, sizeof(Place));
    g->start = room(r, g->places, sizeof(char *));
    g->jumps = room(r, (ptrdiff_t)g->places * (g->split + 1), sizeof(ptrdiff_t));
    g->step = room(r, g->steps, sizeof(Step));
    for (int i = 0; i < g->places && !r->failed; i++) {
        read_place(r, &g->place[i], g->ndim, g->shape, 0);
        ptrdiff_t back = 0;
        for (int loop = g->split; loop >= 0 && !r->failed; loop--) {
            ptrdiff_t size = r->plan->view[g->place[i].buffer].itemsize;
            ptrdiff_t jump = g->place[i].strides[loop] * size * (loop == g->split ? g->chunk : 1);
            g->jumps[loop * g->places + i] = jump - back;
            back += jump * (g->extents[loop] - 1);
        }
    }
    for (int i = 0; i < g->steps && !r->failed; i++) {
        Step *s = &g->step[i];
        s->type = (uint8_t)within(r, 0, 2);
        if (s->type == ROW)
            read_row(r, g, s);
        else if (s->type == LOAD)
            read_load(r, g, s);
        else
            read_reduce(r, g, s);
        if (s->type == LOAD && s->hoisted && i > 0 && !(g->step[i - 1].type == LOAD && g->step[i - 1].hoisted))
            refuse(r, "a load for all blocks comes too late");
    }
    if (g->parallel == APART) read_apart(r, g);
    size_t need = (size_t)g->registers * (size_t)g->capacity;
    if (!r->failed && g->registers && need > r->plan->scratch_size) r->plan->scratch_size = need;
}

static void read_matmul(Reader *r, Instruction *x) {
    ptrdiff_t *s = x->size, shape[MOST_AXES + 2];
    for (int i = 0; i < 3; i++) s[i] = within(r, 0, LARGEST);
    x->add = (int)within(r, 0, 1);
    x->large = (int)within(r, 0, 1);
    x->ndim = (int)within(r, 0, MOST_AXES - 2);
    read_shape(r, x->ndim, x->shape);
    Place *places[3] = {&x->a, &x->b, &x->y};
    const ptrdiff_t ends[3][2] = {{s[0], s[2]}, {s[2], s[1]}, {s[0], s[1]}};
    for (int i = 0; i < 3 && !r->failed; i++) {
        memcpy(shape, x->shape, sizeof x->shape);
        memcpy(shape + x->ndim, ends[i], sizeof ends[i]);
        read_place(r, places[i], x->ndim + 2, shape, r->plan->single ? 4 : 8);
        if (!r->failed) memcpy(s + 3 + 2 * i, places[i]->strides + x->ndim, 2 * sizeof(ptrdiff_t));
    }
    if (r->plan->scratch_size < PACK * sizeof(double)) r->plan->scratch_size = PACK * sizeof(double);
}

static void read_copy(Reader *r, Instruction *x) {
    static const int sizes[4][2] = {{0, 0}, {8, 8}, {8, 0}, {1, 0}}; /* of y and of x; 0: of a number */
    int number = r->plan->single ? 4 : 8;
    x->code = (int)within(r, 0, 3);
    x->add = (int)within(r, 0, 1);
    x->ndim = (int)within(r, 0, MOST_AXES);
    if (r->failed) return;
    read_shape(r, x->ndim, x->shape);
    read_place(r, &x->y, x->ndim, x->shape, sizes[x->code][0] ? sizes[x->code][0] : number);
    read_place(r, &x->a, x->ndim, x->shape, sizes[x->code][1] ? sizes[x->code][1] : number);
}

static void read_fill(Reader *r, Instruction *x) {
    x->ndim = 1;
    x->value = neutral[within(r, 0, 2)];
    read_shape(r, 1, x->shape);
    read_place(r, &x->y, 1, x->shape, r->plan->single ? 4 : 8);
}

/* GATHER: y[i] = a[index[i]]; SCATTER: y[index[i]] += a[i]; CHECK has only the index */
static void read_indexed(Reader *r, Instruction *x) {
    ptrdiff_t *s = x->size;
    for (int i = 0; i < 3; i++) s[i] = within(r, 0, LARGEST); /* places, rows of the table, length of a row */
    read_place(r, &x->b, 1, s, 8);
    if (!r->failed && s[0] && x->b.strides[0] != 1 && s[0] != 1) refuse(r, "an index does not lie in line");
    if (x->kind == CHECK) return;
    ptrdiff_t table[2] = {s[1], s[2]}, rows[2] = {s[0], s[2]};
    int number = r->plan->single ? 4 : 8;
    read_place(r, &x->y, 2, x->kind == GATHER ? rows : table, number);
    read_place(r, &x->a, 2, x->kind == GATHER ? table : rows, number);
    if (!r->failed && s[2] > 1 && (x->y.strides[1] != 1 || x->a.strides[1] != 1)) refuse(r, "a row does not lie in line");
}

static void read_instruction(Reader *r, Instruction *x) {
    x->kind = (int)within(r, GROUP, CHECK);
    if (r->failed) return;
    switch (x->kind) {
    case GROUP: read_group(r, &x->group); break;
    case MATMUL: read_matmul(r, x); break;
    case COPY: read_copy(r, x); break;
    case FILL: read_fill(r, x); break;
    default: read_indexed(r, x);
    }
}

/* -- running */

typedef struct {
    const Plan *plan;
    const Instruction *x;
} Context;

/* Reductions of a part but the first go to memory of its own, one after the other; with `collect` they are added up. */
static void set_apart(const Plan *plan, const Group *g, int part, char **p, int collect) {
    char *own = g->apart + (ptrdiff_t)(part - 1) * g->own;
    for (const Step *s = g->step; s < g->step + g->steps; s++) {
        if (s->type != REDUCE) continue;
        if (collect) {
            plan->isa->reduce(s->code, BY_COLUMNS, g->start[s->y], 1, own, 1, s->total);
        } else {
            plan->isa->fill(own, neutral[s->code], s->total);
            p[s->y] = own;
        }
        own += (s->total * 8 + 63) / 64 * 64;
    }
}

/* The blocks first ... first + count - 1, as a part of the group's work. */
static void run_blocks(const Plan *plan, const Group *g, int part, ptrdiff_t first, ptrdiff_t count) {
    char *p[g->slots + 1], *scratch = plan->scratch + (size_t)part * plan->scratch_size;
    ptrdiff_t at[MOST_AXES], shape[MOST_AXES];
    for (int i = 0; i < g->places; i++) p[i] = g->start[i];
    if (part > 0 && g->parallel == APART) set_apart(plan, g, part, p, 0);
    for (int i = 0; i < g->registers; i++) p[g->places + i] = scratch + i * g->capacity;
    p[g->slots] = NULL;
    memcpy(shape, g->shape, sizeof shape);
    shape[g->split] = g->chunk < g->shape[g->split] ? g->chunk : g->shape[g->split];
    int axes = g->ndim - g->split, begin = 0;
    for (; begin < g->steps && g->step[begin].hoisted; begin++) {
        const Step *s = &g->step[begin];
        plan->isa->load(p[s->y], p[s->a], s->kind, axes, shape + g->split, g->place[s->a].strides + g->split);
    }
    ptrdiff_t rest = first;
    for (int loop = g->split; loop >= 0; loop--) {
        at[loop] = rest % g->extents[loop];
        rest /= g->extents[loop];
        if (at[loop])
            for (int i = 0; i < g->places; i++) {
                ptrdiff_t size = plan->view[g->place[i].buffer].itemsize;
                p[i] += at[loop] * g->place[i].strides[loop] * size * (loop == g->split ? g->chunk : 1);
            }
    }
    for (;;) {
        ptrdiff_t rows = at[g->split] == g->extents[g->split] - 1 ? g->last : g->chunk, n = rows * g->inside;
        for (const Step *s = g->step + begin, *end = g->step + g->steps; s < end; s++) {
            if (s->type == ROW) {
                s->row(p[s->y], p[s->a], p[s->b], p[s->c], p[s->d], n);
            } else if (s->type == LOAD) {
                shape[g->split] = rows;
                plan->isa->load(p[s->y], p[s->a], s->kind, axes, shape + g->split, g->place[s->a].strides + g->split);
            } else {
                ptrdiff_t length = s->length ? s->length : n;
                plan->isa->reduce(s->code, s->mode, p[s->y], s->stride, p[s->a], n / length, length);
            }
        }
        if (--count <= 0) return;
        int loop = g->split;
        while (++at[loop] == g->extents[loop]) at[loop--] = 0;
        const ptrdiff_t *jump = g->jumps + (ptrdiff_t)loop * g->places;
        for (int i = 0; i < g->places; i++) p[i] += jump[i];
    }
}

static void group_part(void *context, int part, int parts) {
    const Context *c = context;
    const Group *g = &c->x->group;
    ptrdiff_t first = g->blocks * part / parts, end = g->blocks * (part + 1) / parts;
    if (end > first) run_blocks(c->plan, g, part, first, end - first);
}

static char *where(const Plan *plan, const Place *p) {
    return plan->base[p->buffer] + p->offset * plan->view[p->buffer].itemsize;
}

/* Products first to end - 1 of a batch, or rows of a single one. */
static void matmul_part(void *context, int part, int parts) {
    const Context *c = context;
    const Instruction *x = c->x;
    const Plan *plan = c->plan;
    char *a = where(plan, &x->a), *b = where(plan, &x->b), *y = where(plan, &x->y), *pack = plan->scratch + (size_t)part * plan->scratch_size;
    ptrdiff_t size = plan->single ? 4 : 8, batch = 1, s[9];
    memcpy(s, x->size, sizeof s);
    for (int i = 0; i < x->ndim; i++) batch *= x->shape[i];
    if (batch == 1) {
        ptrdiff_t first = s[0] * part / parts, end = s[0] * (part + 1) / parts;
        s[0] = end - first;
        a += first * s[3] * size, y += first * s[7] * size;
        if (s[0]) plan->isa->matmul(s, a, b, y, x->add, pack);
        return;
    }
    for (ptrdiff_t i = batch * part / parts; i < batch * (part + 1) / parts; i++) {
        ptrdiff_t rest = i, at[3] = {0};
        for (int axis = x->ndim - 1; axis >= 0; axis--) {
            ptrdiff_t j = rest % x->shape[axis];
            rest /= x->shape[axis];
            at[0] += j * x->a.strides[axis], at[1] += j * x->b.strides[axis], at[2] += j * x->y.strides[axis];
        }
        char *pa = a + at[0] * size, *pb = b + at[1] * size, *py = y + at[2] * size;
        if (!(x->large && blas.dgemm && by_blas(plan->single, s, pa, pb, py, x->add))) plan->isa->matmul(s, pa, pb, py, x->add, pack);
    }
}

static void run_matmul(const Plan *plan, const Instruction *x) {
    const ptrdiff_t *s = x->size;
    double batch = 1;
    for (int i = 0; i < x->ndim; i++) batch *= (double)x->shape[i];
    if (s[0] == 0 || s[1] == 0 || batch == 0) return;
    Context context = {plan, x};
    if (x->large && blas.dgemm) {
        int before = plan->fixed_threads && blas.get_threads ? blas.get_threads() : 0;
        if (before && before != plan->threads) blas.set_threads(plan->threads);
        int done = batch == 1 && by_blas(plan->single, s, where(plan, &x->a), where(plan, &x->b), where(plan, &x->y), x->add);
        if (!done) matmul_part(&context, 0, 1);
        if (before && before != plan->threads) blas.set_threads(before);
        return;
    }
    int parts = batch * (double)s[0] * (double)s[1] * (double)s[2] > 2e5 ? plan->threads : 1;
    if (parts > 1)
        in_parallel(matmul_part, &context, parts);
    else
        matmul_part(&context, 0, 1);
}

/* Strided conversion, element by element: rare. */
static void convert(int code, char *y, const char *x, int number, int ndim, const ptrdiff_t *shape, const ptrdiff_t *ys, const ptrdiff_t *xs) {
    int ysize = code == NUMBERS_TO_BOOLS ? 1 : 8, xsize = code == INTS ? 8 : number;
    if (ndim > 0) {
        for (ptrdiff_t i = 0; i < shape[0]; i++)
            convert(code, y + i * ys[0] * ysize, x + i * xs[0] * xsize, number, ndim - 1, shape + 1, ys + 1, xs + 1);
        return;
    }
    if (code == INTS) {
        memcpy(y, x, 8);
        return;
    }
    double value = number == 8 ? *(const double *)x : (double)*(const float *)x;
    if (code == NUMBERS_TO_BOOLS)
        *(uint8_t *)y = value != 0.0;
    else
        *(int64_t *)y = value > -9.2e18 && value < 9.2e18 ? (int64_t)value : INT64_MIN; /* NaN too, as NumPy does */
}

/* The place itself, counted from the end if negative; -1 and `bad_...` when it is outside. */
static ptrdiff_t placed(Plan *plan, const Instruction *x, int64_t place, ptrdiff_t i) {
    ptrdiff_t rows = x->size[1];
    int64_t row = place < 0 ? place + rows : place;
    if (row >= 0 && row < rows) return (ptrdiff_t)row;
    plan->bad_index = place, plan->bad_place = i, plan->stopped = x;
    return -1;
}

static int run_indexed(Plan *plan, const Instruction *x) {
    const int64_t *index = (const int64_t *)where(plan, &x->b);
    const ptrdiff_t *s = x->size;
    if (x->kind == CHECK) {
        for (ptrdiff_t i = 0; i < s[0]; i++)
            if (placed(plan, x, index[i], i) < 0) return 0;
        return 1;
    }
    char *y = where(plan, &x->y), *a = where(plan, &x->a);
    ptrdiff_t size = plan->single ? 4 : 8, ys = x->y.strides[0] * size, as = x->a.strides[0] * size, one = 1;
    for (ptrdiff_t i = 0; i < s[0]; i++) {
        ptrdiff_t row = placed(plan, x, index[i], i);
        if (row < 0) return 0;
        if (x->kind == SCATTER)
            plan->isa->copy(y + row * ys, a + i * as, 1, &s[2], &one, &one, 1);
        else if (s[2] == 1)
            memcpy(y + i * ys, a + row * as, (size_t)size);
        else
            memcpy(y + i * ys, a + row * as, (size_t)(s[2] * size));
    }
    return 1;
}

static int run_instruction(Plan *plan, const Instruction *x) {
    int parts = x->kind == GROUP && x->group.blocks < plan->threads ? (int)x->group.blocks : plan->threads;
    switch (x->kind) {
    case GROUP:
        if (x->group.parallel && parts > 1) {
            Context context = {plan, x};
            in_parallel(group_part, &context, parts);
            for (int part = 1; x->group.parallel == APART && part < parts; part++) set_apart(plan, &x->group, part, NULL, 1);
        } else if (x->group.blocks) {
            run_blocks(plan, &x->group, 0, 0, x->group.blocks);
        }
        return 1;
    case MATMUL:
        run_matmul(plan, x);
        return 1;
    case COPY:
        if (x->code == NUMBERS)
            plan->isa->copy(where(plan, &x->y), where(plan, &x->a), x->ndim, x->shape, x->y.strides, x->a.strides, x->add);
        else
            convert(x->code, where(plan, &x->y), where(plan, &x->a), plan->single ? 4 : 8, x->ndim, x->shape, x->y.strides, x->a.strides);
        return 1;
    case FILL:
        plan->isa->fill(where(plan, &x->y), x->value, x->shape[0]);
        return 1;
    default:
        return run_indexed(plan, x);
    }
}

static int execute(Plan *plan) {
    for (int i = 0; i < plan->count; i++)
        if (!run_instruction(plan, &plan->instruction[i])) return 0;
    return 1;
}

static PyObject *plan_run(PyObject *self, PyObject *unused) {
    (void)unused;
    Plan *plan = (Plan *)self;
    int fine;
    if (plan->running) {
        PyErr_SetString(PyExc_RuntimeError, "this executable is running in another thread; give each thread its own");
        return NULL;
    }
    plan->running = 1;
    if (plan->heavy) {
        Py_BEGIN_ALLOW_THREADS
        fine = execute(plan);
        Py_END_ALLOW_THREADS
    } else {
        fine = execute(plan);
    }
    plan->running = 0;
    if (!fine) {
        PyObject *name = PyList_GetItem(plan->names, plan->stopped->b.buffer);
        if (name)
            PyErr_Format(plan->error, "%S holds %lld at place %lld, but there are %zd rows to take from", name,
                         (long long)plan->bad_index, (long long)plan->bad_place, (Py_ssize_t)plan->stopped->size[1]);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- making and freeing */

static void find_starts(Plan *plan) {
    for (int i = 0; i < plan->count; i++)
        if (plan->instruction[i].kind == GROUP) {
            Group *g = &plan->instruction[i].group;
            for (int j = 0; j < g->places; j++) g->start[j] = where(plan, &g->place[j]);
        }
}

static void plan_dealloc(PyObject *self) {
    Plan *plan = (Plan *)self;
    for (int i = 0; i < plan->count; i++) {
        Instruction *x = &plan->instruction[i];
        Group *g = &x->group;
        for (int j = 0; g->place && j < g->places; j++) PyMem_Free(g->place[j].strides);
        PyMem_Free(g->place), PyMem_Free(g->start), PyMem_Free(g->jumps), PyMem_Free(g->step), free(g->apart);
        PyMem_Free(x->y.strides), PyMem_Free(x->a.strides), PyMem_Free(x->b.strides);
    }
    PyMem_Free(plan->instruction);
    for (int i = 0; plan->view && i < plan->buffers; i++)
        if (plan->view[i].obj) PyBuffer_Release(&plan->view[i]);
    PyMem_Free(plan->view);
    PyMem_Free(plan->base);
    free(plan->scratch);
    Py_XDECREF(plan->error);
    Py_XDECREF(plan->names);
    Py_TYPE(self)->tp_free(self);
}

static int take_buffers(Plan *plan, PyObject *buffers) {
    plan->view = PyMem_Calloc((size_t)PyList_GET_SIZE(buffers) + 1, sizeof(Py_buffer));
    plan->base = PyMem_Calloc((size_t)PyList_GET_SIZE(buffers) + 1, sizeof(char *));
    if (!plan->view || !plan->base) {
        PyErr_NoMemory();
        return -1;
    }
    plan->buffers = (int)PyList_GET_SIZE(buffers);
    for (int i = 0; i < plan->buffers; i++) {
        if (PyObject_GetBuffer(PyList_GET_ITEM(buffers, i), &plan->view[i], PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) return -1;
        plan->base[i] = plan->view[i].buf;
        if (plan->view[i].itemsize <= 0 || (uintptr_t)plan->view[i].buf % (size_t)plan->view[i].itemsize) {
            PyErr_SetString(PyExc_ValueError, "a buffer of a plan is not aligned to its type");
            return -1;
        }
    }
    return 0;
}

static int choose(Plan *plan, const char *wanted) {
    for (int i = 0; i < CHOICES; i++)
        if (runs_here(i) && (!*wanted || !strcmp(wanted, choices[i].name))) {
            plan->isa = choices[i].of[plan->single];
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "there is no instruction set %s on this machine", wanted);
    return -1;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"code", "buffers", "names", "error", "single", "threads", "fixed_threads", "heavy", "isa", NULL};
    PyObject *buffers, *labels, *error;
    Py_buffer code;
    int single, threads, fixed, heavy;
    const char *isa = "";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*O!O!Opipp|s", names, &code, &PyList_Type, &buffers, &PyList_Type, &labels, &error,
                                     &single, &threads, &fixed, &heavy, &isa))
        return NULL;
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan == NULL) goto failed;
    plan->single = single, plan->fixed_threads = fixed, plan->heavy = heavy;
    plan->threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    plan->error = Py_NewRef(error);
    plan->names = Py_NewRef(labels);
    if (choose(plan, isa) || take_buffers(plan, buffers)) goto failed;
    Reader r = {code.buf, (const int64_t *)code.buf + code.len / 8, plan, 0};
    int count = (int)within(&r, 0, 1 << 24);
    plan->instruction = room(&r, count, sizeof(Instruction));
    if (r.failed) goto failed;
    plan->count = count;
    for (int i = 0; i < count && !r.failed; i++) read_instruction(&r, &plan->instruction[i]);
    if (!r.failed && r.at != r.end) refuse(&r, "it goes on behind its end");
    if (r.failed) goto failed;
    plan->scratch_size = (plan->scratch_size + 127) / 64 * 64;
    if (posix_memalign((void **)&plan->scratch, 64, plan->scratch_size * (size_t)plan->threads)) {
        plan->scratch = NULL;
        PyErr_NoMemory();
        goto failed;
    }
    find_starts(plan);
    PyBuffer_Release(&code);
    return (PyObject *)plan;
failed:
    PyBuffer_Release(&code);
    Py_XDECREF(plan);
    return NULL;
}

static PyObject *plan_bind(PyObject *self, PyObject *args) {
    Plan *plan = (Plan *)self;
    PyObject *array;
    Py_buffer view;
    int i;
    if (!PyArg_ParseTuple(args, "iO", &i, &array)) return NULL;
    if (i < 0 || i >= plan->buffers || plan->running) {
        PyErr_SetString(PyExc_ValueError, "no such buffer, or the plan is running");
        return NULL;
    }
    if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) return NULL;
    Py_buffer *old = &plan->view[i];
    if (view.itemsize != old->itemsize || view.len != old->len || (uintptr_t)view.buf % (size_t)view.itemsize) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "the array differs from the buffer in size, type or alignment");
        return NULL;
    }
    PyBuffer_Release(old);
    *old = view;
    plan->base[i] = view.buf;
    find_starts(plan);
    Py_RETURN_NONE;
}

static PyMethodDef plan_methods[] = {
    {"run", plan_run, METH_NOARGS, PyDoc_STR("Execute the plan once.")},
    {"bind", plan_bind, METH_VARARGS, PyDoc_STR("Use another array, of the same size and type, as a buffer.")},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject PlanType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chainrule.native._executor.Plan",
    .tp_doc = PyDoc_STR("A planned array program over given buffers."),
    .tp_basicsize = sizeof(Plan),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = plan_new,
    .tp_dealloc = plan_dealloc,
    .tp_methods = plan_methods,
};

/* ---- the module -------------------------------------------------------------------------------------------------- */

static PyObject *set_blas(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long dgemm, sgemm, get, set;
    int wide;
    if (!PyArg_ParseTuple(args, "KKpKK", &dgemm, &sgemm, &wide, &get, &set)) return NULL;
    blas.dgemm = (uintptr_t)dgemm, blas.sgemm = (uintptr_t)sgemm, blas.wide = wide;
    blas.get_threads = set ? (int (*)(void))(uintptr_t)get : NULL;
    blas.set_threads = (void (*)(int))(uintptr_t)set;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"set_blas", set_blas, METH_VARARGS,
     PyDoc_STR("Addresses of cblas_dgemm and cblas_sgemm (0: none), whether they take 64-bit integers, and of the functions "
               "that get and set the number of threads.")},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "chainrule.native._executor", .m_doc = PyDoc_STR("Runs planned array programs."), .m_size = -1,
    .m_methods = methods};

PyMODINIT_FUNC PyInit__executor(void) {
    if (PyType_Ready(&PlanType) < 0) return NULL;
    PyObject *m = PyModule_Create(&module), *isas = PyList_New(0);
    for (int i = 0; isas && i < CHOICES; i++) {
        PyObject *name = runs_here(i) ? PyUnicode_FromString(choices[i].name) : NULL;
        if (name) PyList_Append(isas, name);
        Py_XDECREF(name);
    }
    PyObject *rows = Py_BuildValue("[" ROW_FORMAT "]", ROW_NAMES);
    if (m == NULL || isas == NULL || rows == NULL || PyErr_Occurred() || PyModule_AddObjectRef(m, "Plan", (PyObject *)&PlanType) ||
        PyModule_AddObjectRef(m, "ISAS", isas) || PyModule_AddObjectRef(m, "ROWS", rows) ||
        PyModule_AddStringConstant(m, "SOURCE_HASH", KERNEL_HASH))
        Py_CLEAR(m);
    Py_XDECREF(isas);
    Py_XDECREF(rows);
    static int once;
    if (m && !once++) pthread_atfork(NULL, NULL, after_fork);
    return m;
}
