/* The native engine: the Value of engine.py, written in C.

   What an operation computes is not written here: `_ops.h` is generated from the table (native/generate.py runs the rules
   of ops.py on text). This file is the skeleton: the node, how one is made, the walk, backpropagation, and release.
   Everything that is not about speed (errors, printing, copying, pickling) is inherited from the Python class Node, or
   asked of engine.py through the functions it hands to `create`.

   A node is 64 bytes, holds no cycle and is not tracked by the garbage collector. Walk and release are loops, so that a
   chain of a million nodes needs no stack. All of it runs under the GIL. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>

/* ---- guards: the same domains as FloatMath in ops.py ------------------------------------------------------------- */

static int left_domain; /* set by a guard; looked at after each operation */

static inline double guard(int fine, double y) {
    if (!fine) left_domain = 1;
    return y;
}
static inline double cr_div(double a, double b) { return guard(b != 0.0, a / b); }
static inline double cr_log(double x) { return guard(!(x <= 0.0), log(x)); }
static inline double cr_log1p(double x) { return guard(!(x <= -1.0), log1p(x)); }
static inline double cr_sqrt(double x) { return guard(!(x < 0.0), sqrt(x)); }
static inline double cr_sin(double x) { return guard(!isinf(x), sin(x)); }
static inline double cr_cos(double x) { return guard(!isinf(x), cos(x)); }
static inline double cr_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static inline double cr_maximum(double a, double b) { return a >= b || a != a ? a : b; }
static inline double cr_minimum(double a, double b) { return a <= b || a != a ? a : b; }
static inline double cr_pow(double a, double b) {
    int no_root = a < 0.0 && isfinite(a) && isfinite(b) && b != floor(b);
    int pole = a == 0.0 && b < 0.0 && isfinite(b);
    return guard(!no_root && !pole, pow(a, b));
}

/* OP_COUNT, OP_ADD, ..., ARITY[], SLOPED[][3], forward_rule(), slope_rules(), SOURCE_HASH, the lists of methods */
#include "_ops.h"

#define LEAF OP_COUNT       /* the code of a node without operation */
#define OTHER (OP_COUNT + 1) /* the code of an operation that a user registered */

/* ---- the node ---------------------------------------------------------------------------------------------------- */

typedef struct Node Node;

typedef struct { /* what few nodes have: a label, where they were made, and the inputs of a node that has MANY */
    PyObject *label; /* or, of a node with an origin, the pair (label, origin): so nodes without one pay nothing for it */
    Node *inputs[];
} Extras;

struct Node {
    PyObject_HEAD
    double data;
    union {
        double grad;
        Node *next; /* while it is being released */
    };
    union {
        Node *inputs[2];
        struct { /* a registered operation (OTHER) has its inputs in extras, and here its row and that row's rules, a tuple */
            PyObject *op, *derivatives;
        };
    };
    Extras *extras;
    int32_t place; /* where it stands in the order of the walk going on; checked against that order, so never stale */
    uint8_t code, count, requires_grad, has_grad;
};

static PyTypeObject *ValueType;
static PyObject *node_type, *op_records[OP_COUNT], *codes; /* codes: {Op: int} */
static PyObject *as_number, *number_or_none, *evaluate, *slopes, *domain_error, *checked_label;

#if defined(__GNUC__)
static __thread __attribute__((tls_model("initial-exec"))) int recording_off;
#else
static _Thread_local int recording_off;
#endif

static inline int is_value(PyObject *x) { return Py_TYPE(x) == ValueType || PyType_IsSubtype(Py_TYPE(x), ValueType); }

#define MANY 3 /* Node.count when the inputs are in extras: three of a row of the table, or any number of a registered one */

static inline Py_ssize_t inputs_of(Node *v, Node ***inputs) {
    if (v->count != MANY) {
        *inputs = v->inputs;
        return v->count;
    }
    *inputs = v->extras->inputs;
    return v->code == OTHER ? PyTuple_GET_SIZE(v->derivatives) : 3;
}

#define FREE_LIMIT 8192
static Node *free_list;
static int free_count;

static inline void clear_fields(Node *v, double data) {
    v->data = data;
    v->grad = 0.0;
    v->inputs[0] = v->inputs[1] = NULL;
    v->extras = NULL;
    v->place = 0;
    v->code = LEAF;
    v->count = v->requires_grad = v->has_grad = 0;
}

static inline Node *new_node(double data) {
    Node *v = free_list;
    if (v) {
        free_list = v->next;
        free_count--;
    } else {
        v = PyObject_Malloc(sizeof(Node));
        if (!v) return (Node *)PyErr_NoMemory();
    }
    /* The type outlives every node (this module holds it for good), so nodes do not count references to it. */
    Py_SET_TYPE((PyObject *)v, ValueType);
    Py_SET_REFCNT((PyObject *)v, 1);
    clear_fields(v, data);
    return v;
}

static Extras *new_extras(Node *v, Py_ssize_t count) {
    Extras *e = PyMem_Calloc(1, sizeof(Extras) + (size_t)count * sizeof(Node *));
    if (!e) return (Extras *)PyErr_NoMemory();
    return v->extras = e;
}

