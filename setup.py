"""Build the native engine and executor when there is a C compiler; without one the package installs pure, and says so."""

import json
import logging
import os
import sys
import sysconfig
import types
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("src/chainrule/native")


def write_headers() -> None:
    """Print C code from the table. The package itself needs NumPy, which a build does not have: so stand in for it."""
    package = types.ModuleType("chainrule")
    package.__path__ = [str(Path("src/chainrule").resolve())]
    native = types.ModuleType("chainrule.native")
    native.__path__ = [str(NATIVE.resolve())]
    sys.modules.update({"chainrule": package, "chainrule.native": native})
    from chainrule.native.generate import header
    from chainrule.native.kernels import kernels

    NATIVE.joinpath("_ops.h").write_text(header(), encoding="utf-8")
    NATIVE.joinpath("_kernels.h").write_text(kernels(), encoding="utf-8")


class BuildNative(build_ext):
    """build_ext that never stops an installation: a failure leaves its reason in `_build.json`."""

    def run(self) -> None:
        """Compile, or say why not."""
        folder = NATIVE if self.inplace or self.editable_mode else Path(self.build_lib, "chainrule/native")
        reason = ""
        if os.environ.get("CHAINRULE_PURE", "0") not in ("", "0"):
            reason = "CHAINRULE_PURE was set when it was installed"
        elif sysconfig.get_config_var("Py_GIL_DISABLED"):
            reason = "the native engine needs a Python with the global interpreter lock"
        else:
            try:
                write_headers()
                super().run()
            except Exception as error:  # any failure of any compiler: the pure engine serves
                reason = f"the native engine could not be compiled when it was installed: {str(error).strip()}"
        if reason:
            self.announce(f"chainrule installs pure: {reason}", level=logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath("_build.json").write_text(json.dumps({"reason": reason}) + "\n", encoding="utf-8")

    def get_outputs(self) -> list[str]:
        """What was built, which may be nothing."""
        return [path for path in super().get_outputs() if Path(path).exists()]

    def get_output_mapping(self) -> dict[str, str]:
        """The same, for an editable installation."""
        return {built: source for built, source in super().get_output_mapping().items() if Path(built).exists()}


setup(
    ext_modules=[
        Extension(
            "chainrule.native._engine",
            ["src/chainrule/native/engine.c"],
            depends=["src/chainrule/ops.py", "src/chainrule/symbols.py", "src/chainrule/native/generate.py"],
            # Contraction to fused multiply-add would make pure and native differ in the last digit.
            extra_compile_args=["-O3", "-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wno-unused-function"],
        ),
        Extension(
            "chainrule.native._executor",
            ["src/chainrule/native/executor.c"],
            depends=[
                "src/chainrule/ops.py",
                "src/chainrule/symbols.py",
                *(str(NATIVE / name) for name in ("kernels.py", "both.h", "kernels.h", "vectormath.h")),
            ],
            # Without traps and errno a `?:` becomes a vector instruction; nothing else of -ffast-math is allowed.
            extra_compile_args=[
                "-O3",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffp-contract=fast",
                "-pthread",
                "-Wall",
                "-Wno-psabi",
                "-Wno-unused-function",
            ],
            extra_link_args=["-pthread"],
        ),
    ],
    cmdclass={"build_ext": BuildNative},
)
