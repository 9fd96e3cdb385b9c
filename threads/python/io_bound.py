"""io-bound: fetch every page at the same time.
One thread per page: the OS parks a thread that waits; it has given the GIL back by then.
Run it: python3 threads/python/io_bound.py http://127.0.0.1:8000/page/1
"""

import socket
import sys
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from outline import BUFFER, TIMEOUT, Get, fetch_all


def run(jobs):
    outcomes = []
    tasks = []
    for job in jobs:
        task = Thread(target=lambda job=job: outcomes.append(fetch(job)), daemon=True)
        task.start()
        tasks.append(task)
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
    queue, outcomes = SimpleQueue(), []
    for job in jobs:
        queue.put(job)
    tasks = [Thread(target=work, args=(queue, outcomes), daemon=True) for _ in range(at_once)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    return outcomes


def work(queue, outcomes):
    while True:
        try:
            job = queue.get_nowait()
        except Empty:
            return
        outcomes.append(fetch(job))


if __name__ == "__main__":
    fetch_all(run)