static inline void release_input(Node *x, Node **todo) {
    if (Py_TYPE(x) != ValueType) {
        Py_DECREF(x); /* a subclass: always a leaf, so this goes one level deep */
    } else if (Py_REFCNT(x) == 1) {
        x->next = *todo;
        *todo = x;
    } else {
        Py_SET_REFCNT((PyObject *)x, Py_REFCNT(x) - 1);
    }
}

static void free_node(Node *v) {
    PyTypeObject *type = Py_TYPE(v);
    if (type != ValueType) {
        type->tp_free((PyObject *)v);
        Py_DECREF(type);
    } else if (free_count < FREE_LIMIT) {
        v->next = free_list;
        free_list = v;
        free_count++;
    } else {
        PyObject_Free(v);
    }
}

/* Drop everything a node holds; inputs that nobody else holds are put on the list to be released. */
static void release_parts(Node *v, Node **todo) {
    Node **inputs;
    Py_ssize_t n = inputs_of(v, &inputs);
    for (Py_ssize_t i = 0; i < n; i++) release_input(inputs[i], todo);
    if (v->code == OTHER) {
        Py_DECREF(v->op);
        Py_DECREF(v->derivatives);
    }
    if (v->extras) {
        Py_XDECREF(v->extras->label);
        PyMem_Free(v->extras);
    }
}

static void release_all(Node *todo) {
    while (todo) {
        Node *v = todo;
        todo = v->next;
        release_parts(v, &todo);
        free_node(v);
    }
}

static void value_dealloc(PyObject *self) {
    ((Node *)self)->next = NULL;
    release_all((Node *)self);
}

/* ---- numbers and operands ---------------------------------------------------------------------------------------- */

static int to_double(PyObject *x, double *out) { /* 0, or -1 with an exception */
    if (PyFloat_Check(x)) {
        *out = PyFloat_AS_DOUBLE(x);
        return 0;
    }
    PyObject *number = PyObject_CallOneArg(as_number, x);
    if (!number) return -1;
    *out = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return 0;
}

/* A new reference to x as a node: itself, or a constant; NULL without exception when x is no number. */
static inline Node *operand(PyObject *x) {
    if (Py_TYPE(x) == ValueType) return (Node *)Py_NewRef(x);
    if (PyFloat_Check(x)) return new_node(PyFloat_AS_DOUBLE(x));
    if (is_value(x)) return (Node *)Py_NewRef(x);
    PyObject *number = PyObject_CallOneArg(number_or_none, x);
    if (!number) return NULL;
    Node *v = number == Py_None ? NULL : new_node(PyFloat_AsDouble(number));
    Py_DECREF(number);
    return v;
}

static PyObject *record_of(Node *v) { /* borrowed; NULL for a leaf */
    return v->code == LEAF ? NULL : v->code == OTHER ? v->op : op_records[v->code];
}

static PyObject *inputs_tuple(Node *v) {
    Node **inputs;
    Py_ssize_t n = inputs_of(v, &inputs);
    PyObject *tuple = PyTuple_New(n);
    for (Py_ssize_t i = 0; tuple && i < n; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef((PyObject *)inputs[i]));
    return tuple;
}

static PyObject *raise_domain_error(PyObject *op, PyObject *inputs, int backward) {
    left_domain = 0;
    PyObject *error = PyObject_CallFunction(domain_error, "OOOi", op, inputs, Py_None, backward);
    if (error) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    return NULL;
}

/* ---- making nodes ------------------------------------------------------------------------------------------------ */

/* Steals the references a and b (b is NULL for one input). */
static inline PyObject *make(int code, Node *a, Node *b) {
    double y = forward_rule(code, a->data, b ? b->data : 0.0, 0.0);
    if (left_domain) {
        left_domain = 0;
        PyObject *inputs = b ? PyTuple_Pack(2, a, b) : PyTuple_Pack(1, a);
        if (inputs) raise_domain_error(op_records[code], inputs, 0);
        Py_XDECREF(inputs);
        Py_DECREF(a);
        Py_XDECREF(b);
        return NULL;
    }
    Node *v = new_node(y);
    if (v && (a->requires_grad || (b && b->requires_grad)) && !recording_off) {
        v->code = (uint8_t)code;
        v->count = b ? 2 : 1;
        v->requires_grad = 1;
        v->inputs[0] = a;
        v->inputs[1] = b;
    } else {
        Py_DECREF(a);
        Py_XDECREF(b);
    }
    return (PyObject *)v;
}

static inline PyObject *binary(int code, PyObject *left, PyObject *right) {
    Node *a = operand(left);
    Node *b = a ? operand(right) : NULL;
    if (b) return make(code, a, b);
    Py_XDECREF(a);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NOTIMPLEMENTED;
}

static inline PyObject *unary(int code, PyObject *x) { return make(code, (Node *)Py_NewRef(x), NULL); }

static PyObject *value_add(PyObject *a, PyObject *b) { return binary(OP_ADD, a, b); }
static PyObject *value_sub(PyObject *a, PyObject *b) { return binary(OP_SUB, a, b); }
static PyObject *value_mul(PyObject *a, PyObject *b) { return binary(OP_MUL, a, b); }
static PyObject *value_div(PyObject *a, PyObject *b) { return binary(OP_DIV, a, b); }
static PyObject *value_neg(PyObject *x) { return unary(OP_NEG, x); }
static PyObject *value_abs(PyObject *x) { return unary(OP_ABS, x); }
static PyObject *value_pos(PyObject *x) { return Py_NewRef(x); }
static int value_bool(PyObject *x) { return ((Node *)x)->data != 0.0; }
static PyObject *value_pow(PyObject *a, PyObject *b, PyObject *modulus) {
    if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
    return binary(OP_POW, a, b);
}

