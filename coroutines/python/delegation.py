"""delegation: the same conversation with a generator and with one that delegates to it.
If `yield from` lets everything through, the caller cannot tell the difference.
Run it: python3 coroutines/python/delegation.py
"""

START, SEND, THROW, CLOSE = "start", "send", "throw", "close"

# What has to pass through `yield from`, and a conversation in which it does.
WAYS = [
    ("values out", [(START, None), (SEND, "tea"), (SEND, "nothing")]),
    ("values in", [(START, None), (SEND, "tea"), (SEND, "cake")]),
    ("errors in", [(START, None), (THROW, "spilled"), (SEND, "tea")]),
    ("errors out", [(START, None), (SEND, "coffee")]),
    ("the return value", [(START, None), (SEND, "the bill")]),
    ("close", [(START, None), (SEND, "tea"), (CLOSE, None)]),
]
LEVELS = 3  # generators between the caller and the waiter


def run():
    print(row("passes through", "the caller gets", "the waiter notices"))
    for way, asks in WAYS:
        print(row(way, *hold(asks, LEVELS)))
    print(f"  and any iterable will do: {list(passes(n * n for n in range(1, 6)))}")


def row(way, caller, waiter):
    return f"  {way:<16}  {caller:<33}  {waiter}".rstrip()


def hold(asks, levels):
    """What the caller gets and what the waiter notices."""
    log, got = [], []
    talk = delegate(levels, waiter(log))
    calls = {START: lambda _: next(talk), SEND: talk.send, CLOSE: lambda _: talk.close() or "closed"}
    calls[THROW] = lambda words: talk.throw(ValueError(words))
    for ask, words in asks:
        try:
            got.append(calls[ask](words))
        except StopIteration as end:
            got.append(f"returned: {end.value}")
        except Exception as raised:
            got.append(f"raised: {raised}")
    return ", ".join(got), ", ".join(log)


def delegate(levels, inner):
    return inner if levels == 0 else passes(delegate(levels - 1, inner))


def passes(inner):
    return (yield from inner)


def waiter(log):
    says = "welcome"
    while True:
        try:
            order = yield says
        except ValueError as raised:
            log.append(f"{raised}!")
            says = "no harm done"
            continue
        except GeneratorExit:
            log.append("closing time")
            raise
        if order == "coffee":
            raise RuntimeError("out of coffee")
        if order == "the bill":
            return "thank you"
        says = "as you like" if order == "nothing" else "certainly"
        log.extend([order] if order != "nothing" else [])


if __name__ == "__main__":
    run()
