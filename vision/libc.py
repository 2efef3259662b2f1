"""Calls of the C library that Python has no function for: mallopt and Linux's prctl."""

import ctypes
import os
import signal

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h calls them
LARGE_BYTES = 8 * 2**20  # a network's own numbers for one picture take less, and are best kept for the next
KEPT_BYTES = 32 * 2**20
PR_SET_PDEATHSIG = 1  # as prctl.h calls it


def give_back_large_blocks() -> None:
    """Have each large block of memory given back to the system as soon as it is free.

    Left to itself, glibc keeps what one large picture took for the next one in the same thread, and so as
    many times as there are threads. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def end_with_parent(parent: int) -> None:
    """Have this process told to stop when the one that started it is gone, where the system can do that.

    Otherwise, it would go on for ever, with a port and with memory that nobody knows of.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent was gone before that call
            os.kill(os.getpid(), signal.SIGTERM)