static PyObject *wrong_operand(PyObject *x) { /* as_number(x) raises the exception that says what came */
    double unused;
    if (!PyErr_Occurred() && to_double(x, &unused) == 0) PyErr_SetString(PyExc_SystemError, "operand lost");
    return NULL;
}

/* An operator answers NotImplemented for what is no number, so that Python asks the other side; a method raises. */
static PyObject *named_binary(int code, PyObject *a, PyObject *b) {
    PyObject *y = binary(code, a, b);
    if (y != Py_NotImplemented) return y;
    Py_DECREF(y);
    return wrong_operand(b);
}

/* exp(), tanh(), maximum(), ...: one C function for each method that the table names */
#define UNARY(name, code, doc) \
    static PyObject *method_##name(PyObject *x, PyObject *unused) { return unary(code, x); }
#define BINARY(name, code, doc) \
    static PyObject *method_##name(PyObject *a, PyObject *b) { return named_binary(code, a, b); }
UNARY_METHODS(UNARY)
BINARY_METHODS(BINARY)
#undef UNARY
#undef BINARY

static void drop_inputs(Node **inputs, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) Py_XDECREF(inputs[i]);
}

/* Store op and inputs in v; steals the inputs. -1 with an exception (and the inputs dropped) on failure. */
static int connect(Node *v, PyObject *op, int code, Node **inputs, Py_ssize_t n) {
    PyObject *derivatives = code == OTHER ? PyObject_GetAttrString(op, "derivatives") : NULL;
    Py_ssize_t arity = code != OTHER ? ARITY[code] : derivatives && PyTuple_Check(derivatives) ? PyTuple_GET_SIZE(derivatives) : -1;
    int many = code == OTHER || n > 2, fine = arity == n;
    if (!fine && !PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "%zd inputs do not fit the operation %R", n, op);
    if (fine && many) fine = new_extras(v, n) != NULL;
    if (!fine) {
        Py_XDECREF(derivatives);
        drop_inputs(inputs, n);
        return -1;
    }
    memcpy(many ? v->extras->inputs : v->inputs, inputs, (size_t)n * sizeof(Node *));
    if (code == OTHER) {
        v->op = Py_NewRef(op);
        v->derivatives = derivatives;
    }
    v->count = many ? MANY : (uint8_t)n;
    v->code = (uint8_t)code;
    return 0;
}

static int code_of(PyObject *op) {
    PyObject *code = PyDict_GetItemWithError(codes, op); /* borrowed */
    return code ? (int)PyLong_AsLong(code) : OTHER;
}

/* The number of op at these inputs; -1 with an exception on failure. */
static int compute(PyObject *op, int code, Node **inputs, Py_ssize_t n, double *y) {
    int result = -1;
    PyObject *tuple = NULL;
    if (code != OTHER) {
        *y = forward_rule(code, inputs[0]->data, n > 1 ? inputs[1]->data : 0.0, n > 2 ? inputs[2]->data : 0.0);
        if (!left_domain) return 0;
    }
    tuple = PyTuple_New(n);
    for (Py_ssize_t i = 0; tuple && i < n; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef((PyObject *)inputs[i]));
    if (tuple && code != OTHER) {
        raise_domain_error(op, tuple, 0);
    } else if (tuple) {
        PyObject *number = PyObject_CallFunctionObjArgs(evaluate, op, tuple, NULL);
        if (number) {
            *y = PyFloat_AsDouble(number);
            result = 0;
            Py_DECREF(number);
        }
    }
    Py_XDECREF(tuple);
    return result;
}

#define MOST_INPUTS 64 /* on the C stack; more go through the heap */

static PyObject *engine_apply(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs < 2) return PyErr_Format(PyExc_TypeError, "apply takes an operation and at least one input");
    PyObject *op = args[0];
    Py_ssize_t n = nargs - 1, made = 0;
    int code = code_of(op), wanted = 0;
    double y = 0.0;
    Node *few[MOST_INPUTS], **inputs = n <= MOST_INPUTS ? few : PyMem_Calloc((size_t)n, sizeof(Node *)), *v = NULL;
    if (!inputs) return PyErr_NoMemory();
    for (; made < n && (inputs[made] = operand(args[made + 1])); made++) wanted |= inputs[made]->requires_grad;
    if (made < n) {
        wrong_operand(args[made + 1]);
    } else if (compute(op, code, inputs, n, &y) == 0 && (v = new_node(y)) && wanted && !recording_off) {
        if (connect(v, op, code, inputs, n) < 0) Py_CLEAR(v);
        else v->requires_grad = 1;
        made = 0; /* the references have moved */
    }
    drop_inputs(inputs, made);
    if (inputs != few) PyMem_Free(inputs);
    return (PyObject *)v;
}

static PyObject *origin_of(Node *v) { /* borrowed; NULL for none */
    PyObject *x = v->extras ? v->extras->label : NULL;
    return x && PyTuple_Check(x) ? PyTuple_GET_ITEM(x, 1) : NULL;
}

