"""Memory that large pictures have taken, and that is to go back to the system after them."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h calls them
LARGE_BYTES = 8 * 2**20  # a network's own numbers for one picture take less, and are best kept for the next
KEPT_BYTES = 32 * 2**20


def give_back_large_blocks() -> None:
    """Have each large block of memory given back as soon as it is free.

    Left to itself, glibc keeps what one large picture took for the next one in the same thread, and so as
    many times as there are threads. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
