"""io-bound: fetch every page at the same time.
One protocol per page, all on one thread: the reactor calls it when something has happened.
Run it: python3 twisted-style/python/io_bound.py http://127.0.0.1:8000/page/1
"""

import sys
from pathlib import Path

from twisted.internet import defer, endpoints, protocol, reactor

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from outline import TIMEOUT, Get, fetch_all


def run(jobs):
    tasks = []
    for job in jobs:
        tasks.append(fetch(job))
    return defer.gatherResults(tasks)


def fetch(job):
    get = Get(job)
    result = exchange(get).addTimeout(TIMEOUT, reactor)
    return result.addCallbacks(lambda _: get.outcome(), lambda failed: get.outcome(error(failed)))


def exchange(get):
    page = Page(get)
    endpoint = endpoints.TCP4ClientEndpoint(reactor, *get.address, TIMEOUT)
    connected = endpoints.connectProtocol(endpoint, page)
    return connected.addCallback(lambda _: page.done)


class Page(protocol.Protocol):
    def __init__(self, get):
        self.get, self.done = get, defer.Deferred()

    def connectionMade(self):
        self.transport.write(self.get.request)

    def dataReceived(self, data):
        self.get.received(data)

    def connectionLost(self, reason):
        clean = reason.check(protocol.connectionDone.type)
        self.done.callback(None) if clean else self.done.errback(reason)


def error(failure):
    """Twisted's errors under Python's names."""
    kinds = {"ConnectionRefusedError": ConnectionRefusedError, "TimeoutError": TimeoutError}
    return kinds.get(failure.type.__name__, ConnectionResetError)()


def react(jobs, outcomes=[]):
    reactor.callWhenRunning(lambda: run(jobs).addCallback(outcomes.extend).addBoth(stop))
    reactor.run()
    return outcomes


def stop(_):
    reactor.stop()


if __name__ == "__main__":
    fetch_all(react)