static int set_label(PyObject *self, PyObject *label, void *unused) {
    Node *v = (Node *)self;
    if (!label) {
        PyErr_SetString(PyExc_AttributeError, "label cannot be deleted; assign \"\"");
        return -1;
    }
    PyObject *text = PyObject_CallOneArg(checked_label, label);
    if (!text) return -1;
    if ((!v->extras && PyUnicode_GetLength(text) == 0) || (!v->extras && !new_extras(v, 0))) {
        Py_DECREF(text);
        return PyErr_Occurred() ? -1 : 0;
    }
    if (origin_of(v)) {
        PyObject *pair = PyTuple_Pack(2, text, origin_of(v));
        Py_DECREF(text);
        if (!pair) return -1;
        text = pair;
    }
    Py_XSETREF(v->extras->label, text);
    return 0;
}

/* make(op | None, inputs, data, grad | None, label, requires_grad): a node with exactly these parts */
static PyObject *engine_make(PyObject *module, PyObject *args) {
    PyObject *op, *inputs, *grad, *label;
    double data;
    int requires_grad;
    if (!PyArg_ParseTuple(args, "OOdOOp", &op, &inputs, &data, &grad, &label, &requires_grad)) return NULL;
    PyObject *list = PySequence_Fast(inputs, "inputs must be a sequence");
    if (!list) return NULL;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(list);
    Node *v = new_node(data);
    Node **nodes = PyMem_Calloc((size_t)n + 1, sizeof(Node *));
    int fine = v && nodes;
    for (Py_ssize_t i = 0; fine && i < n; i++) {
        PyObject *x = PySequence_Fast_GET_ITEM(list, i);
        fine = is_value(x);
        if (fine) nodes[i] = (Node *)Py_NewRef(x);
        else PyErr_SetString(PyExc_TypeError, "inputs must be Values");
    }
    if (!fine && nodes) drop_inputs(nodes, n);
    else if (fine && n) fine = connect(v, op, code_of(op), nodes, n) == 0;
    if (fine) {
        v->requires_grad = (uint8_t)requires_grad;
        v->has_grad = grad != Py_None;
        if (v->has_grad) fine = to_double(grad, &v->grad) == 0;
        if (fine) fine = set_label((PyObject *)v, label, NULL) == 0;
    }
    PyMem_Free(nodes);
    Py_DECREF(list);
    if (!fine) Py_CLEAR(v);
    return (PyObject *)v;
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

/* A node in inputs-first order, and where those of its inputs stand that a gradient flows to; NOWHERE for the others. For
   MANY inputs `a` is an offset in `rest`. This is decided once, in the walk: Python rules run later, and may change flags. */
typedef struct {
    Node *node;
    int32_t a, b;
} Step;
#define NOWHERE -1

typedef struct {
    Step *steps;
    Node **stack;
    int32_t *rest;
    size_t count, room, depth, stack_room, rest_count, rest_room;
} Walk;

static void end_walk(Walk *w) {
    PyMem_RawFree(w->steps);
    PyMem_RawFree(w->stack);
    PyMem_RawFree(w->rest);
}

static int grow(void *array, size_t *room, size_t needed, size_t size) {
    if (needed <= *room) return 0;
    size_t larger = needed + *room + 64;
    void *moved = PyMem_RawRealloc(*(void **)array, larger * size);
    if (!moved) {
        PyErr_NoMemory();
        return -1;
    }
    *(void **)array = moved;
    *room = larger;
    return 0;
}

static inline int is_done(Walk *w, Node *v) { return (size_t)v->place < w->count && w->steps[v->place].node == v; }

/* Whether a gradient flows from v to its i-th input. */
static inline int flows(Node *v, Node *x, Py_ssize_t i) {
    if (!x->requires_grad) return 0;
    return v->code == OTHER ? PyTuple_GET_ITEM(v->derivatives, i) != Py_None : SLOPED[v->code][i];
}

static inline int32_t place_of(Node *v, Node **inputs, Py_ssize_t i) {
    return flows(v, inputs[i], i) ? inputs[i]->place : NOWHERE;
}

static int finish(Walk *w, Node *v) {
    if (grow(&w->steps, &w->room, w->count + 1, sizeof(Step)) < 0) return -1;
    Step *s = &w->steps[w->count];
    s->node = v;
    Node **inputs;
    Py_ssize_t n = inputs_of(v, &inputs);
    if (v->count != MANY) {
        s->a = n > 0 ? place_of(v, inputs, 0) : NOWHERE;
        s->b = n > 1 ? place_of(v, inputs, 1) : NOWHERE;
    } else {
        if (grow(&w->rest, &w->rest_room, w->rest_count + (size_t)n, sizeof(int32_t)) < 0) return -1;
        s->a = (int32_t)w->rest_count;
        for (Py_ssize_t i = 0; i < n; i++) w->rest[w->rest_count++] = place_of(v, inputs, i);
    }
    v->place = (int32_t)w->count++;
    return 0;
}

/* Depth first with a stack of its own. Bit 0 of an entry marks a node whose inputs are finished. `every`: also along
   edges without gradient. The order is that of `inputs_first` in engine.py. */
static int walk(Walk *w, Node *root, int every) {
    memset(w, 0, sizeof(*w));
    if (grow(&w->stack, &w->stack_room, 1, sizeof(Node *)) < 0) return -1;
    w->stack[w->depth++] = root;
    while (w->depth) {
        Node *v = w->stack[--w->depth], **inputs;
        if ((uintptr_t)v & 1) {
            if (finish(w, (Node *)((uintptr_t)v & ~(uintptr_t)1)) < 0) return -1;
            continue;
        }
        if (is_done(w, v)) continue;
        Py_ssize_t n = inputs_of(v, &inputs);
        if (n == 0) {
            if (finish(w, v) < 0) return -1;
            continue;
        }
        if (grow(&w->stack, &w->stack_room, w->depth + (size_t)n + 1, sizeof(Node *)) < 0) return -1;
        w->stack[w->depth++] = (Node *)((uintptr_t)v | 1);
        for (Py_ssize_t i = 0; i < n; i++) {
            if ((every || flows(v, inputs[i], i)) && !is_done(w, inputs[i])) w->stack[w->depth++] = inputs[i];
        }
        if (w->count > INT32_MAX - 2 || w->rest_count > INT32_MAX / 2) {
            PyErr_SetString(PyExc_OverflowError, "a graph of more than 2**31 nodes");
            return -1;
        }
    }
    return 0;
}

static int check_value(PyObject *root) {
    if (is_value(root)) return 0;
    PyErr_Format(PyExc_TypeError, "a Value is needed, not %.100s", Py_TYPE(root)->tp_name);
    return -1;
}

static PyObject *engine_inputs_first(PyObject *module, PyObject *root) {
    Walk w;
    if (check_value(root) < 0) return NULL;
    if (walk(&w, (Node *)root, 1) < 0) {
        end_walk(&w);
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)w.count);
    for (size_t i = 0; list && i < w.count; i++) PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef((PyObject *)w.steps[i].node));
    end_walk(&w);
    return list;
}

