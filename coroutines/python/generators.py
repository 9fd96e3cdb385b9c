"""generators: functions that stop in the middle, and go on when they are resumed.
The caller asks; the body runs to its next yield and stops there.
Run it: python3 coroutines/python/generators.py
"""

from itertools import islice


def run():
    count = count_to(2)
    print("count:   ", next(count), next(count), returned(count))
    average = averages()
    print("average: ", next(average), average.send(10), average.send(20), average.throw(StartAnew))
    average.close()
    made = []
    even_squares = (n for n in squares(numbers(made)) if n % 2 == 0)
    print("squares: ", list(islice(even_squares, 2)), "of", len(made), "numbers made")
    print("in order:", list(in_order(1, 8)))


def returned(generator):
    try:
        next(generator)
    except StopIteration as end:
        return end.value


def count_to(n):
    for i in range(1, n + 1):
        yield i
    return "counted"


class StartAnew(Exception):
    """Can be thrown in."""


def averages():
    """Yields the average of all numbers sent."""
    total, n = 0, 0
    while True:
        try:
            total += yield total // n if n else 0
            n += 1
        except StartAnew:
            total, n = 0, 0


def numbers(made):
    while True:
        made.append(len(made) + 1)
        yield made[-1]


def squares(source):
    for n in source:
        yield n * n


def in_order(begin, end):
    """Yields from the depth of a recursion: every level passes on the values from below."""
    if begin < end:
        middle = (begin + end) // 2
        yield from in_order(begin, middle)
        yield middle
        yield from in_order(middle + 1, end)


if __name__ == "__main__":
    run()
