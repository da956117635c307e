"""Lesson 2: one output, several inputs.

With several inputs there is one slope per input: hold the others still, push this one, watch the output. The list of
these slopes is called the gradient.

Run me: python examples/02_three_inputs.py
"""

from chainrule import Value

# Step 1. Measure. Three runs, each pushing one input.
h = 0.0001
a, b, c = 2.0, -3.0, 10.0
d = a * b + c
print("d =", d)
print(f"measured: push a {((a + h) * b + c - d) / h:.4f}")
print(f"measured: push b {(a * (b + h) + c - d) / h:.4f}")
print(f"measured: push c {(a * b + (c + h) - d) / h:.4f}")

# Step 2. Compute. One backward pass finds all three at once, which is the whole point: a network has a slope for each
# of its thousands of weights, and pushing them one by one would take thousands of runs.
a, b, c = Value(2.0, label="a"), Value(-3.0, label="b"), Value(10.0, label="c")
d = a * b + c
d.backward()
print("exact: by a", a.grad)  # pushing a moves d by b
print("exact: by b", b.grad)  # pushing b moves d by a
print("exact: by c", c.grad)  # c is just added, so d follows it one to one
