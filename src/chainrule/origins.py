"""Where a node was made: the line of the user's code, and the modules whose calls it happened in. Kept when asked for.

>>> from chainrule import Value
>>> from chainrule.nn import MLP
>>> model = MLP(2, [3, 1])
>>> with record():
...     y = model([1.0, 2.0])
>>> y.origin.modules, y.origin.call
(('MLP', 'Layer 2', 'Neuron 1'), 1)
>>> print((y * y).origin)
None

Nodes made within `record()` keep their origin as long as they live; it costs about a microsecond for each. Nothing is
recorded otherwise, and then an engine's speed is what it was. Of leaves, which no operation made, only the parameters of a
module that was called have an origin: their name in it. Left out on purpose: origins of copies. Imports engine, errors, ops
and tensor.
"""

import contextlib
import functools
import importlib.util
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NamedTuple, cast

from chainrule import engine, ops
from chainrule.errors import InputError
from chainrule.ops import Op


def _home(package: str) -> str:
    found = importlib.util.find_spec(package)  # which does not import it
    return str(Path(found.origin).resolve().parent) if found and found.origin else package


NOT_THE_USER_S = (str(Path(__file__).resolve().parent), _home("numpy"), contextlib.__file__)


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"


class Origin(NamedTuple):
    """Where a node was made.

    file, line: of the user's code, outside of this package.
    modules: the calls it happened in, the outermost first, as ("MLP", "Layer 2", "Neuron 7"); empty outside of modules.
    call: which call of the outermost module it was, from 1; 0 outside of modules.
    name: of a parameter, which no operation made, its name in the outermost module, as named_parameters() gives it; "" of others.
    """

    file: str
    line: int
    modules: tuple[str, ...] = ()
    call: int = 0
    name: str = ""

    def __str__(self) -> str:
        return str(Place(self.file, self.line))


def place_of(frame: FrameType | None) -> Place:
    """The nearest line outside of this package, from a frame on."""
    inner = frame
    while frame is not None and frame.f_code.co_filename.startswith(NOT_THE_USER_S):
        frame = frame.f_back
    frame = frame or inner
    return Place(frame.f_code.co_filename, frame.f_lineno) if frame else Place("?", 0)


def operators() -> Iterator[tuple[str, Op, bool]]:
    """The methods of Value that apply a row of the table: name, row, and whether the operands come swapped."""
    for op in ops.BUILT_IN:
        names = [op.method, op.method.replace("__", "__r", 1)] if op.method.startswith("__") else [op.method]
        for name in names:
            if name in vars(engine.Value):
                yield name, op, name != op.method


class Patches:
    """Attributes that are something else for a while; `patched` is the way to use it.

    Threads may put on and take off theirs in any order: what lies below others is taken off after them.
    """

    _lock = threading.RLock()
    _layers: ClassVar[list["Patches"]] = []

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []
        self.closed = False

    def put(self, changes: Iterator[tuple[Any, str, Any]]) -> None:
        """Put on (owner, name, what takes the place of it), drawn one by one, each after the one before is in its place."""
        with self._lock:
            self._layers.append(self)
            for owner, name, value in changes:
                self._undo.append((owner, name, vars(owner).get(name, _NOTHING)))
                setattr(owner, name, value)

    def close(self) -> None:
        """Let the attributes be what they were; may be called again, where it was interrupted."""
        with self._lock:
            while self._layers and (self._layers[-1] is self or self._layers[-1].closed):
                undo = self._layers[-1]._undo
                while undo:
                    owner, name, value = undo[-1]
                    if value is not _NOTHING:
                        setattr(owner, name, value)
                    elif name in vars(owner):
                        delattr(owner, name)
                    undo.pop()
                self._layers.pop()
            self.closed = True


@contextlib.contextmanager
def patched(changes: Iterator[tuple[Any, str, Any]]) -> Iterator[None]:
    """Within it, (owner, name, value) after (owner, name, value) are put on.

    An interrupt (Ctrl-C) that comes while they are taken off is raised afterwards. One that comes just before leaves them to
    the generator, which takes them off when it goes; so use it, and what contains it, as generators.

    >>> class Box: x = 1
    >>> with patched(iter([(Box, "x", 2)])):
    ...     Box.x
    2
    >>> Box.x
    1
    """
    layer, interrupt = Patches(), None
    try:
        layer.put(changes)
        yield
    finally:
        while not layer.closed:
            try:
                layer.close()
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


