r"""How an expression of algebra.py is written in Python, with NumPy, with PyTorch, and in LaTeX.

>>> from chainrule.show.algebra import Algebra
>>> m = Algebra()
>>> h, dh = m.name("h"), m.name("dh")
>>> by_name = Scope(lambda x: x.options.get("of"), lambda array, what: what)
>>> for language in (PYTHON, NUMPY, TORCH, LATEX):
...     print(language.write(m.tanh(h) * (1.0 - h * h) * dh, by_name).text)
math.tanh(h) * (1 - h**2) * dh
np.tanh(h) * (1 - h**2) * dh
torch.tanh(h) * (1 - h**2) * dh
\tanh\left(h\right) \, \left(1 - h^{2}\right) \, dh

Infix operators and parentheses come from the styles of symbols.py; here are the words each language has for functions of
arrays. Imports symbols, algebra and NumPy.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule import symbols
from chainrule.ops import INTRINSICS
from chainrule.show.algebra import Expr, Shape
from chainrule.symbols import ATOM, COMPARE, PRODUCT, SIGN, SUM, Style, Text

CHOICE = -1  # how tightly `a if c else b` holds
MATMUL = 1.5  # looser than a product, so that x @ w * 2 gets its parentheses
FEW = 12  # elements of an array that is written out, if that takes no more than
WIDE = 100  # characters
MODULES = ("math", "np", "torch")  # no variable is called so in any program, whichever of them it imports


class Scope(NamedTuple):
    """What things are called: an expression (None when it has no name), and an array of an option, `index` or `labels`.

    In the place of a name there may be the text of what it stands for.
    """

    name: Callable[[Expr], str | Text | None]
    array: Callable[[Any, str], str]


def plain(x: Any) -> str:
    """A number as a person writes it: 2 for 2.0, and 1e-5 for 1e-05."""
    return str(int(x)) if float(x).is_integer() and abs(x) < 1e15 else re.sub(r"e(-?)\+?0*", r"e\1", repr(float(x)))


class Language:
    """What all languages have in common: infix operators, and templates for functions of numbers.

    lazy: whether a choice computes only the branch that counts.
    """

    style: Style
    lazy = False

    def write(self, x: Any, scope: Scope, *, anew: bool = False) -> Text:
        """The text of an expression, and how tightly it holds together; anew: even when it has a name."""
        if not isinstance(x, Expr):
            return self._number(x)
        named = None if anew and x.name != "name" else scope.name(x)
        if named is not None:
            return named if isinstance(named, Text) else self.text(named)
        if x.name == "neg":
            return self._minus(self.write(x.args[0], scope))
        args = [self.write(a, scope) if isinstance(a, Expr) else self._beside(a, x) for a in x.args]
        if x.name in self.style.infix:
            return self._infix(x, *args)
        own = getattr(self, "_" + x.name, None)
        if own:
            found: Text = own(x, *args, **{k: self._option(k, v, scope) for k, v in x.options.items()})
            return found
        return self._function(x, args)

    def text(self, text: str, level: Any = ATOM) -> Text:
        """A piece of text."""
        return Text(text, level, self.style)

    def number(self, x: Any) -> str:
        """A number, as numbers of leaves are written: 2.0."""
        if math.isfinite(x):
            return repr(float(x)) if isinstance(x, (float, np.floating)) else repr(int(x)) if x not in (True, False) else str(x)
        return ("-" if x < 0 else "") + self._word("nan" if math.isnan(x) else "inf")

    def _word(self, name: str) -> str:
        return name

    def _number(self, x: Any) -> Text:
        shown = plain(x) if math.isfinite(x) else self.number(x)
        return self.text(shown, SIGN if x < 0 else ATOM)

    def _beside(self, x: Any, whole: Expr) -> Text:
        """A number beside whole numbers keeps its point: 2 ** -1 would not do."""
        kinds = {other.dtype.kind for other in whole.operands}
        if whole.name in ("+", "-", "*", "/", "**") and kinds and kinds <= set("iub"):
            return self.text(self.number(x), SIGN if x < 0 else ATOM)
        return self._number(x)

    def _minus(self, x: Text) -> Text:
        if x.level in (PRODUCT, MATMUL):  # the first factor takes the sign
            return self.text("-" + x.text, x.level)
        return self.text("-" + x._in(SIGN), SIGN)

    def _infix(self, x: Expr, a: Text, b: Text) -> Text:
        template, level, left, right = self.style.infix[x.name]
        return self.text(_joined(template, x.name, a._in(left), b._in(right)), level)

    def _function(self, x: Expr, args: list[Text]) -> Text:
        template, level = self.style.functions[x.name]
        return self.text(template.format(*(a.text for a in args)), level)

    def _option(self, key: str, x: Any, scope: Scope) -> Any:
        """Shapes, indices and labels as text; other options as they are."""
        if key == "index":
            return ", ".join(self._place(i, scope) for i in x)
        if key == "labels":
            return scope.array(x, key)
        if key == "shape" and isinstance(x, Shape) and x.of is not None:
            return self.write(x.of, scope).text + ".shape"
        return x

    def _place(self, i: Any, scope: Scope) -> str:
        if isinstance(i, slice):
            ends = ["" if part is None else str(part) for part in (i.start, i.stop, i.step)]
            return ":".join(ends if ends[2] else ends[:2])
        if isinstance(i, np.ndarray):
            return scope.array(i, "index")
        return "..." if i is Ellipsis else str(i)


# ---- Python ----------------------------------------------------------------------------------------------------------


_PYTHON_INFIX = {**symbols.PYTHON.infix, "**": ("{0}**{1}", *symbols.PYTHON.infix["**"][1:])}


def _calls(prefix: str, **others: str) -> dict[str, tuple[str, int]]:
    named = {name: (f"{prefix}{name}({{0}})", ATOM) for name in INTRINSICS}
    return named | {name: (template, ATOM) for name, template in others.items()}


class Python(Language):
    """Numbers, with the functions of math."""

    lazy = True
    title = "python"
    imports = "import math"
    reserved: tuple[str, ...] = (*MODULES, "abs", "max", "min", "sigmoid")
    style = Style(
        _PYTHON_INFIX,
        _calls("math.", abs="abs({0})", maximum="max({0}, {1})", minimum="min({0}, {1})", sigmoid="sigmoid({0})"),
        plain,
    )
    helpers: dict[str, str] = {  # noqa: RUF012 - read only, as all of the class
        "sigmoid": "def sigmoid(x):\n"
        "    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))  # so that exp cannot overflow\n"
    }

    def _word(self, name: str) -> str:
        return f"math.{name}"

    def _where(self, x: Expr, condition: Text, a: Text, b: Text) -> Text:
        return self.text(f"{a._in(COMPARE)} if {condition._in(COMPARE)} else {b.text}", CHOICE)

    def leaf(self, node: Any) -> str:
        """The data of a leaf, as it is assigned to its name."""
        return self.number(node.data)

    def seed(self, root: str, *, array: bool) -> str:
        """The gradient of the root; array: not as a Python number."""
        return "1.0"

    def copied(self, x: Text, shape: tuple[int, ...]) -> Text:
        """What += may change, when the text may be the name of something else."""
        return x  # numbers do not change


# ---- arrays ----------------------------------------------------------------------------------------------------------


class NumPy(Python):
    """NumPy arrays, or numbers."""

    lazy = False  # np.where computes both branches, and warns of what happens in the one that does not count
    title = "numpy"
    library = "np"
    imports = "import numpy as np"
    reserved: tuple[str, ...] = (*MODULES, "abs", "max", "min", "sigmoid", "softmax", "log_softmax", "logsumexp")
    keep, joined, dtype_word = "keepdims", "concatenate", "dtype=np.{0}"
    style = Style(
        _PYTHON_INFIX,
        _calls("np.", maximum="np.maximum({0}, {1})", minimum="np.minimum({0}, {1})", sigmoid="sigmoid({0})")
        | {"where": ("np.where({0}, {1}, {2})", ATOM)},
        plain,
    )
    helpers = {  # noqa: RUF012
        "sigmoid": "def sigmoid(x):\n"
        "    e = np.exp(-np.abs(x))  # of a number that is not positive, so that it cannot overflow\n"
        "    return np.where(x >= 0, 1, e) / (1 + e)\n",
        "softmax": "def softmax(x, axis):\n"
        "    e = np.exp(x - x.max(axis, keepdims=True))\n"
        "    return e / e.sum(axis, keepdims=True)\n",
        "log_softmax": "def log_softmax(x, axis):\n"
        "    z = x - x.max(axis, keepdims=True)\n"
        "    return z - np.log(np.exp(z).sum(axis, keepdims=True))\n",
        "logsumexp": "def logsumexp(x, axis, keepdims=False):\n"
        "    z = x.max(axis, keepdims=True)\n"
        "    y = z + np.log(np.exp(x - z).sum(axis, keepdims=True))\n"
        "    return y if keepdims else np.squeeze(y, axis)\n",
    }

    def _word(self, name: str) -> str:
        return f"{self.library}.{name}"

    def _where(self, x: Expr, condition: Text, a: Text, b: Text) -> Text:
        return self._function(x, [condition, a, b])

    def _matmul(self, x: Expr, a: Text, b: Text) -> Text:
        return self.text(f"{a._in(SIGN)} @ {b._in(SIGN)}", MATMUL)

    def _swap(self, x: Expr, a: Text) -> Text:
        return self.text(f"{a._in(ATOM)}.{'T' if len(x.shape) == 2 else 'swapaxes(-1, -2)'}")

    def _over(self, name: str, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        axis = axis if isinstance(axis, tuple) else (axis,)
        every = len(axis) == len(x.args[0].shape) and not keepdims
        said = [] if every else [_axes(axis)]
        return self.text(f"{a._in(ATOM)}.{name}({', '.join([*said, *[f'{self.keep}=True'] * keepdims])})")

    def _sum(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self._over("sum", x, a, axis, keepdims)

    def _mean(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self._over("mean", x, a, axis, keepdims)

    def _amax(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self._over("max", x, a, axis, keepdims)

    def _amin(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self._over("min", x, a, axis, keepdims)

    def _softmax(self, x: Expr, a: Text, axis: int) -> Text:
        return self.text(f"softmax({a.text}, {axis})")

    def _log_softmax(self, x: Expr, a: Text, axis: int) -> Text:
        return self.text(f"log_softmax({a.text}, {axis})")

    def _logsumexp(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self.text(f"logsumexp({a.text}, {_axes(axis)}{f', {self.keep}=True' * keepdims})")

    def _reshape(self, x: Expr, a: Text, shape: Any) -> Text:
        if x.args[0].shape == ():  # which may be a Python number
            return self.text(f"np.reshape({a.text}, {shape})")
        return self.text(f"{a._in(ATOM)}.reshape({shape if isinstance(shape, str) or not shape else _listed(shape)})")

    def _transpose(self, x: Expr, a: Text, axes: tuple[int, ...]) -> Text:
        backwards = axes == tuple(range(len(axes)))[::-1]
        return self.text(f"{a._in(ATOM)}.{'T' if backwards else f'transpose({_listed(axes)})'}")

    def _broadcast_to(self, x: Expr, a: Text, shape: Any) -> Text:
        if isinstance(shape, str):  # x.shape, so there is an x
            return self.text(f"{self.library}.ones_like({shape.removesuffix('.shape')}) * {a._in(PRODUCT)}", PRODUCT)
        return self._expanded(a, shape)

    def _expanded(self, a: Text, shape: tuple[int, ...]) -> Text:
        return self.text(f"np.broadcast_to({a.text}, {shape})")

    def _getitem(self, x: Expr, a: Text, index: str) -> Text:
        return self.text(f"{a._in(ATOM)}[{index}]")

    def _concatenate(self, x: Expr, *args: Text, axis: int) -> Text:
        return self.text(f"{self.library}.{self.joined}([{', '.join(a.text for a in args)}], {axis})")

    def _stack(self, x: Expr, *args: Text, axis: int) -> Text:
        return self.text(f"{self.library}.stack([{', '.join(a.text for a in args)}], {axis})")

    def _astype(self, x: Expr, a: Text, dtype: Any) -> Text:
        return self.text(f"{a._in(ATOM)}.astype(np.{np.dtype(dtype)})")

    def _one_hot(self, x: Expr, labels: str, classes: int, dtype: Any) -> Text:
        return self.text(f"{self.library}.eye({classes}{self._dtype(dtype)})[{labels}]")

    def leaf(self, node: Any) -> str:
        """The data of a leaf, as it is assigned to its name."""
        return self.array(np.asarray(node.data)) if hasattr(node, "dtype") else self.number(node.data)

    def array(self, x: Any) -> str:
        """An array of a few elements; of a range, as an index often is, what makes it."""
        if is_range(x):
            shape = "" if x.ndim == 1 else f".reshape({_listed(x.shape)})"
            return f"{self.library}.arange({x.size}){shape}"
        dtype = "" if x.dtype in (np.float64, np.int64, np.bool_) else f", {self.dtype_word.format(x.dtype)}"
        if x.shape == ():
            return f"np.{x.dtype.name.replace('bool', 'bool_')}({self.number(x.item())})"
        return f"np.zeros({x.shape}{dtype})" if x.size == 0 else f"np.array({self._nested(x.tolist())}{dtype})"

    def _nested(self, x: Any) -> str:
        return f"[{', '.join(map(self._nested, x))}]" if isinstance(x, list) else self.number(x)

    def seed(self, root: str, *, array: bool) -> str:
        """The gradient of the root; array: not as a Python number."""
        return f"np.ones_like({root})" if array else "1.0"

    def copied(self, x: Text, shape: tuple[int, ...]) -> Text:
        """What += may change, when the text may be the name or a view of something else."""
        return self.text(f"{x._in(ATOM)}.copy()" if shape else f"np.copy({x.text})")

    def zeros(self, x: str, node: Any) -> str:
        """Zeros of the shape of a tensor; x: its name, or "" when it has none."""
        return f"{self.library}.zeros_like({x})" if x else f"{self.library}.zeros({node.shape}{self._dtype(node.dtype)})"

    def _dtype(self, dtype: Any) -> str:
        return "" if dtype == np.float64 else ", " + self.dtype_word.format(dtype)

    def put(self, target: str, x: Expr, scope: Scope, again: bool) -> str:
        """The statement that does what a scatter does: add something, at an index, to zeros or to what is there already.

        again: whether something may be there already.
        """
        places, added = x.options["index"], _plainly(x.args[0])
        index, text = self._option("index", places, scope), self.write(added, scope).text
        if apart(places):
            return f"{target}[{index}] {'+=' if again else '='} {text}"
        return self._add_at(target, places, index, text, x.args[0])

    def _add_at(self, target: str, places: tuple[Any, ...], index: str, added: str, x: Expr) -> str:
        slices = any(isinstance(i, slice) for i in places)
        where = f"np.s_[{index}]" if slices else index if len(places) == 1 else f"({index})"
        return f"np.add.at({target}, {where}, {added})"


class Torch(NumPy):
    """PyTorch tensors."""

    lazy = True
    title = "torch"
    library = "torch"
    imports = "import torch"
    reserved = (*MODULES, "abs", "max", "min")
    keep, joined, dtype_word = "keepdim", "cat", "dtype=torch.{0}"
    helpers = {}  # noqa: RUF012
    style = Style(
        _PYTHON_INFIX,
        _calls("torch.", maximum="torch.maximum({0}, {1})", minimum="torch.minimum({0}, {1})")
        | {"where": ("torch.where({0}, {1}, {2})", ATOM)},
        plain,
    )

    def _function(self, x: Expr, args: list[Text]) -> Text:
        if not x.operands:  # torch's functions take tensors only
            return PYTHON._function(x, args)
        number = next((a for a, given in zip(args, x.args, strict=True) if not isinstance(given, Expr)), None)
        if number and x.name in ("maximum", "minimum"):
            tensor = next(a for a in args if a is not number)
            bound = "min" if x.name == "maximum" else "max"
            return self.text(f"torch.clamp({tensor.text}, {bound}={number.text})")
        return super()._function(x, args)

    def _where(self, x: Expr, condition: Text, a: Text, b: Text) -> Text:
        if x.args[0].dtype != np.bool_:
            condition = self.text(f"{condition._in(SUM)} != 0", COMPARE)
        return self._function(x, [condition, a, b])

    def _dtype(self, dtype: Any) -> str:
        return ", " + self.dtype_word.format(dtype)

    def _matmul(self, x: Expr, a: Text, b: Text) -> Text:
        operands = [  # torch multiplies matrices of one dtype only
            text if y.dtype == x.dtype else self._astype(x, text, x.dtype) for y, text in zip(x.args, (a, b), strict=True)
        ]
        return super()._matmul(x, *operands)

    def _swap(self, x: Expr, a: Text) -> Text:
        return self.text(f"{a._in(ATOM)}.{'T' if len(x.shape) == 2 else 'mT'}")

    def _amax(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self._over("amax", x, a, axis, keepdims)

    def _amin(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self._over("amin", x, a, axis, keepdims)

    def _softmax(self, x: Expr, a: Text, axis: int) -> Text:
        return self.text(f"torch.softmax({a.text}, {axis})")

    def _log_softmax(self, x: Expr, a: Text, axis: int) -> Text:
        return self.text(f"torch.log_softmax({a.text}, {axis})")

    def _logsumexp(self, x: Expr, a: Text, axis: Any, keepdims: bool) -> Text:
        return self.text(f"torch.logsumexp({a.text}, {_axes(axis)}{', keepdim=True' * keepdims})")

    def _reshape(self, x: Expr, a: Text, shape: Any) -> Text:
        return self.text(f"{a._in(ATOM)}.reshape({shape if isinstance(shape, str) or not shape else _listed(shape)})")

    def _transpose(self, x: Expr, a: Text, axes: tuple[int, ...]) -> Text:
        return self.text(f"{a._in(ATOM)}.{'T' if axes == (1, 0) else f'permute({_listed(axes) or axes})'}")

    def _expanded(self, a: Text, shape: tuple[int, ...]) -> Text:
        return self.text(f"{a._in(ATOM)}.expand({_listed(shape)})")

    def _astype(self, x: Expr, a: Text, dtype: Any) -> Text:
        return self.text(f"{a._in(ATOM)}.to(torch.{np.dtype(dtype)})")

    def leaf(self, node: Any) -> str:
        """The data of a leaf, as it is assigned to its name."""
        return self.array(np.asarray(node.data))

    def array(self, x: Any) -> str:
        """An array of a few elements."""
        if is_range(x):
            return super().array(x)
        dtype = "" if x.dtype in (np.int64, np.bool_) else f", {self.dtype_word.format(x.dtype)}"
        if x.size == 0:
            return f"torch.zeros({x.shape}, {self.dtype_word.format(x.dtype)})"
        return f"torch.tensor({self._nested(x.tolist())}{dtype})"

    def seed(self, root: str, *, array: bool) -> str:
        """The gradient of the root."""
        return f"torch.ones_like({root})"

    def copied(self, x: Text, shape: tuple[int, ...]) -> Text:
        """What += may change, when the text may be the name or a view of something else."""
        return self.text(f"{x._in(ATOM)}.clone()")

    def write(self, x: Any, scope: Scope, *, anew: bool = False) -> Text:
        """The text of an expression; slices of torch go forwards only, so what goes backwards is flipped first."""
        backwards = isinstance(x, Expr) and x.name == "getitem" and any(map(_goes_back, x.options["index"]))
        if not backwards or not (anew or scope.name(x) is None):
            return super().write(x, scope, anew=anew)
        axes, places = forwards(x.options["index"], x.args[0].shape)
        flipped = f"{self.write(x.args[0], scope)._in(ATOM)}.flip({_listed(axes)})"
        whole = all(i is Ellipsis or (isinstance(i, slice) and i == slice(None)) for i in places)
        return self.text(flipped if whole else f"{flipped}[{self._option('index', places, scope)}]")

    def put(self, target: str, x: Expr, scope: Scope, again: bool) -> str:
        """The statement that does what a scatter does; slices of torch go forwards only, so what is added is turned round."""
        axes, places = forwards(x.options["index"], x.shape)
        if not axes:
            return super().put(target, x, scope, again)
        added = _plainly(x.args[0])
        text = self.write(added, scope)
        if any(isinstance(i, np.ndarray) for i in places):
            where = f"{_counted(target)}.flip({_listed(axes)})[{self._option('index', places, scope)}]"
            return self._put_at(target, where, text.text, x.args[0])
        same = tuple(
            _reversed(i, x.shape[axis]) if _goes_back(i) else i for i, axis, _ in _along(x.options["index"], len(x.shape))
        )
        index = self._option("index", same, scope)
        turned = _turned(x.options["index"], x.shape, getattr(added, "shape", ()))
        shown = f"{text._in(ATOM)}.flip({_listed(turned)})" if turned else text.text
        return f"{target}[{index}] {'+=' if again else '='} {shown}"

    def _add_at(self, target: str, places: tuple[Any, ...], index: str, added: str, x: Expr) -> str:
        if all(isinstance(i, np.ndarray) for i in places):
            return f"{target}.index_put_(({index},), {added}, accumulate=True)"
        return self._put_at(target, f"{_counted(target)}[{index}]", added, x)  # index_put_ takes no slices

    def _put_at(self, target: str, where: str, added: str, x: Expr) -> str:
        return f"{target}.put_({where}, ({added}).expand({_listed(x.shape) or '()'}), accumulate=True)"


# ---- LaTeX -----------------------------------------------------------------------------------------------------------


class Latex(Language):
    """Formulas."""

    lazy = True
    title = "latex"
    style = symbols.LATEX

    def _word(self, name: str) -> str:
        return {"inf": r"\infty", "nan": r"\mathrm{nan}"}[name]

    def _number(self, x: Any) -> Text:
        shown = super()._number(x)
        digits, e, power = shown.text.partition("e")
        if not e:
            return shown
        return self.text(f"{digits} \\cdot 10^{{{power}}}".removeprefix("1 \\cdot "), PRODUCT)

    def _minus(self, x: Text) -> Text:
        return self.text("-" + (x.text if x.level == PRODUCT else _in(x, SIGN)), min(x.level, SIGN))

    def _infix(self, x: Expr, a: Text, b: Text) -> Text:
        template, level, left, right = self.style.infix[x.name]
        if x.name == "*":
            arrays = all(isinstance(y, Expr) and y.shape for y in x.args)
            a, b = (self._factor(y, text) for y, text in zip(x.args, (a, b), strict=True))
            times = _in(b, SIGN)
            if times == "1":
                return a
            sign = r"\cdot" if times[0].isdigit() else _times(arrays)
            return self.text(f"{_in(a, PRODUCT)} {sign} {times}", PRODUCT)
        if x.name == "/" and r"\frac" in a.text:  # fractions of fractions are hard to read
            arrays = all(isinstance(y, Expr) and y.shape for y in x.args)
            inverse = template.format("1", b.text)
            return self.text(f"{inverse} {_times(arrays)} {_in(a, PRODUCT)}", PRODUCT)
        if x.name == "**" and a.text.startswith(r"\frac"):
            a = self.text(rf"\left({a.text}\right)")
        return self.text(_joined(template, x.name, _in(a, left), _in(b, right)), level)

    def _factor(self, x: Any, text: Text) -> Text:
        """A comparison that counts as 1 or 0."""
        return self.text(rf"\mathbf{{1}}\left[{text.text}\right]") if text.level == COMPARE else text

    def _matmul(self, x: Expr, a: Text, b: Text) -> Text:
        return self.text(rf"{_in(a, SIGN)} \, {_in(b, SIGN)}", PRODUCT)

    def _swap(self, x: Expr, a: Text) -> Text:
        simple = a.level == ATOM and not a.text.startswith(r"\frac")
        return self.text((a.text if simple else rf"\left({a.text}\right)") + r"^{\top}")

    def _transpose(self, x: Expr, a: Text, axes: Any) -> Text:
        return self._swap(x, a) if axes == (1, 0) else self._named("permute", axes, a)

    def _named(self, name: str, below: Any, *args: Text) -> Text:
        under = f"_{{{_listed(below) if isinstance(below, tuple) else below}}}" if below not in ("", ()) else ""
        word = name.replace("_", r"\_")
        return self.text(rf"\mathrm{{{word}}}{under}\left({', '.join(a.text for a in args)}\right)")

    def _over(self, name: str, x: Expr, a: Text, axis: Any, keepdims: bool = False) -> Text:
        axis = axis if isinstance(axis, tuple) else (axis,)
        return self._named(name, () if len(axis) == len(x.args[0].shape) else axis, a)

    def _sum(self, x: Expr, a: Text, **options: Any) -> Text:
        return self._over("sum", x, a, **options)

    def _mean(self, x: Expr, a: Text, **options: Any) -> Text:
        return self._over("mean", x, a, **options)

    def _amax(self, x: Expr, a: Text, **options: Any) -> Text:
        return self._over("max", x, a, **options)

    def _amin(self, x: Expr, a: Text, **options: Any) -> Text:
        return self._over("min", x, a, **options)

    def _logsumexp(self, x: Expr, a: Text, **options: Any) -> Text:
        return self._over("logsumexp", x, a, **options)

    def _softmax(self, x: Expr, a: Text, axis: int) -> Text:
        return self._named("softmax", axis, a)

    def _log_softmax(self, x: Expr, a: Text, axis: int) -> Text:
        return self.text(rf"\log {self._named('softmax', axis, a).text}", SIGN)

    def _reshape(self, x: Expr, a: Text, shape: Any) -> Text:
        return self._named("reshape", "", a)

    def _broadcast_to(self, x: Expr, a: Text, shape: Any) -> Text:
        inner, minus = _in(a, PRODUCT), "-" * a.text.startswith("-")
        return self.text(rf"{minus}\mathbf{{1}} \, {inner.removeprefix(minus)}", PRODUCT)

    def _getitem(self, x: Expr, a: Text, index: str) -> Text:
        simple = a.level == ATOM and not a.text.startswith(r"\frac")
        return self.text((a.text if simple else rf"\left({a.text}\right)") + rf"\left[{index}\right]")

    def _scatter(self, x: Expr, a: Text, index: str, shape: Any) -> Text:
        return self.text(rf"\mathrm{{scatter}}\left[{index}\right]\left({a.text}\right)")

    def _concatenate(self, x: Expr, *args: Text, axis: int) -> Text:
        return self._named("concat", axis, *args)

    def _stack(self, x: Expr, *args: Text, axis: int) -> Text:
        return self._named("stack", axis, *args)

    def _astype(self, x: Expr, a: Text, dtype: Any) -> Text:
        return a

    def _one_hot(self, x: Expr, labels: str, classes: int, dtype: Any) -> Text:
        return self.text(rf"\mathrm{{onehot}}\left({labels}\right)")


def _times(arrays: bool) -> str:
    return r"\odot" if arrays else r"\,"


def _joined(template: str, symbol: str, a: str, b: str) -> str:
    """Two operands; a - b for a + -b, and a + b for a - -b."""
    opposite = {"+": "-", "-": "+"}.get(symbol)
    if opposite and b.startswith("-"):
        return template.replace(symbol, opposite).format(a, b[1:])
    return template.format(a, b)


def _in(x: Text, place: Any) -> str:
    """The text with the parentheses that its place asks for, which grow with what is in them."""
    return x.text if x.level >= place else rf"\left({x.text}\right)"


# ---- arrays of indices -----------------------------------------------------------------------------------------------


def _plainly(x: Expr) -> Expr:
    """What is repeated, when it is assigned to a place that repeats it."""
    if x.name == "neg" and x.args[0].name == "broadcast_to":
        return x.algebra.make("neg", _plainly(x.args[0]))
    while x.name in ("astype", "broadcast_to") and isinstance(x.args[0], Expr):
        x = x.args[0]
    return x


def is_range(x: Any) -> bool:
    """Whether an array of whole numbers is 0, 1, 2, ... along one axis."""
    return x.dtype.kind == "i" and 1 < x.size == max(x.shape) and bool((x.reshape(-1) == np.arange(x.size)).all())


def forwards(places: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """The axes to flip so that no slice need go backwards, and the index of the flipped array that has the same elements.

    >>> forwards((slice(None), slice(None, None, -2)), (3, 5))
    ((1,), (slice(None, None, None), slice(None, None, 2)))
    """
    axes: list[int] = []
    found: list[Any] = []
    for i, axis, _ in _along(places, len(shape)):
        if _goes_back(i):
            length, (start, stop, step) = shape[axis], i.indices(shape[axis])
            axes.append(axis)
            found.append(_short_slice(length - 1 - start, length - 1 - stop, -step, length))
        else:
            found.append(i)
    return tuple(axes), tuple(found)


def _turned(places: tuple[Any, ...], shape: tuple[int, ...], added: tuple[int, ...]) -> tuple[int, ...]:
    """The axes, from the last, of what is added at an index without arrays, along which the index goes backwards.

    added: its shape, which may be repeated.
    """
    *_, (_, axis, end) = _along((*places, None), len(shape))
    ndim = end + len(shape) - axis
    turned = [after - ndim for i, _, after in _along(places, len(shape)) if _goes_back(i)]
    return tuple(axis for axis in turned if -axis <= len(added) and added[axis] > 1)


def _along(places: tuple[Any, ...], ndim: int) -> Iterator[tuple[Any, int, int]]:
    """The places of an index, each with the axis of the array and that of what is found there."""
    axis = after = 0
    for i in places:
        yield i, axis, after
        if i is None:
            after += 1
        elif i is Ellipsis:
            rest = ndim - sum(_width(other) for other in places)
            axis, after = axis + rest, after + rest
        else:
            axis, after = axis + _width(i), after + isinstance(i, slice)


def _width(i: Any) -> int:
    """How many axes a place of an index is about."""
    if isinstance(i, np.ndarray) and i.dtype == np.bool_:
        return i.ndim
    return 0 if i is None or i is Ellipsis else 1


def _reversed(i: slice, length: int) -> slice:
    """The slice that has the same places in the order of the array."""
    places = range(*i.indices(length))[::-1]
    return _short_slice(places[0], places[-1] + 1, places.step, length) if places else slice(0, 0)


def _short_slice(start: int, stop: int, step: int, length: int) -> slice:
    return slice(start or None, stop if stop < length else None, step if step > 1 else None)


def _goes_back(i: Any) -> bool:
    return isinstance(i, slice) and i.step is not None and i.step < 0


def _counted(target: str) -> str:
    """The number of each place of an array."""
    return f"torch.arange({target}.numel()).reshape({target}.shape)"


def apart(places: tuple[Any, ...]) -> bool:
    """Whether no two places of an index can be one: of slices, of a mask, and where ranges tell all elements apart."""
    arrays = [i for i in places if isinstance(i, np.ndarray)]
    if any(i.dtype == np.bool_ for i in arrays):
        return len(arrays) == 1
    shape = np.broadcast_shapes(*(i.shape for i in arrays))
    told = {i.ndim - i.shape.index(i.size) for i in arrays if is_range(i)}  # axes, counted from the last
    return all(n == 1 or axis in told for axis, n in zip(range(len(shape), 0, -1), shape, strict=True))


def _axes(axis: tuple[int, ...]) -> str:
    return str(axis[0]) if len(axis) == 1 else str(axis)


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


PYTHON, NUMPY, TORCH, LATEX = Python(), NumPy(), Torch(), Latex()
LANGUAGES: dict[str, Any] = {language.title: language for language in (PYTHON, NUMPY, TORCH, LATEX)}
"""By the word for their style."""