/* ---- backpropagation --------------------------------------------------------------------------------------------- */

static int pull_other(Node *v, double g, int32_t *places, double *grads) { /* a registered operation: ask its Python rules */
    PyObject *list = PyObject_CallOneArg(slopes, (PyObject *)v);
    if (!list) return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) { /* as many as v has inputs */
        PyObject *slope = PyList_GET_ITEM(list, i);
        if (slope != Py_None && places[i] != NOWHERE) grads[places[i]] += g * PyFloat_AsDouble(slope);
    }
    Py_DECREF(list);
    return PyErr_Occurred() ? -1 : 0;
}

static int pull(Walk *w, Step *s, double g, double *grads) {
    Node *v = s->node, **inputs;
    int32_t two[2] = {s->a, s->b}, *places = v->count == MANY ? w->rest + s->a : two;
    if (v->code == OTHER) return pull_other(v, g, places, grads);
    Py_ssize_t n = inputs_of(v, &inputs);
    double slope[3], x[3] = {0.0, 0.0, 0.0};
    int needed[3] = {0, 0, 0};
    for (Py_ssize_t i = 0; i < n; i++) {
        x[i] = inputs[i]->data;
        needed[i] = places[i] != NOWHERE;
    }
    slope_rules(v->code, v->data, x[0], x[1], x[2], needed, slope);
    for (Py_ssize_t i = 0; i < n; i++) {
        if (needed[i]) grads[places[i]] += g * slope[i];
    }
    if (!left_domain) return 0;
    PyObject *tuple = inputs_tuple(v);
    if (tuple) raise_domain_error(op_records[v->code], tuple, 1);
    Py_XDECREF(tuple);
    return -1;
}

/* d(root)/d(node) for every node of the walk; NULL with an exception on failure. No node is changed. */
static double *backpropagate(Walk *w, Node *root) {
    if (walk(w, root, 0) < 0) return NULL;
    double *grads = PyMem_RawCalloc(w->count, sizeof(double));
    if (!grads) return (double *)PyErr_NoMemory();
    grads[w->count - 1] = 1.0;
    for (size_t i = w->count; i-- > 0;) {
        Step *s = &w->steps[i];
        Node *v = s->node;
        double g = grads[i];
        /* The two operations that most nodes are, without the general machinery. */
        if (v->code == OP_ADD) {
            if (s->a != NOWHERE) grads[s->a] += g;
            if (s->b != NOWHERE) grads[s->b] += g;
        } else if (v->code == OP_MUL) {
            if (s->a != NOWHERE) grads[s->a] += g * v->inputs[1]->data;
            if (s->b != NOWHERE) grads[s->b] += g * v->inputs[0]->data;
        } else if (v->code != LEAF && pull(w, s, g, grads) < 0) {
            PyMem_RawFree(grads);
            return NULL;
        }
    }
    return grads;
}

static PyObject *engine_number_gradients(PyObject *module, PyObject *root) {
    Walk w = {0};
    if (check_value(root) < 0) return NULL;
    double *grads = backpropagate(&w, (Node *)root);
    PyObject *dict = grads ? PyDict_New() : NULL;
    for (size_t i = 0; dict && i < w.count; i++) {
        PyObject *g = PyFloat_FromDouble(grads[i]);
        if (!g || PyDict_SetItem(dict, (PyObject *)w.steps[i].node, g) < 0) Py_CLEAR(dict);
        Py_XDECREF(g);
    }
    PyMem_RawFree(grads);
    end_walk(&w);
    return dict;
}

