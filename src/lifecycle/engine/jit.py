"""
How kernels are compiled: explicit signatures, no GIL, machine code kept on disk.

Compiling all kernels takes a minute, loading them a few tenths of a second. The code is kept in a folder
named by the hash of the kernels' sources (numba alone compares only the file a function stands in, and
would go on using code into which an older helper was compiled). It lies beside the modules; where that place
is read-only, in the user's cache folder, filled with what an installer compiled; failing that, in a temporary one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import numba
from numba import types
from numba.core.registry import CPUDispatcher
from numba.core.typeinfer import register_dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Function = TypeVar("Function", bound="Callable[..., Any]")

INT = types.int64
FLOAT = types.float64
FLAG = types.uint8
BOOL = types.boolean
# Arrow's buffers reach numpy as read-only arrays, which numba holds to be types of their own; writable
# arrays are taken for them too.
INTS = types.Array(INT, 1, "C", readonly=True)
FLOATS = types.Array(FLOAT, 1, "C", readonly=True)
FLAGS = types.Array(FLAG, 1, "C", readonly=True)
MATRIX = types.Array(INT, 2, "C", readonly=True)
OUT_INTS = INT[::1]
OUT_FLAGS = FLAG[::1]
OUT_MATRIX = INT[:, ::1]
# The chained lists of flips that `schedule` makes: head, following, flipped.
TOGGLES = types.UniTuple(INTS, 3)

# Modules may be loaded by several threads at once, and numba knows one folder for all of them.
_one_place = RLock()


def kernel(*signatures: Any, inline: bool = False) -> Callable[[Function], Function]:
    """
    Compile a function for these signatures, or load what an earlier process compiled.

    inline: place its machine code into its callers; a call that hands over arrays costs more than short work. By
    itself it is loaded when a caller is compiled, which is most often never.
    """

    def compiled(function: Function) -> Function:
        options = {"nogil": True, "error_model": "numpy", "forceinline": inline}
        with _one_place:
            before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, code_folder()
            try:
                if inline:
                    return _Inline(function, signatures, options)
                return numba.njit(list(signatures), cache=True, **options)(function)  # type: ignore[no-any-return]
            finally:
                numba.config.CACHE_DIR = before

    return compiled


class _Inline(CPUDispatcher):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any], signatures: Sequence[Any], options: dict[str, Any]) -> None:
        super().__init__(py_func=function, targetoptions=options | {"nopython": True, "boundscheck": None})
        self.enable_caching()
        self._wanted = list(signatures)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Return what a caller that is being compiled may call."""
        with _one_place:
            if self._wanted:
                with register_dispatcher(self):
                    while self._wanted:
                        self.compile(self._wanted.pop(0))
                self.disable_compile()
        return super().get_call_template(args, kws)


@cache
def code_folder() -> str:
    """Return the folder that machine code is kept in."""
    package = Path(__file__).parent
    alone = [package / f"{name}.py" for name in ("gather", "merge", "search")]
    sources = [Path(__file__), *alone, *sorted((package / "windows").glob("*.py"))]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    return str(place_for(f"kernels-{digest}", package / "__pycache__"))


def place_for(name: str, beside: Path) -> Path:
    """Return a writable folder `name`: in `beside`, else in the user's cache, else a temporary one."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "lifecycle"
    for parent in (beside, user):
        folder = parent / name
        try:
            if parent == user and not folder.exists() and (beside / name).is_dir():
                shutil.copytree(beside / name, folder)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix=f"lifecycle-{name}-"))