_NOTHING = object()


class _Calls:
    """The calls of modules that are going on, in one thread."""

    def __init__(self) -> None:
        self.going_on: list[Any] = []
        self.path: tuple[str, ...] = ()
        self.counts: Counter[int] = Counter()
        self.number = 0
        self.names: dict[int, dict[int, str]] = {}
        self.alive: list[Any] = []  # so that no other object gets the id of one that was counted
        self.origins: dict[Any, Origin] = {}

    @contextlib.contextmanager
    def inside(self, module: Any) -> Iterator[None]:
        if self.going_on and self.going_on[-1] is module:  # super().__call__
            yield
            return
        before, number = self.path, self.number
        if self.going_on:
            self.path += (self._name(self.going_on[-1], module),)
        else:
            self.path = (type(module).__name__,)
            self.counts[id(module)] += 1
            self.number = self.counts[id(module)]
            if self.number == 1:
                self._name_parameters(module)
        self.alive.append(module)
        self.going_on.append(module)
        try:
            yield
        finally:
            self.going_on.pop()
            self.path, self.number = before, number

    def _name_parameters(self, module: Any) -> None:
        place = place_of(sys._getframe(1))
        with contextlib.suppress(InputError):  # keys that make no name
            for name, leaf in module.named_parameters():
                if leaf.origin is None:
                    leaf._origin = Origin(*place, self.path, 0, name)

    def _name(self, parent: Any, child: Any) -> str:
        names = self.names.get(id(parent))
        if names is None:
            names = self.names[id(parent)] = parent.child_names()
        return names.get(id(child), type(child).__name__)

    def origin(self, frame: FrameType) -> Origin:
        """Of a node that is made now, asked for from this frame on. One record serves all nodes of a line and call."""
        found: Any = frame
        while found.f_back is not None and found.f_code.co_filename.startswith(NOT_THE_USER_S):
            found = found.f_back
        key = found.f_code, found.f_lineno, self.path, self.number
        if key not in self.origins:
            self.origins[key] = Origin(found.f_code.co_filename, found.f_lineno, self.path, self.number)
        return self.origins[key]


class _Active(threading.local):
    calls: _Calls | None = None


_active = _Active()
watched: list[type] = []
"""Classes whose calls, and those of their subclasses, give nodes their place in a model.

Each has `child_names()` and `named_parameters()`.
"""


@contextlib.contextmanager
def record() -> Iterator[None]:
    """Within it, every node that an operation makes keeps its origin, as `node.origin`. Of this thread only.

    >>> x = engine.Value(3.0)
    >>> with record():
    ...     y = x * x
    >>> y.origin.line, x.origin
    (2, None)
    """
    if _active.calls is not None:  # within another record()
        yield
        return
    with patched(_changes()):
        try:
            _active.calls = _Calls()
            yield
        finally:
            _active.calls = None


def _changes() -> Iterator[tuple[Any, str, Any]]:
    from chainrule import tensor  # here, so that who only asks for a Place does not wait for NumPy

    for name, _, _ in operators():
        yield engine.Value, name, _noting(vars(engine.Value)[name])
    yield engine, "_apply", _noting(engine._apply)
    yield tensor, "_node", _noting(tensor._node)
    kinds: list[Any] = list(watched)
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if "__call__" in vars(kind):
            yield kind, "__call__", _noting_calls(vars(kind)["__call__"])


def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    active, frame_of = _active, sys._getframe

    @functools.wraps(original)
    def making(*xs: Any) -> Any:
        node = original(*xs)
        calls = active.calls
        if calls is not None and isinstance(node, engine.Node) and node.op is not None:
            cast(Any, node)._origin = calls.origin(frame_of(1))
        return node

    return making


def _noting_calls(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *xs: Any, **options: Any) -> Any:
        if _active.calls is None:
            return original(self, *xs, **options)
        with _active.calls.inside(self):
            return original(self, *xs, **options)

    return call
