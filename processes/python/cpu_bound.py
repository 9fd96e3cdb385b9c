"""cpu-bound: count primes, every count at the same time.
One process per count: each has a GIL of its own, so each core runs one.
Run it: python3 processes/python/cpu_bound.py 6 100000
"""

import sys
from multiprocessing import Process, SimpleQueue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from counts import count_all


def run(counts):
    results = SimpleQueue()
    tasks = []
    for count in counts:
        task = Process(target=primes, args=(count, results), daemon=True)
        task.start()
        tasks.append(task)
    counted = [results.get() for _ in tasks]
    for task in tasks:
        task.join()
    return counted


def primes(count, results):
    # No task has to yield here: the OS preempts.
    while count.slice():
        pass
    results.put(count.finish())


if __name__ == "__main__":
    count_all(run)
