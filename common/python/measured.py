"""What the run of an example took: a line on stderr, since stdout is for the answer."""

import sys
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import perf_counter


def measured(run, work):
    began, before = perf_counter(), used()
    result = run(work)
    wall, after = perf_counter() - began, used()
    cpu, switches = after[0] - before[0], after[1] - before[1]
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    took = f"took {wall:.6f} s, CPU {cpu:.6f} s, {switches} context switches, {peak} KiB"
    print(took, file=sys.stderr)
    return result


def used():
    """CPU seconds and context switches of this process and of the children it has waited for."""
    both = [getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in both)
    return seconds, sum(usage.ru_nvcsw + usage.ru_nivcsw for usage in both)