/* backward() of a Value that requires a gradient; Node.backward checks that and calls this. */
static PyObject *engine_backward(PyObject *module, PyObject *root) {
    Walk w = {0};
    if (check_value(root) < 0) return NULL;
    double *grads = backpropagate(&w, (Node *)root);
    for (size_t i = 0; grads && i < w.count; i++) {
        Node *v = w.steps[i].node;
        v->grad = v->code == LEAF && v->has_grad ? v->grad + grads[i] : grads[i];
        v->has_grad = 1;
    }
    PyMem_RawFree(grads);
    end_walk(&w);
    if (!grads) return NULL;
    Py_RETURN_NONE;
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static PyObject *get_data(PyObject *self, void *unused) { return PyFloat_FromDouble(((Node *)self)->data); }

static PyObject *get_grad(PyObject *self, void *unused) { return PyFloat_FromDouble(((Node *)self)->grad); }

static PyObject *get_has_grad(PyObject *self, void *unused) { return PyBool_FromLong(((Node *)self)->has_grad); }

static PyObject *get_requires_grad(PyObject *self, void *unused) { return PyBool_FromLong(((Node *)self)->requires_grad); }

static PyObject *get_inputs(PyObject *self, void *unused) { return inputs_tuple((Node *)self); }

static PyObject *get_op(PyObject *self, void *unused) {
    PyObject *op = record_of((Node *)self);
    return Py_NewRef(op ? op : Py_None);
}

static PyObject *get_label(PyObject *self, void *unused) {
    Extras *e = ((Node *)self)->extras;
    if (!e || !e->label) return PyUnicode_FromStringAndSize(NULL, 0);
    return Py_NewRef(PyTuple_Check(e->label) ? PyTuple_GET_ITEM(e->label, 0) : e->label);
}

static unsigned long long data_writes; /* how often data or requires_grad of nodes that were there already has been set */

static int set_data(PyObject *self, PyObject *x, void *unused) {
    data_writes++;
    if (x) return to_double(x, &((Node *)self)->data);
    PyErr_SetString(PyExc_AttributeError, "data cannot be deleted");
    return -1;
}

static int set_grad(PyObject *self, PyObject *x, void *unused) {
    Node *v = (Node *)self;
    double grad = 0.0;
    if (x && to_double(x, &grad) < 0) return -1;
    v->grad = grad;
    v->has_grad = x != NULL;
    return 0;
}

static int set_requires_grad(PyObject *self, PyObject *x, void *unused) {
    int on = x ? PyObject_IsTrue(x) : -1;
    if (!x) PyErr_SetString(PyExc_AttributeError, "requires_grad cannot be deleted");
    data_writes++;
    if (on >= 0) ((Node *)self)->requires_grad = (uint8_t)on;
    return on < 0 ? -1 : 0;
}

static PyObject *get_origin(PyObject *self, void *unused) {
    PyObject *origin = origin_of((Node *)self);
    return Py_NewRef(origin ? origin : Py_None);
}

static int set_origin(PyObject *self, PyObject *origin, void *unused) {
    Node *v = (Node *)self;
    if (!origin) {
        PyErr_SetString(PyExc_AttributeError, "_origin cannot be deleted");
        return -1;
    }
    PyObject *label = get_label(self, NULL), *pair = label ? PyTuple_Pack(2, label, origin) : NULL;
    Py_XDECREF(label);
    if (!pair || (!v->extras && !new_extras(v, 0))) {
        Py_XDECREF(pair);
        return -1;
    }
    Py_XSETREF(v->extras->label, pair);
    return 0;
}

static PyGetSetDef attributes[] = {
    {"_origin", get_origin, set_origin, "What the property origin shows.", NULL},
    {"data", get_data, set_data, "The number. Assigning one, as optimisers do, changes this node and no other.", NULL},
    {"grad", get_grad, set_grad, "d(root)/d(this), from the last backward pass; 0.0 as long as there was none.", NULL},
    {"has_grad", get_has_grad, NULL, "Whether a backward pass or an assignment has set `grad`.", NULL},
    {"inputs", get_inputs, NULL, "The nodes this one was computed from, in the order of the operation.", NULL},
    {"label", get_label, set_label, "The name that pictures and error messages show; \"\" for none.", NULL},
    {"op", get_op, NULL, "The row of the table that made this node; None for a leaf.", NULL},
    {"requires_grad", get_requires_grad, set_requires_grad, "False for a constant, which backward passes skip.", NULL},
    {NULL},
};

/* ---- the type ---------------------------------------------------------------------------------------------------- */

static int fill(Node *v, PyObject *data, PyObject *label, int requires_grad) {
    double x;
    if (to_double(data, &x) < 0) return -1;
    if (v->extras || v->code != LEAF) { /* __init__ called again: a leaf from now on */
        Node *todo = NULL;
        release_parts(v, &todo);
        release_all(todo);
        clear_fields(v, x);
    }
    if (label && set_label((PyObject *)v, label, NULL) < 0) return -1;
    v->data = x;
    v->requires_grad = (uint8_t)requires_grad;
    return 0;
}

static PyObject *value_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (type == ValueType) return (PyObject *)new_node(0.0);
    PyObject *self = type->tp_alloc(type, 0);
    if (self) clear_fields((Node *)self, 0.0);
    return self;
}

static int fill_as_asked(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"data", "label", "requires_grad", NULL};
    PyObject *data, *label = NULL;
    int requires_grad = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$Op:Value", names, &data, &label, &requires_grad)) return -1;
    return fill((Node *)self, data, label, requires_grad);
}

