"""The command `uard`: `python -m uard search "a dog"`."""

import os
import sys

from ._uard import main as run


def _processors():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main():
    # candle reads it before its first computation.
    os.environ.setdefault("RAYON_NUM_THREADS", str(_processors()))
    return run(["uard", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
