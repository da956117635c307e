"""Lesson 8: why the backward pass goes in topological order.

A node may pass its gradient on only when it has all of it: when every node that uses it has already contributed. The
smallest graph that shows it is a = 1, b = a + a, c = b + b. It is four times a, so the slope by a must be four.

Run me: python examples/08_why_order.py
"""

from chainrule import Value, inputs_first


class Sum:
    """A number, or the sum of two; just enough to try orders by hand."""

    def __init__(self, data, inputs=()):
        self.data, self.grad, self.inputs = data, 0.0, inputs

    def __add__(self, other):
        return Sum(self.data + other.data, (self, other))

    def pass_on(self):
        """Hand my gradient to my inputs; the slope of a sum by each of its terms is one."""
        for x in self.inputs:
            x.grad += self.grad


def graph():
    """A fresh graph: c uses b twice, b uses a twice."""
    a = Sum(1.0)
    b = a + a
    c = b + b
    c.grad = 1.0
    return a, b, c


# Wrong order 1: in a hurry. Each input runs off as soon as it has received anything.
def hurry(node):
    """Pass on to one input and go there at once, before the other contributions have arrived."""
    for x in node.inputs:
        x.grad += node.grad
        hurry(x)


a, b, c = graph()
hurry(c)
# b ran twice: first with half of its gradient, then with all of it, so the first half was counted again.
print("in a hurry: slope", a.grad)

# Wrong order 2: the order in which the numbers were computed. b passes on before c has given it anything.
a, b, c = graph()
for node in (a, b, c):
    node.pass_on()
print("inputs first: slope", a.grad)

# The right order: every node after all nodes that use it. Walk so that inputs come first, and go through it backwards.
a, b, c = graph()
for node in (c, b, a):
    node.pass_on()
print("outputs first: slope", a.grad)

# chainrule does exactly that; `inputs_first` is its walk, each node once.
a = Value(1.0, label="a")
b = a + a
c = b + b
print("data along the walk:", *[node.data for node in inputs_first(c)])
c.backward()
print("chainrule: slope", a.grad)
