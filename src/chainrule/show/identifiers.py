"""Labels as names of variables: `Names` makes any text a valid identifier that nothing else is called.

>>> names = Names()
>>> [names.claim(label) for label in ("x", "w", "w", "layers.0.w", "Δw", "lambda", "2nd", "dx", "'); evil('", "🙂")]
['x', 'w', 'w_2', 'layers_0_w', 'Δw', 'lambda_', 'x2nd', 'dx_2', 'evil', 'v']

With every name `x` goes the name of its gradient, `dx`, which is free as well; so a label dx becomes dx_2 beside an x, and
`el` becomes el_2, since del is a word of Python. Imports nothing of ours.
"""

import itertools
import keyword
import unicodedata

LONGEST = 40
_GREEK = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega
Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"""
"""The letters that LaTeX has a word for."""


class Names:
    """The names of one program.

    reserved: words that mean something else in it.
    """

    def __init__(self, reserved: tuple[str, ...] = ()) -> None:
        self._taken = {*keyword.kwlist, *reserved}

    def claim(self, label: str, fallback: str = "v", *, numbered: bool = False) -> str:
        """The name for a label; of a name without a usable sign `fallback`; with `numbered` also the first gets a number."""
        wanted = identifier(label) or fallback
        tries = (f"{wanted}{k}" for k in itertools.count(1)) if numbered else _variants(wanted)
        name = next(name for name in tries if self._taken.isdisjoint((name, "d" + name)))
        self._taken |= {name, "d" + name}
        return name


def _variants(wanted: str) -> "itertools.chain[str]":
    first = [f"{wanted}_"] if keyword.iskeyword(wanted) else [wanted]
    return itertools.chain(first, (f"{wanted}_{k}" for k in itertools.count(2)))


def identifier(label: str) -> str:
    """The label with everything that cannot stand in an identifier as _; "" when nothing is left.

    Python reads identifiers in the normal form NFKC, so the label is brought into it first: x₁ is x1.
    """
    normal = unicodedata.normalize("NFKC", label[: 10 * LONGEST].encode("utf-8", "replace").decode())
    kept = "".join(c if ("a" + c).isidentifier() else " " for c in normal)
    name = "_".join(kept.replace("_", " ").split())[:LONGEST].rstrip("_")
    return name if not name or name.isidentifier() else "x" + name


def latex(name: str) -> str:
    r"""An identifier in LaTeX's mathematics.

    >>> latex("x"), latex("W1"), latex("bnvar_inv"), latex("Δw"), latex("σ")
    ('x', 'W_{1}', '\\mathrm{bnvar\\_inv}', '\\mathrm{\\Delta w}', '\\sigma')
    """
    stem = name.rstrip("0123456789")
    if len(stem) == 1 and stem != name:
        return f"{latex(stem)}_{{{name[1:]}}}"
    signs = [_sign(c) for c in name]
    spaced = "".join(a + " " * (a[0] == "\\" and a != "\\_" and b[:1].isalpha()) for a, b in itertools.pairwise([*signs, ""]))
    return spaced if len(name) == 1 else rf"\mathrm{{{spaced}}}"


def _sign(c: str) -> str:
    if c.isascii():
        return r"\_" if c == "_" else c
    words = unicodedata.name(c, "").split()
    letter = words[-1].capitalize() if "CAPITAL" in words else words[-1].lower() if words else ""
    return "\\" + letter if words[:1] == ["GREEK"] and letter in _GREEK.split() else c
