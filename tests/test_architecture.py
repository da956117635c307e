"""The house rules, held by machine: who imports whom, what an import costs, and that leaves can go."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "chainrule"

# Each room, and the rooms it may import. `engine` reaches `native`, the optional twin it is replaced by.
CORE = {
    "errors": set(),
    "files": set(),
    "ops": {"errors"},
    "symbols": {"ops"},
    "native": {"ops", "symbols"},
    "engine": {"native", "ops", "errors"},
    "arrays": {"ops"},
    "shapes": {"errors"},
    "tensor": {"engine", "ops", "arrays", "shapes", "errors"},
    "calculus": {"engine", "errors"},
    "origins": {"engine", "errors", "ops", "tensor"},
    "__init__": {"calculus", "compiler", "engine", "errors", "tensor"},  # compiler and tensor by name, when first used
}
CORE_NAMES = set(CORE) - {"native"}
LEAVES = {"nn", "optim", "data", "check", "show", "compiler"}
ON_TOP = {"train": LEAVES, "cli": LEAVES | {"train", "__init__"}, "__main__": {"cli"}}
OPTIONAL = {"faker", "matplotlib", "py_mini_racer", "resvg_py", "rich", "safetensors", "sklearn", "torch", "graphviz", "IPython"}


def module_files():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path):
    """The rooms of chainrule that a file imports anywhere in it, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "chainrule" else [base]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "chainrule":
                room = rest.split(".")[0] or "__init__"
                rooms.add(room if any(PACKAGE.glob(f"{room}*")) else "__init__")
    return rooms


# The one arrow that does not point down: a notebook's display hook finds the pictures by name, if they are there.
BY_NAME = {("engine", "show")}


@pytest.mark.parametrize("path", module_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = room_of(path)
    allowed = CORE.get(room) if room in CORE else ON_TOP.get(room)
    if allowed is None:
        assert room in LEAVES, f"the room {room!r} is not in the plan of the house"
        allowed = set()
    if room not in CORE:
        allowed = allowed | set(CORE)
    wrong = imported_rooms(path) - allowed - {room} - {to for frm, to in BY_NAME if frm == room}
    assert not wrong, f"{path.name} imports {wrong}"


def test_no_cycles_between_modules():
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in module_files()
    }
    graph = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = []
            if isinstance(node, ast.ImportFrom):
                # "from package import module" needs that module; any other name needs the package itself.
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                found = [name if name in modules else node.module for name in whole]
            elif isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            graph[name] |= {f for f in found if f in modules and f != name}
    while graph:
        free = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert free, f"import cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


def fresh(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    loaded = set(fresh("import sys, chainrule; print(*sys.modules)").split())
    assert not {name for name in loaded if name.split(".")[0] in OPTIONAL | {"click", "difflib", "numpy"}}
    assert not {
        name
        for name in loaded
        if name.split(".")[:1] == ["chainrule"] and name.split(".")[1:2] and name.split(".")[1] in LEAVES | set(ON_TOP)
    }


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_a_leaf_imports_no_optional_package(leaf):
    loaded = set(fresh(f"import sys, chainrule.{leaf}; print(*sys.modules)").split())
    assert not {name for name in loaded if name.split(".")[0] in OPTIONAL}
    assert not {
        name for name in loaded if name.startswith("chainrule.") and name.split(".")[1] in (LEAVES | set(ON_TOP)) - {leaf}
    }


def test_leaves_are_there_when_they_are_asked_for():
    names = ("check", "compiler", "data", "nn", "optim", "show", "train")
    assert set(names) <= LEAVES | set(ON_TOP)
    program = "import chainrule, sys; before = 'chainrule.{0}' in sys.modules; print(before, chainrule.{0}.__name__)"
    assert [fresh(program.format(name)).strip() for name in names] == [f"False chainrule.{name}" for name in names]


def test_the_core_stands_without_its_leaves(tmp_path):
    """Delete every leaf from a copy: the core's own tests stay green."""
    for name in [*CORE_NAMES, "native"]:
        source = PACKAGE / (name if name == "native" else f"{name}.py")
        target = tmp_path / "chainrule" / source.name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    tests = [str(ROOT / "tests" / f"test_{name}.py") for name in ("ops", "engine", "calculus", "symbols", "files", "tensor")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-k", "not million and not long_chains", *tests],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    where = fresh("import chainrule; print(chainrule.__file__)", PYTHONPATH=str(tmp_path))
    assert where.startswith(str(tmp_path))


def functions():
    for path in module_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_no_function_over_sixty_lines_without_a_reason():
    for path, node in functions():
        lines = node.end_lineno - node.lineno + 1
        assert lines <= 60 or "lines because" in (ast.get_docstring(node) or ""), f"{path.name}: {node.name} has {lines} lines"


def test_every_module_says_what_it_is():
    for path in module_files():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_public_names_are_sorted_and_exist():
    assert chainrule.__all__ == sorted(chainrule.__all__)
    for name in chainrule.__all__:
        assert getattr(chainrule, name).__doc__, name
    public = {n for n in vars(chainrule) if not n.startswith("_")}
    submodules = {path.stem for path in PACKAGE.iterdir()}
    on_first_use = {"Tensor", "compile", "take"}
    assert (public - submodules) | on_first_use == set(chainrule.__all__)


def test_no_drawer_modules():
    assert not {path.stem for path in module_files()} & {"util", "utils", "helpers", "common", "misc"}


def test_nothing_uses_eval_or_pickle():
    for path in module_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path.name}:{node.lineno}"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "")]
                assert not {"pickle", "dill", "joblib"} & set(names), path
