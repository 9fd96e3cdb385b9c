"""io-bound: fetch every page at the same time.
One process per page: the OS parks a process that waits and wakes it when there is an answer.
Run it: python3 processes/python/io_bound.py http://127.0.0.1:8000/page/1
"""

import socket
import sys
from multiprocessing import Process, Queue, SimpleQueue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from outline import BUFFER, TIMEOUT, Get, fetch_all


def run(jobs):
    results = SimpleQueue()
    tasks = []
    for job in jobs:
        task = Process(target=lambda job: results.put(fetch(job)), args=(job,), daemon=True)
        task.start()
        tasks.append(task)
    outcomes = [results.get() for _ in tasks]
    for task in tasks:
        task.join()
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
    queue, results = Queue(), SimpleQueue()
    for job in [*jobs, *[None] * at_once]:  # one None per worker: no more jobs
        queue.put(job)
    tasks = [Process(target=work, args=(queue, results), daemon=True) for _ in range(at_once)]
    for task in tasks:
        task.start()
    outcomes = [results.get() for _ in jobs]
    for task in tasks:
        task.join()
    return outcomes


def work(queue, results):
    while job := queue.get():
        results.put(fetch(job))


if __name__ == "__main__":
    fetch_all(run)
