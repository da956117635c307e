"""How the native engine is built, chosen and refused."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from chainrule import native, ops
from chainrule.native.generate import header
from chainrule.native.sources import FILES, HERE, source_hash

ROOT = Path(__file__).resolve().parents[1]
CC = (sysconfig.get_config_var("CC") or "cc").split()[0]


def python(code, **environment):
    """Run code in a fresh interpreter; returns what it printed."""
    kept = {k: v for k, v in os.environ.items() if k != "CHAINRULE_PURE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_environment_keeps_it_pure():
    ask = (
        "from chainrule import native, Value; print(native.status()['engine'], native.status()['reason'], Value.__flags__ & 512)"
    )
    assert python(ask, CHAINRULE_PURE="1").startswith("pure CHAINRULE_PURE is set")
    if native.engine is not None:
        assert python(ask).startswith("native built for this machine")
        assert python(ask, CHAINRULE_PURE="0").startswith("native")


def test_the_same_program_gives_the_same_numbers_on_both():
    code = (
        "import random; from chainrule import Value; random.seed(1)\n"
        "xs = [Value(random.uniform(-1, 1)) for _ in range(50)]\n"
        "y = sum((a * b + a.tanh()).relu() / (1.5 + b) for a, b in zip(xs, xs[1:]))\n"
        "y.backward(); print(y.data, [x.grad for x in xs])"
    )
    assert python(code) == python(code, CHAINRULE_PURE="1")


def test_a_pickle_goes_from_one_engine_to_the_other(tmp_path):
    file = tmp_path / "graph.pickle"
    start = f"import pickle, pathlib; from chainrule import Value; file = pathlib.Path({str(file)!r}); "
    write = start + "x = Value(2.0, label='x'); y = (x * x).tanh() + x; y.backward(); file.write_bytes(pickle.dumps([x, y]))"
    read = start + "x, y = pickle.loads(file.read_bytes()); x.zero_grad(); y.backward(); print(x.label, y.data, x.grad)"
    for writer, reader in (("0", "1"), ("1", "0")):
        python(write, CHAINRULE_PURE=writer)
        printed = python(read, CHAINRULE_PURE=reader).split()
        assert printed[0] == "x"
        assert float(printed[1]) == pytest.approx(2.9993292997390673)
        assert float(printed[2]) == pytest.approx(1 + 4 * (1 - 0.9993292997390670**2))


def test_an_engine_from_another_table_is_refused_with_a_warning(monkeypatch):
    class Stale:
        SOURCE_HASH = "0"

    monkeypatch.setattr(native.importlib, "import_module", lambda name: Stale)
    monkeypatch.delenv("CHAINRULE_PURE", raising=False)
    with pytest.warns(RuntimeWarning, match="built from other sources; build it again"):
        engine, reason = native._load()
    assert engine is None
    assert "other sources" in reason


def test_the_built_engine_belongs_to_this_table():
    if native.engine is None:
        pytest.skip(f"no native engine: {native.status()['reason']}")
    assert source_hash() == native.engine.SOURCE_HASH
    assert native.status()["compiler"]


def test_every_source_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.native.sources.HERE", str(tmp_path / "native"))
    (tmp_path / "native").mkdir()
    assert source_hash() == ""  # installed without sources: nothing to compare
    hashes = set()
    for changed in (None, *FILES):
        for name in FILES:
            content = (Path(HERE) / name).read_bytes()
            (tmp_path / "native" / name).write_bytes(content + b" " * (name == changed))
        hashes.add(source_hash())
    assert len(hashes) == 1 + len(FILES)


def test_the_header_has_each_row_once():
    text = header()
    for op in ops.BUILT_IN:
        assert text.count(f"case OP_{op.name.upper()}:") == 2  # forward and slopes


@pytest.fixture
def sources(tmp_path):
    """A copy of what a build needs, so that building leaves the working tree alone."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "_build.json", "_ops.h", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignore)
    return tmp_path


def build(folder, **environment):
    kept = {k: v for k, v in os.environ.items() if k != "CHAINRULE_PURE"}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder, env={**kept, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_without_a_compiler_the_build_goes_through_and_says_it_is_pure(sources):
    pytest.importorskip("setuptools", reason="building needs setuptools")
    done = build(sources, CC="/nonexistent/cc")
    assert done.returncode == 0, done.stderr
    assert "chainrule installs pure" in done.stdout + done.stderr
    assert not list(sources.rglob("_engine*.so"))
    told = python("from chainrule import native; print(native.status())", PYTHONPATH=str(sources / "src"))
    assert "'engine': 'pure'" in told
    assert "could not be compiled when it was installed" in told
    assert (
        python("from chainrule import Value; x = Value(3.0); (x * x).backward(); print(x.grad)", PYTHONPATH=str(sources / "src"))
        == "6.0"
    )


@pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler ({CC}) on this machine")
def test_the_native_engine_compiles_without_warnings(sources):
    pytest.importorskip("setuptools", reason="building needs setuptools")
    done = build(
        sources, CFLAGS="-Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wno-cast-function-type"
    )
    assert done.returncode == 0, done.stderr
    assert list(sources.rglob("_engine*.so")), done.stdout + done.stderr
