"""io-bound: fetch every page at the same time.
One greenlet per page, all on one thread: each call that would block switches to the hub.
Run it: python3 gevent-style/python/io_bound.py http://127.0.0.1:8000/page/1
"""

from gevent import monkey

monkey.patch_all()

import socket
import sys
from pathlib import Path
from queue import Empty, SimpleQueue

import gevent

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from outline import BUFFER, TIMEOUT, Get, fetch_all


def run(jobs):
    tasks = []
    for job in jobs:
        tasks.append(gevent.spawn(fetch, job))
    outcomes = []
    for task in tasks:
        outcomes.append(task.get())
    return outcomes


def fetch(job):
    get = Get(job)
    try:
        exchange(get)
    except OSError as error:
        return get.outcome(error)
    return get.outcome()


def exchange(get):
    with socket.create_connection(get.address, TIMEOUT) as connection:
        connection.sendall(get.request)
        while get.wants_more:
            get.received(connection.recv(BUFFER))


def bounded(jobs, at_once):
    """The same with `at_once` workers that take their jobs from one queue."""
    queue = SimpleQueue()
    for job in jobs:
        queue.put(job)
    tasks = [gevent.spawn(work, queue) for _ in range(at_once)]
    return [outcome for task in tasks for outcome in task.get()]


def work(queue):
    outcomes = []
    while True:
        try:
            job = queue.get_nowait()
        except Empty:
            return outcomes
        outcomes.append(fetch(job))


if __name__ == "__main__":
    fetch_all(run)