static int value_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    data_writes++; /* perhaps it is called again; for a new node of a subclass it does no harm */
    return fill_as_asked(self, args, kwargs);
}

static PyObject *value_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names) {
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    if (n == 1 && !names) { /* Value(x), the common case */
        Node *v = new_node(0.0);
        if (v && fill(v, args[0], NULL, 1) < 0) Py_CLEAR(v);
        return (PyObject *)v;
    }
    PyObject *self = NULL, *tuple = PyTuple_New(n), *kwargs = names ? PyDict_New() : NULL;
    int fine = tuple && (kwargs || !names);
    for (Py_ssize_t i = 0; fine && i < n; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; fine && names && i < PyTuple_GET_SIZE(names); i++) {
        fine = PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, i), args[n + i]) == 0;
    }
    if (fine) self = (PyObject *)new_node(0.0);
    if (self && fill_as_asked(self, tuple, kwargs) < 0) Py_CLEAR(self);
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return self;
}

static Py_hash_t value_hash(PyObject *self) { return PyBaseObject_Type.tp_hash(self); }

static PyObject *value_richcompare(PyObject *self, PyObject *other, int op) {
    Node *x = operand(other);
    if (!x) {
        if (PyErr_Occurred()) return NULL;
        Py_RETURN_NOTIMPLEMENTED;
    }
    double a = ((Node *)self)->data, b = x->data;
    Py_DECREF(x);
    Py_RETURN_RICHCOMPARE(a, b, op);
}

/* A class inherits tracking by the garbage collector from a Python base class, unless it has a traverse of its own. */
static int value_traverse(PyObject *self, visitproc visit, void *arg) { return 0; }

#define UNARY(name, code, doc) {#name, method_##name, METH_NOARGS, doc},
#define BINARY(name, code, doc) {#name, method_##name, METH_O, doc},
static PyMethodDef methods[] = {UNARY_METHODS(UNARY) BINARY_METHODS(BINARY){NULL}};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Value(data, *, label='', requires_grad=True)\n--\n\n"},
    {Py_tp_new, value_new},
    {Py_tp_init, value_init},
    {Py_tp_dealloc, value_dealloc},
    {Py_tp_traverse, value_traverse},
    {Py_tp_hash, value_hash},
    {Py_tp_richcompare, value_richcompare},
    {Py_tp_getset, attributes},
    {Py_tp_methods, methods},
    {Py_nb_add, value_add},
    {Py_nb_subtract, value_sub},
    {Py_nb_multiply, value_mul},
    {Py_nb_true_divide, value_div},
    {Py_nb_power, value_pow},
    {Py_nb_negative, value_neg},
    {Py_nb_positive, value_pos},
    {Py_nb_absolute, value_abs},
    {Py_nb_bool, value_bool},
    {0, NULL},
};

static PyType_Spec type_spec = {"chainrule.engine.Value", sizeof(Node), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, type_slots};

/* ---- the module -------------------------------------------------------------------------------------------------- */

static PyObject *engine_set_recording(PyObject *module, PyObject *active) {
    int on = PyObject_IsTrue(active), before = !recording_off;
    if (on < 0) return NULL;
    recording_off = !on;
    return PyBool_FromLong(before);
}

static PyObject *engine_is_recording(PyObject *module, PyObject *unused) { return PyBool_FromLong(!recording_off); }

/* create(Node, ops, as_number, number_or_none, evaluate, slopes, domain_error, checked_label) -> the type Value */
static PyObject *engine_create(PyObject *module, PyObject *args) {
    PyObject *base, *ops, *given[6];
    if (ValueType) return PyErr_Format(PyExc_RuntimeError, "chainrule.engine cannot be reloaded once the native engine runs; start Python anew");
    if (!PyArg_ParseTuple(args, "OO!OOOOOO", &base, &PyTuple_Type, &ops, &given[0], &given[1], &given[2], &given[3], &given[4],
                          &given[5]))
        return NULL;
    if (PyTuple_GET_SIZE(ops) != OP_COUNT) return PyErr_Format(PyExc_RuntimeError, "built for another operation table");
    codes = PyDict_New();
    for (int i = 0; codes && i < OP_COUNT; i++) {
        PyObject *code = PyLong_FromLong(i);
        op_records[i] = Py_NewRef(PyTuple_GET_ITEM(ops, i));
        if (!code || PyDict_SetItem(codes, op_records[i], code) < 0) return NULL;
        Py_DECREF(code);
    }
    if (!codes) return NULL;
    node_type = Py_NewRef(base);
    PyObject **kept[6] = {&as_number, &number_or_none, &evaluate, &slopes, &domain_error, &checked_label};
    for (int i = 0; i < 6; i++) *kept[i] = Py_NewRef(given[i]);
    PyObject *bases = PyTuple_Pack(1, base);
    PyObject *type = bases ? PyType_FromSpecWithBases(&type_spec, bases) : NULL;
    Py_XDECREF(bases);
    if (!type) return NULL;
    ValueType = (PyTypeObject *)type;
    ValueType->tp_vectorcall = value_vectorcall;
    return Py_NewRef(type);
}

/* ---- numbers in bulk, for compiled programs ---------------------------------------------------------------------- */

