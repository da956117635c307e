"""Lesson 4: backpropagation with pencil and paper, then one step uphill.

L = (a * b + c) * f is made of three small steps. For each step we know how its output follows its inputs; multiplying
these local slopes on the way from L back to an input gives the slope of L by that input. That is the chain rule.

Run me: python examples/04_backprop_by_hand.py
"""

from chainrule import Value

# Step 1. Forward, with plain numbers, keeping what comes up on the way.
a, b, c, f = 2.0, -3.0, 10.0, -2.0
e = a * b
d = e + c
L = d * f
print("L =", L)

# Step 2. Backward, by hand. Start at the end: L moves with itself one to one.
L_by_L = 1.0
L_by_d = f * L_by_L  # L = d * f: pushing d is scaled by f ...
L_by_f = d * L_by_L  # ... and pushing f is scaled by d
L_by_c = 1.0 * L_by_d  # d = e + c: a sum hands its slope on, unchanged, to both sides
L_by_e = 1.0 * L_by_d
L_by_a = b * L_by_e  # e = a * b: a product swaps the factors
L_by_b = a * L_by_e
print("by hand: a", L_by_a, "b", L_by_b, "c", L_by_c, "f", L_by_f, "d", L_by_d)

# Step 3. The same, by machine.
a, b, c, f = Value(2.0, label="a"), Value(-3.0, label="b"), Value(10.0, label="c"), Value(-2.0, label="f")
d = a * b + c
L = d * f
L.backward()
print("by machine: a", a.grad, "b", b.grad, "c", c.grad, "f", f.grad, "d", d.grad)

# Step 4. What gradients are for. Move every input a little along its own slope and L must go up; training goes the
# other way, down, because there L measures how wrong we are.
step = 0.01
for x in (a, b, c, f):
    x.data += step * x.grad
L = (a * b + c) * f
print(f"after one step uphill: L = {L.data:.6f}")
