"""cpu-bound: count primes, every count at the same time.
One thread per count: the one that has the GIL runs, the others wait for it.
Run it: python3 threads/python/cpu_bound.py 6 100000
"""

import sys
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from counts import count_all


def run(counts):
    counted = []
    tasks = []
    for count in counts:
        task = Thread(target=lambda count=count: counted.append(primes(count)), daemon=True)
        task.start()
        tasks.append(task)
    for task in tasks:
        task.join()
    return counted


def primes(count):
    # No task has to yield here: the interpreter takes the GIL away every 5 ms.
    while count.slice():
        pass
    return count.finish()


if __name__ == "__main__":
    count_all(run)
