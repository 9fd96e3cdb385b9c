"""The code outline of all examples (slide 5): jobs, counts, and the lines of the answer."""

import io
import sys
import zlib
from http.client import HTTPException, HTTPResponse, IncompleteRead
from urllib.parse import urlsplit

from measured import measured

TIMEOUT = 10  # seconds for each page
BUFFER = 4096


class Get:
    """One GET without IO: an example connects, writes and reads until the peer closes."""

    def __init__(self, job):
        self.task, self.url = job
        url = urlsplit(self.url)
        self.address = (url.hostname, url.port or 80)
        path = (url.path or "/") + ("?" + url.query if url.query else "")
        head = f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
        self.request, self.answer, self.wants_more = head.encode(), bytearray(), True

    def received(self, data):
        self.answer += data
        self.wants_more = bool(data)  # no data: the peer closed

    def makefile(self, _mode):
        return io.BytesIO(self.answer)

    def outcome(self, error=None):
        """The index of the page, its URL, and the page or its error."""
        try:
            if error:
                raise error
            response = HTTPResponse(self)
            response.begin()
            body = response.read()
            words = f"{response.status} {len(body):>7} bytes  crc32 {zlib.crc32(body):08x}"
        except (ConnectionRefusedError, TimeoutError) as error:
            words = "timed out" if isinstance(error, TimeoutError) else "connection refused"
        except (IncompleteRead, HTTPException, OSError) as error:
            cut = isinstance(error, IncompleteRead) or not self.answer
            words = "closed before the end" if cut else "malformed answer"
            if isinstance(error, OSError) and not isinstance(error, HTTPException):
                unknown = type(error).__name__ in ("gaierror", "DNSLookupError")
                words = "host not found" if unknown else "connection reset"
        return self.task, self.url, words


def fetch_all(run):
    """The program of io-bound: fetches the given URLs, prints a line for each."""
    jobs = list(enumerate(sys.argv[1:]))
    outcomes = sorted(measured(run, jobs))
    width = max((len(url) for _, url, _ in outcomes), default=0)
    for _, url, words in outcomes:
        print(f"{url:<{width}}  {words}")
