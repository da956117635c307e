"""The compiler: scalar code, unchanged, at the speed of arrays.

>>> from chainrule import Value
>>> from chainrule.compiler import compile
>>> w, b = Value(0.5, label="w"), Value(0.0, label="b")
>>> def loss(X, y):
...     return sum((w * x + b - t) ** 2 for x, t in zip(X, y)) / len(X)
>>> step = compile(loss, params=[w, b])
>>> import numpy as np
>>> round(step(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])), 4), round(w.grad, 4)
(10.5, -14.0)

Read it in this order: lines.py and builder.py (array programs), program.py, listing.py, stored.py and soundness.py
(differentiating, printing, storing and checking them), trace.py, recording.py and tape.py (what a function of scalars does),
lift.py and affine.py (the loops in it), watching.py and tensors.py (what a function of Tensors does), step.py and function.py
(what is called), reference.py (running a program). The native executor is native.py, which plans by lowered.py, turning.py,
schedule.py, groups.py and emit.py. Imports the core only.
"""

from chainrule.compiler.api import compile  # noqa: A004 - what it is called everywhere
from chainrule.compiler.trace import take

__all__ = ["compile", "take"]
