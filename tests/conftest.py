"""What the tests share: both engines in one process, so that they can be compared."""

import importlib.util
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

import chainrule.calculus
import chainrule.engine
from chainrule import native


def _copy(module: ModuleType, name: str) -> ModuleType:
    """A second instance of a module, under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    copy = importlib.util.module_from_spec(spec)
    sys.modules[name] = copy
    spec.loader.exec_module(copy)
    return copy


def _pure() -> SimpleNamespace:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "engine", None)
        engine = _copy(chainrule.engine, "pure_engine")
        patch.setattr(chainrule, "engine", engine)
        calculus = _copy(chainrule.calculus, "pure_calculus")
    return SimpleNamespace(**vars(engine), **{name: getattr(calculus, name) for name in CALCULUS}, kind="pure")


CALCULUS = ("grad", "value_and_grad", "jacobian", "hessian")
ENGINES = {
    "pure": _pure(),
    "native": SimpleNamespace(
        **vars(chainrule.engine), **{name: getattr(chainrule.calculus, name) for name in CALCULUS}, kind="native"
    ),
}


def engine_or_skip(kind: str) -> SimpleNamespace:
    if kind == "native" and native.engine is None:
        reason = f"no native engine: {native.status()['reason']}"
        if os.environ.get("CI") == "true" and "CHAINRULE_PURE" not in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return ENGINES[kind]


@pytest.fixture(params=["pure", "native"])
def engine(request):
    """The names of engine.py and calculus.py, once pure and once native."""
    return engine_or_skip(request.param)


@pytest.fixture
def both():
    """(pure, native), to hold one against the other."""
    return engine_or_skip("pure"), engine_or_skip("native")