/* The i-th of a list of Values; NULL with an error set when it is none. */
static inline Node *value_at(PyObject *list, Py_ssize_t i) {
    PyObject *x = PyList_GET_ITEM(list, i);
    return (Node *)(is_value(x) ? x : PyErr_Format(PyExc_TypeError, "element %zd is no Value", i));
}

/* 'd' or 'f': the type of the numbers of a buffer for n Values; 0 with an error set when it does not fit. */
static char numbers_in(Py_buffer *view, PyObject *buffer, Py_ssize_t n, int flags) {
    if (PyObject_GetBuffer(buffer, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | flags) < 0) return 0;
    char type = view->format && !view->format[1] ? view->format[0] : 0;
    if ((type == 'd' || type == 'f') && view->len == n * view->itemsize) return type;
    PyBuffer_Release(view);
    PyErr_Format(PyExc_TypeError, "a list of Values needs a buffer of as many float64 or float32");
    return 0;
}

static inline double number_at(const Py_buffer *view, char type, Py_ssize_t i) {
    return type == 'd' ? ((double *)view->buf)[i] : (double)((float *)view->buf)[i];
}

/* read_data(values, buffer) -> whether all of them require a gradient */
static PyObject *engine_read_data(PyObject *m, PyObject *const *args, Py_ssize_t nargs) {
    Py_buffer view;
    if (nargs != 2 || !PyList_Check(args[0])) return PyErr_Format(PyExc_TypeError, "a list of Values and a buffer are expected");
    Py_ssize_t n = PyList_GET_SIZE(args[0]);
    char type = numbers_in(&view, args[1], n, PyBUF_WRITABLE);
    int fine = type != 0, wanted = 1;
    for (Py_ssize_t i = 0; fine && i < n; i++) {
        Node *v = value_at(args[0], i);
        if (!(fine = v != NULL)) break;
        wanted &= v->requires_grad;
        if (type == 'd') ((double *)view.buf)[i] = v->data;
        else ((float *)view.buf)[i] = (float)v->data;
    }
    if (type) PyBuffer_Release(&view);
    return fine ? PyBool_FromLong(wanted) : NULL;
}

/* write(values, data or None, grads or None): both in one pass over the nodes */
static PyObject *engine_write(PyObject *m, PyObject *const *args, Py_ssize_t nargs) {
    Py_buffer data, grads;
    if (nargs != 3 || !PyList_Check(args[0])) return PyErr_Format(PyExc_TypeError, "a list of Values and two buffers are expected");
    Py_ssize_t n = PyList_GET_SIZE(args[0]);
    int has_data = args[1] != Py_None, has_grads = args[2] != Py_None;
    char of_data = has_data ? numbers_in(&data, args[1], n, 0) : 0;
    char of_grads = has_grads && !PyErr_Occurred() ? numbers_in(&grads, args[2], n, 0) : 0;
    int fine = !has_data == !of_data && !has_grads == !of_grads;
    data_writes += has_data;
    for (Py_ssize_t i = 0; fine && i < n; i++) {
        Node *v = value_at(args[0], i);
        if (!(fine = v != NULL)) break;
        if (of_data) v->data = number_at(&data, of_data, i);
        if (of_grads) v->grad = number_at(&grads, of_grads, i), v->has_grad = 1;
    }
    if (of_data) PyBuffer_Release(&data);
    if (of_grads) PyBuffer_Release(&grads);
    return fine ? Py_NewRef(Py_None) : NULL;
}

static PyObject *engine_data_writes(PyObject *m, PyObject *unused) { return PyLong_FromUnsignedLongLong(data_writes); }

static PyMethodDef functions[] = {
    {"create", engine_create, METH_VARARGS, "Make the type Value, once."},
    {"apply", (PyCFunction)(void (*)(void))engine_apply, METH_FASTCALL, "The Value of an operation at these inputs."},
    {"make", engine_make, METH_VARARGS, "A node with exactly these parts."},
    {"inputs_first", engine_inputs_first, METH_O, "Every node below this one, inputs first."},
    {"number_gradients", engine_number_gradients, METH_O, "d(root)/d(node) for every node that a gradient reaches."},
    {"backward", engine_backward, METH_O, "Deposit the gradients in the nodes."},
    {"is_recording", engine_is_recording, METH_NOARGS, "Whether this thread records."},
    {"read_data", (PyCFunction)(void (*)(void))engine_read_data, METH_FASTCALL,
     "Copy the data of Values into a buffer; whether all require a gradient."},
    {"write", (PyCFunction)(void (*)(void))engine_write, METH_FASTCALL, "Set data and gradients of Values from buffers."},
    {"data_writes", engine_data_writes, METH_NOARGS, "A number that changes whenever data or requires_grad is assigned."},
    {"set_recording", engine_set_recording, METH_O, "Switch recording in this thread; returns what it was."},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "chainrule.native._engine", "The scalar engine in C; chainrule.engine is its door.", -1, functions,
};

PyMODINIT_FUNC PyInit__engine(void) {
    PyObject *m = PyModule_Create(&module);
    if (!m || PyModule_AddStringConstant(m, "SOURCE_HASH", SOURCE_HASH) < 0) return NULL;
#if defined(__clang__)
    const char *compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
    const char *compiler = "gcc " __VERSION__;
#else
    const char *compiler = "unknown";
#endif
    if (PyModule_AddStringConstant(m, "COMPILER", compiler) < 0) return NULL;
    return m;
}
