"""Reading numbers by address, for kernels of many small functions.

An array that is handed from one compiled function to another is counted, by atomic instructions; an address is not.
Whoever passes an address keeps the array alive and stays within it.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types, uint8, uint32
from numba.extending import intrinsic


def _reader(kind: Any, bits: int) -> Any:
    """Return a function that reads element `index` of numbers of `bits` bits from `address` on."""

    def read(typingctx, address, index):  # type: ignore[no-untyped-def]  # noqa: ARG001
        def lower(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.load(builder.gep(pointer, [arguments[1]]), align=1)

        return kind(types.int64, types.int64), lower

    return intrinsic(read)


byte_at = _reader(uint8, 8)
word_at = _reader(uint32, 32)
