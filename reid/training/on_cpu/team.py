"""Loops compiled by Numba, run by the OpenMP threads that torch has already.

Numba can start threads of its own, but OpenMP's idle threads spin for a while, and two such pools take the
cores from each other.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "address",
    "available",
    "barrier",
    "compile_loop",
    "narrow",
    "thread_count",
    "thread_number",
    "widen",
]

Loop = Callable[..., None]

_SYMBOLS = ("omp_get_num_threads", "omp_get_thread_num", "GOMP_barrier")
thread_count = types.ExternalFunction("omp_get_num_threads", types.int32())
thread_number = types.ExternalFunction("omp_get_thread_num", types.int32())
barrier = types.ExternalFunction("GOMP_barrier", types.void())


@cache
def _library() -> ctypes.CDLL | None:
    """GNU's OpenMP as torch's wheels bring it, the very copy that is loaded; a torch built otherwise has
    none.
    """
    path = next((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"), None)
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    for name in _SYMBOLS:
        binding.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    return library


def available() -> bool:
    """Whether this torch has threads to lend."""
    return _library() is not None


def compile_loop(function: Callable[[Any], None], *, keep: bool = True) -> Loop:
    """Compile a loop for the threads, which must be :func:`available`.

    Args:
        function: takes the address of its arguments, 64-bit integers. All threads run it at once and tell
            themselves apart by
            ``thread_number()``; they are ``thread_count()``, which the environment can make fewer than
                torch's.
        keep: on disk between runs. Numba notices a change in the file of ``function`` alone: after one in
            this file remove what it kept.

    Returns:
        A function of those integers.
    """
    library = _library()
    assert library is not None
    compiled = numba.cfunc(types.void(types.voidptr), cache=keep, error_model="numpy")(function)

    def loop(*arguments: int) -> None:
        library.GOMP_parallel(
            compiled.address, (ctypes.c_int64 * len(arguments))(*arguments), torch.get_num_threads(), 0
        )

    return loop


@intrinsic
def address(_context: Any, _number: Any) -> Any:
    """An integer as a pointer."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def widen(_context: Any, number: Any) -> Any:
    """The float32 of a float32, or of the bits of a bfloat16."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if number == types.float32:
            return arguments[0]
        word = ir.IntType(32)
        return builder.bitcast(
            builder.shl(builder.zext(arguments[0], word), ir.Constant(word, 16)), ir.FloatType()
        )

    return types.float32(number), generate


@intrinsic
def narrow(_context: Any, _number: Any, like: Any) -> Any:
    """A float32 in the type of ``like``; in bits of bfloat16 rounded to the nearest, a tie to the even
    one.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if like == types.float32:
            return arguments[0]
        word = ir.IntType(32)
        bits, upper = builder.bitcast(arguments[0], word), ir.Constant(word, 16)
        odd = builder.and_(builder.lshr(bits, upper), ir.Constant(word, 1))
        return builder.trunc(
            builder.lshr(builder.add(bits, builder.add(odd, ir.Constant(word, 0x7FFF))), upper),
            ir.IntType(16),
        )

    return like(types.float32, like), generate
