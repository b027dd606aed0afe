"""A client of Greenroom's fallback transports that uses only Python's standard library.

It was written from the description of the protocol alone (framework/docs/protocol.md). It makes the requests that
bring messages only inside `receive`, so one thread is enough.
"""

import base64
import collections
import http.client
import json
import time
import urllib.parse

WAIT = 20
"""A long poll waits this many seconds."""
TIMEOUT = 45
"""A request fails after this many seconds without a byte. A stream sends a heartbeat every 15 s."""
ACK_EVERY = 32
"""The client acknowledges the batches of a stream after this many."""
TRIES = 5


class Refused(Exception):
    """The server or the consumer did not let the client in."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class Closed(Exception):
    """The connection has ended."""

    def __init__(self, code, reason):
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Connection:
    """One connection to a consumer. `transport` is `events`, `long` or `poll`."""

    def __init__(self, url, protocols=(), transport="long"):
        parts = urllib.parse.urlsplit(url)
        self._host, self._path = parts.netloc, parts.path or "/"
        self._transport = transport
        self._ack = self._acked = self._seq = 0
        self._due = collections.deque()
        self._closed = None
        self._asking = None
        self._stream = None
        body = json.dumps({"protocols": list(protocols)}) if protocols else ""
        query = "greenroom=open" + ("&" + parts.query if parts.query else "")
        status, _, text = self._ask("POST", f"{self._path}?{query}", body)
        if status != 200:
            raise Refused(status, text)
        answer = json.loads(text)
        self._id = answer["id"]
        self._wait = min(WAIT, answer.get("wait", WAIT))
        self.protocol = answer.get("protocol")

    # --- sending, receiving, closing ---

    def send(self, message):
        """Sends a `str` or `bytes`. Raises `Closed` if the server takes no more messages."""
        if self._closed:
            raise self._closed
        self._seq += 1
        if isinstance(message, bytes):
            message = {"binary": base64.b64encode(message).decode()}
        target = self._target("send", seq=self._seq, ack=self._ack)
        while True:
            status, headers, text = self._ask("POST", target, json.dumps([message]))
            if status == 204:
                return
            if status in (408, 429, 503):
                # The server has taken nothing of this request.
                time.sleep(float(headers.get("Retry-After", 0)))
                continue
            if status in (410, 413, 421):
                raise Closed(1009 if status == 413 else 1006, "")
            raise Refused(status, text)

    def receive(self):
        """Waits for the next message, a `str` or `bytes`. Raises `Closed` when the connection has ended."""
        while not self._due:
            if self._closed:
                raise self._closed
            if self._transport == "events":
                self._read_event()
            else:
                self._poll(self._wait if self._transport == "long" else 0)
        return self._due.popleft()

    def close(self, code=None, reason=""):
        """Closes the connection, with a code or without one."""
        body = "" if code is None else json.dumps({"code": code, "reason": reason})
        status, _, text = self._ask("POST", self._target("close"), body)
        if status not in (204, 410):
            raise Refused(status, text)
        self._closed = Closed(1005 if code is None else code, reason)

    # --- the requests that bring messages ---

    def _poll(self, wait):
        status, _, text = self._ask("GET", self._target("poll", ack=self._ack, wait=wait))
        if status == 200:
            self._take(text)
        elif status == 204:
            if wait == 0:
                time.sleep(0.005)
        elif status in (410, 421):
            self._closed = Closed(1006, "")
        else:
            raise Refused(status, text)

    def _read_event(self):
        if self._stream is None:
            connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT)
            connection.request("GET", self._target("events", ack=self._ack), headers={"Accept": "text/event-stream"})
            response = connection.getresponse()
            if response.status in (410, 421):
                self._closed = Closed(1006, "")
                return
            if response.status != 200:
                raise Refused(response.status, response.read().decode())
            self._stream = response
        data = []
        while True:
            try:
                line = self._stream.readline().decode()
            except (http.client.HTTPException, OSError):
                line = ""
            if not line:
                # The stream broke off. The next stream begins after the last batch that has arrived.
                self._stream = None
                return
            line = line.rstrip("\n").rstrip("\r")
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line:
                break
        if data:
            self._take("\n".join(data))
        if self._ack >= self._acked + ACK_EVERY and not self._closed:
            self._acked = self._ack
            self._ask("POST", self._target("ack", ack=self._ack))

    def _take(self, text):
        batch = json.loads(text)
        if batch["batch"] <= self._ack:
            # The server sent this batch again, because the acknowledgement was lost.
            return
        close = batch.get("close")
        if batch["batch"] != self._ack + 1 and not (close and close["code"] == 1013):
            raise ValueError(f"batch {batch['batch']} came after batch {self._ack}")
        self._ack = batch["batch"]
        for message in batch["messages"]:
            self._due.append(message if isinstance(message, str) else base64.b64decode(message["binary"]))
        if close:
            self._closed = Closed(close["code"], close["reason"])

    # --- requests ---

    def _target(self, what, **parameters):
        query = urllib.parse.urlencode({"greenroom": what, "id": self._id, **parameters})
        return f"{self._path}?{query}"

    def _ask(self, method, target, body=None):
        """Makes one request. Repeats it if the answer is lost: every request may be repeated, except `open`."""
        headers = {}
        if method == "POST":
            headers = {"Greenroom-Client": "1", "Content-Type": "application/json"}
        last = None
        for attempt in range(TRIES):
            if attempt > 1:
                time.sleep(0.05 * attempt)
            if self._asking is None:
                self._asking = http.client.HTTPConnection(self._host, timeout=TIMEOUT)
            try:
                self._asking.request(method, target, body=body, headers=headers)
                response = self._asking.getresponse()
                return response.status, response.headers, response.read().decode()
            except (http.client.HTTPException, OSError) as error:
                self._asking.close()
                self._asking = None
                last = error
        raise last
