"""Lesson 6: the same neuron with tanh taken apart.

How large should one operation be? It does not matter, as long as you know its slope. Below, tanh(n) is spelled out as
(exp(2n) - 1) / (exp(2n) + 1): many small steps instead of one, and the same gradients.

Run me: python examples/06_neuron_taken_apart.py
"""

from chainrule import Value, inputs_first

X1, X2, W1, W2, B = 2.0, 0.0, -3.0, 1.0, 6.8813735870195432


def neuron(squash):
    """Run the neuron with this squashing function; report the output, the size of the graph and the slopes."""
    x1, x2, w1, w2, b = Value(X1), Value(X2), Value(W1), Value(W2), Value(B)
    o = squash(x1 * w1 + x2 * w2 + b)
    o.backward()
    print(f"  output {o.data:.4f} from {len(inputs_first(o))} nodes")
    print(f"  slopes: w1 {w1.grad:.4f}, x1 {x1.grad:.4f}, w2 {w2.grad:.4f}, x2 {x2.grad:.4f}")


def tanh_from_exp(n):
    """The definition of the hyperbolic tangent; the exponential is used twice, so its two slopes add up."""
    e = (2 * n).exp()
    return (e - 1) / (e + 1)


print("tanh as one operation:")
neuron(lambda n: n.tanh())
print("tanh taken apart:")
neuron(tanh_from_exp)
