"""Graphs that several files of tests draw, explain, step through and write out."""

import random

import chainrule.engine
from chainrule import Value, gradients, ops
from chainrule.errors import DomainError, GraphError

ROWS = {op.name: op for op in ops.BUILT_IN}


def neuron():
    """The lecture's two-input tanh neuron, before its backward pass."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    n = x1 * w1 + x2 * w2 + Value(6.8813735870195432, label="b")
    n.label = "n"
    o = n.tanh()
    o.label = "o"
    return o


def passed(root):
    """The same graph, after its backward pass."""
    root.backward()
    return root


def chain(length):
    """So many nodes, each the negative of the one before."""
    x = Value(1.0)
    for _ in range(length - 1):
        x = -x
    return x


def drawn(data, moves, *, labels, constants, largest, steepest, smallest=0.0):
    """The nodes of a graph that hypothesis has drawn, in the order in which they were made.

    data: the leaves. moves: for each node more the name of a row and a seed; where the row does not take what is there, a
    difference stands in. labels: what a node may be called. constants: how often a later operand is a plain number.
    smallest, largest, steepest: bounds of the results, and of all gradients.
    """
    values = [Value(x) for x in data]
    for name, seed in moves:
        rng = random.Random(seed)
        for candidate in (name, "sub"):
            places = [rng.randrange(len(values)) for _ in range(ROWS[candidate].arity)]
            xs = [values[p].data if rng.random() < constants and i else values[p] for i, p in enumerate(places)]
            try:
                y = chainrule.engine.apply(ROWS[candidate], *xs)
                grads = gradients(y)
            except (DomainError, GraphError):
                continue
            if smallest <= abs(y.data) < largest and all(abs(g) < steepest for g in grads.values()):
                y.label = rng.choice(labels)
                values.append(y)
                break
    return values
