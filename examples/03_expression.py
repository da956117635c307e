"""Lesson 3: any expression will do.

The expression below, from the README of micrograd, means nothing. That is its merit: it mixes sums, products, powers,
quotients and a rectifier, reuses its intermediate results, and still one call of `backward()` differentiates it.

Run me: python examples/03_expression.py
"""

from chainrule import Value, inputs_first


def expression(a, b):
    """Two inputs in, one number out, by a winding road."""
    c = a + b
    c = c + c + 1
    c = c + (1 + c - a)
    d = a * b + b**3
    d = d + (d * 2 + (b + a).relu())
    d = d + (3 * d + (b - a).relu())
    f = (c - d) ** 2
    return f / 2.0 + 10.0 / f


a, b = Value(-4.0, label="a"), Value(2.0, label="b")
g = expression(a, b)
print(f"g = {g.data:.4f}")

g.backward()
print(f"push a a little and g moves by {a.grad:.4f} times as much")
print(f"push b a little and g moves by {b.grad:.4f} times as much")

# Every node on the road, inputs first, constants included, is still there to look at.
print("nodes in the graph:", len(inputs_first(g)))
