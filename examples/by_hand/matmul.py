"""Why the gradients of D = A @ B are dD @ B.T and A.T @ dD: written out in scalars, then seen in tensors.

D[i][j] is the sum over k of A[i][k] * B[k][j]. So A[i][k] is multiplied by B[k][j] on its way to D[i][j], for every j:
its gradient is the sum over j of dD[i][j] * B[k][j], which is row i of dD times column k of B.T. The same for B. There is
nothing to remember: only one product of the three arrays has the right shape.

Run me: python examples/by_hand/matmul.py
"""

import numpy as np

from chainrule import Value
from chainrule.tensor import Tensor


def in_scalars(A, B, dD):
    """dA and dB, one Value per element: the engine knows + and * of two numbers and no matrices."""
    a, b = ([[Value(float(x)) for x in row] for row in M] for M in (A, B))
    D = [[sum(a[i][k] * b[k][j] for k in range(len(b))) for j in range(len(b[0]))] for i in range(len(a))]
    sum(g * d for gs, ds in zip(dD.tolist(), D, strict=True) for g, d in zip(gs, ds, strict=True)).backward()
    return tuple(np.array([[x.grad for x in row] for row in M]) for M in (a, b))


def in_tensors(A, B, dD):
    """dA and dB from the row of matmul."""
    a, b = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
    (a @ b).backward(dD)
    return a.grad, b.grad


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    A, B, dy = rng.normal(size=(2, 4)), rng.normal(size=(4, 3)), rng.normal(size=(2, 3))
    for name, scalars, tensors, by_hand in zip(
        ("dA", "dB"), in_scalars(A, B, dy), in_tensors(A, B, dy), (dy @ B.T, A.T @ dy), strict=True
    ):
        print(f"{name}: scalars and tensors differ by {abs(scalars - tensors).max():.1e}", end=", ")
        print(f"scalars and the product by {abs(scalars - by_hand).max():.1e}")
