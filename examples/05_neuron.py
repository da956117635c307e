"""Lesson 5: a neuron.

A neuron weighs its inputs, adds a bias, and squashes the sum: o = tanh(x1*w1 + x2*w2 + b). The bias here is picked so
that the numbers come out round.

Run me: python examples/05_neuron.py
"""

from chainrule import Value

x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
b = Value(6.8813735870195432, label="b")

n = x1 * w1 + x2 * w2 + b
o = n.tanh()
print(f"activation n = {n.data:.4f}")
print(f"output o = {o.data:.4f}")

o.backward()
# tanh is flat far from zero; where it is now, its slope is one minus the output squared.
print(f"slope by n: {n.grad:.4f}")
print(f"slopes: w1 {w1.grad:.4f}, x1 {x1.grad:.4f}, w2 {w2.grad:.4f}, x2 {x2.grad:.4f}")
# Look at w2: its slope is zero because x2 is zero. An input that is off teaches its weight nothing.
