"""Lesson 7: why gradients are added up, with +=.

A number that is used twice reaches the output along two roads, and pushing it moves the output along both. So its slope
is the sum over the roads. A backward pass that writes `grad = ...` instead of `grad += ...` keeps only the last road.

Run me: python examples/07_why_add_up.py
"""

from chainrule import Value


class ForgetfulValue:
    """A Value in a dozen lines, with the mistake this lesson is about: it overwrites gradients."""

    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.grad = data, 0.0
        self.inputs, self.slopes = inputs, slopes

    def __add__(self, other):
        return ForgetfulValue(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return ForgetfulValue(self.data * other.data, (self, other), (other.data, self.data))

    def backward(self, gradient=1.0):
        """Pass the gradient on to the inputs, times the local slopes."""
        self.grad = gradient  # the mistake: this should be +=
        for x, slope in zip(self.inputs, self.slopes, strict=True):
            x.backward(gradient * slope)


# Case 1. b = a + a is two times a, so its slope must be two.
a = ForgetfulValue(3.0)
(a + a).backward()
print("a + a, overwriting: slope", a.grad)

a = Value(3.0)
(a + a).backward()
print("a + a, adding up: slope", a.grad)


# Case 2. The same slip, hidden better: a and b are both used by d and by e.
def reuse(a, b):
    """Multiply the product of two numbers by their sum."""
    d = a * b
    e = a + b
    return d * e


a, b = ForgetfulValue(-2.0), ForgetfulValue(3.0)
reuse(a, b).backward()
print("reuse, overwriting: slopes", a.grad, "and", b.grad)

a, b = Value(-2.0), Value(3.0)
f = reuse(a, b)
f.backward()
print("reuse, adding up: slopes", a.grad, "and", b.grad)

# Who is right? Push, and see.
h = 0.000001
print(f"reuse, measured: slopes {(reuse(-2.0 + h, 3.0) - f.data) / h:.4f} and {(reuse(-2.0, 3.0 + h) - f.data) / h:.4f}")
