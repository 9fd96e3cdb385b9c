"""io-bound: fetch every page at the same time.
One task per page, all on one thread: `await` hands the thread back to the loop.
Run it: python3 asyncio-style/python/io_bound.py http://127.0.0.1:8000/page/1
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "common" / "python"))
from outline import BUFFER, TIMEOUT, Get, fetch_all


async def run(jobs):
    tasks = []
    for job in jobs:
        tasks.append(asyncio.create_task(fetch(job)))
    outcomes = []
    for task in tasks:
        outcomes.append(await task)
    return outcomes


async def fetch(job):
    get = Get(job)
    try:
        await asyncio.wait_for(exchange(get), TIMEOUT)
    except OSError as error:
        return get.outcome(error)
    return get.outcome()


async def exchange(get):
    reader, writer = await asyncio.open_connection(*get.address)
    try:
        writer.write(get.request)
        while get.wants_more:
            get.received(await reader.read(BUFFER))
    finally:
        writer.close()


async def bounded(jobs, at_once):
    """The same with `at_once` workers that take their jobs from one queue."""
    queue = iter(jobs)
    tasks = [asyncio.create_task(work(queue)) for _ in range(at_once)]
    return [outcome for task in tasks for outcome in await task]


async def work(queue):
    outcomes = []
    for job in queue:
        outcomes.append(await fetch(job))
    return outcomes


if __name__ == "__main__":
    fetch_all(lambda jobs: asyncio.run(run(jobs)))
