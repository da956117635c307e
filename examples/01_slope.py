"""Lesson 1: what a derivative is.

A derivative answers one question: if I push the input up a tiny bit, how much does the output move, per unit of push?
We first measure it, by pushing, and then let chainrule compute it exactly.

Run me: python examples/01_slope.py
"""

from chainrule import Value, grad


def f(x):
    """A parabola, three x squared minus four x plus five; it takes numbers as well as Values."""
    return 3 * x**2 - 4 * x + 5


# Step 1. Measure. Push x by h and compare: the smaller h, the closer to the true slope at 3.
x = 3.0
print("height at three:", f(x))
for h in (0.1, 0.001, 0.00001):
    slope = (f(x + h) - f(x)) / h
    print(f"push by h = {h:.5f}: measured slope = {slope:.5f}")

# Step 2. The same without a push: a Value remembers how it was computed, so the exact slope can be worked out backwards.
x = Value(3.0)
y = f(x)
y.backward()
print("exact slope at three:", x.grad)

# Step 3. The sign tells the direction. Left of the valley the curve falls; at its bottom, 2/3, it is flat.
slope_of_f = grad(f)
print("exact slope at minus three:", slope_of_f(-3.0))
print(f"exact slope at two thirds: {abs(slope_of_f(2 / 3)):.4f}")
