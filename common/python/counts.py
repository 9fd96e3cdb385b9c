"""What the examples count: the primes below a number, by trial division, in slices."""

import sys

from measured import measured

SLICE = 5000


class Count:
    """Counts a little further with each slice, so that a task can yield in between."""

    def __init__(self, task, below):
        self.task, self.below, self.next, self.primes = task, below, 2, 0

    def slice(self):
        """Counts a little further; true while there is more to do."""
        end = min(self.below, self.next + SLICE)
        self.primes += sum(is_prime(n) for n in range(self.next, end))
        self.next = end
        return self.next < self.below

    def finish(self):
        return self.task, self.primes


def is_prime(n):
    divisor = 2
    while divisor * divisor <= n:
        if n % divisor == 0:
            return False
        divisor += 1
    return True


def count_all(run):
    """The program of cpu-bound: each task counts the primes below a number."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    below = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    counts = [Count(task, below) for task in range(tasks)]
    for task, primes in sorted(measured(run, counts)):
        print(f"task {task}: {primes} primes below {below}")
