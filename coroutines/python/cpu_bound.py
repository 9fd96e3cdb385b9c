"""cpu-bound: count primes, every count at the same time.
One greenlet per count, all on one thread: no faster, and no other runs until one yields.
Run it: python3 coroutines/python/cpu_bound.py 6 100000
"""

import sys
from collections import deque
from pathlib import Path

from greenlet import getcurrent, greenlet

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from counts import count_all

ready = deque()


def run(counts):
    counted = []
    for count in counts:
        ready.append(greenlet(lambda count=count: counted.append(primes(count))))
    while ready:
        ready.popleft().switch()
    return counted


def primes(count):
    while count.slice():
        yield_now()
    return count.finish()


def yield_now():
    """Goes to the end of the queue, and back to the loop in `run`."""
    ready.append(getcurrent())
    getcurrent().parent.switch()


if __name__ == "__main__":
    count_all(run)
