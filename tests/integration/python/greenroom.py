"""A client of Greenroom's fallback transports that uses only Python's standard library.

It was written from the description of the protocol alone (framework/docs/protocol.md). It makes the requests that
bring messages only inside `receive`, so one thread is enough.

A client that wants to go on after a loss makes one `History`, and gives it to each of its connections:

    history = History()
    connection = Connection(url, history=history)
    ...
    connection = Connection(url, history=history)
    if not connection.recovered:
        fetch_the_state_anew()
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
ACK_BYTES = 64 << 10
"""It also acknowledges them after this many bytes."""
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


class RequestError(Exception):
    """The server answered a request with an error."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


ANSWER = '{"type":"greenroom.answer",'
"""With this each answer begins."""


RESUME_LOGS = 1000
"""So many groups a client may name when it comes back."""
RESUME_BYTES = 60 << 10
"""So long what it names may be. The server takes 64 KiB, with the subprotocols."""
RESUME_IDS = 8
"""So many earlier connections it may name."""


class Log:
    """Where a client is in the history of a group."""

    def __init__(self, epoch, offset, tag):
        self.epoch, self.offset, self.tag = epoch, offset, tag
        self.part = (0, 0)
        """The last part that was seen of an event that is not done: the event's offset, and k."""
        self.token, self.foreign = "", 0.0
        self.here = False
        """Whether the connection is in the group."""


class History:
    """What a client has seen of the groups that have a history. One for all of its connections, one after the other."""

    def __init__(self):
        self._logs = {}
        self._aliases = {}
        self._was = []
        self._named = set()
        self.lost = []
        """What has a gap, as pairs of a group's id and a reason. Whoever reads them may take them out."""

    def resume(self):
        """What the next connection asks to go on from."""
        resume = {"was": self._was, "logs": []}
        self._named.clear()
        left = RESUME_BYTES - len(json.dumps(resume))
        for group, log in reversed(self._logs.items()):
            named = [log.token, log.offset, log.tag] + ([log.foreign] if log.foreign > 0 else [])
            left -= len(json.dumps(named)) + 2
            if left < 0 or len(self._named) == RESUME_LOGS:
                break
            resume["logs"].append(named)
            self._named.add(group)
        return resume

    def control(self, control):
        """Takes a control. Returns whether all that was missed comes now."""
        before = len(self.lost)
        resumed = control.get("resumed", {})
        if "hello" in control:
            self._hello(control["hello"], resumed)
        for group, outcome in resumed.items():
            if outcome is not True:
                self._lose(group, outcome)
        for alias, start in control.get("logs", {}).items():
            self._join(int(alias), *start[:6], resumed)
        for group, reason in control.get("lost", {}).items():
            self.lost.append((group, reason))
        for group, (epoch, offset, tag) in control.get("at", {}).items():
            if group in self._logs:
                log = self._logs[group]
                log.epoch, log.offset, log.tag, log.part = epoch, offset, tag, (0, 0)
        for alias, watermark in control.get("foreign", {}).items():
            self._passed(int(alias), watermark)
        for group in control.get("left", ()):
            self._logs.pop(group, None)
        # For a server that knows none of the groups, all of them are recovered.
        return control.get("recovered") is True and True in resumed.values() and len(self.lost) == before

    def is_new(self, message):
        """Takes a member of a batch. Returns whether it is a message that the client has not seen."""
        has_data = "text" in message or "binary" in message
        if "foreign" in message:
            self._passed(*message["foreign"])
            return has_data
        if "at" not in message:
            return has_data
        alias, offset, tag, *rest = message["at"]
        log = self._aliases.get(alias)
        if not log:
            return has_data
        if offset <= log.offset:
            return False
        if rest:
            if (offset, rest[0]) <= log.part:
                return False
            log.part = (offset, rest[0])
        else:
            log.offset, log.tag, log.part = offset, tag, (0, 0)
        return has_data

    def _hello(self, hello, resumed):
        self._was = [*self._was, hello["id"]][-RESUME_IDS:]
        self._aliases.clear()
        for group, log in list(self._logs.items()):
            log.here = False
            if group not in self._named and group not in resumed:
                self._lose(group, "too_many")

    def _passed(self, alias, watermark):
        log = self._aliases.get(alias)
        if log:
            log.foreign = max(log.foreign, watermark)

    def _lose(self, group, reason):
        self._logs.pop(group, None)
        self.lost.append((group, reason))

    def _join(self, alias, group, epoch, offset, tag, token, foreign, resumed):
        log = self._logs.pop(group, None)
        if log and not log.here and group not in resumed:
            self.lost.append((group, "forged"))
        if not (log and resumed.get(group) is True and log.epoch == epoch):
            log = Log(epoch, offset, tag)
        log.token, log.foreign, log.here = token, foreign, True
        self._logs[group] = self._aliases[alias] = log


class Connection:
    """One connection to a consumer. `transport` is `events`, `long` or `poll`.

    With a `history` it goes on where the connection before it was. `recovered` says whether all that was missed comes
    now. `history.lost` says what does not. If the application takes long to let the client in, both are only known
    after the first messages.
    """

    def __init__(self, url, protocols=(), transport="long", history=None):
        parts = urllib.parse.urlsplit(url)
        self._host, self._path = parts.netloc, parts.path or "/"
        self._transport = transport
        self._ack = self._acked = self._seq = self._unacknowledged = 0
        self._requests = 0
        self._due = collections.deque()
        self._closed = None
        self._asking = None
        self._stream = None
        self._history = history
        self.recovered = False
        body = {}
        if protocols:
            body["protocols"] = list(protocols)
        if history:
            body["resume"] = history.resume()
        body = json.dumps(body) if body else ""
        query = "greenroom=open" + ("&" + parts.query if parts.query else "")
        status, _, text = self._ask("POST", f"{self._path}?{query}", body)
        if status != 200:
            raise Refused(status, text)
        answer = json.loads(text)
        self._id = answer["id"]
        self._wait = min(WAIT, answer.get("wait", WAIT))
        self.protocol = answer.get("protocol")
        if history and "control" in answer:
            self.recovered = history.control(answer["control"])

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
        while True:
            while not self._due:
                self._fetch()
            message = self._due.popleft()
            if isinstance(message, str):
                return message
            if "control" in message:
                if self._history:
                    self.recovered = self._history.control(message["control"]) or self.recovered
            # The position moves when the application gets the message: what it has not got comes again after a loss.
            elif not self._history or self._history.is_new(message):
                return message["text"] if "text" in message else base64.b64decode(message["binary"])

    def request(self, input):
        """Sends a request, and waits for the value of its answer. `receive` returns what else comes meanwhile.

        Raises `RequestError` for an error of the server, and `Closed` if the connection ends before the answer: then
        the server may have done what was asked.
        """
        self._requests += 1
        looked_at = len(self._due)
        self.send(json.dumps({"type": "greenroom.request", "id": self._requests, "input": input}))
        while True:
            for at in range(looked_at, len(self._due)):
                message = self._due[at]
                if not isinstance(message, str) or not message.startswith(ANSWER):
                    continue
                answer = json.loads(message)
                if answer["id"] != self._requests:
                    continue
                del self._due[at]
                if "error" in answer:
                    raise RequestError(answer["error"]["code"], answer["error"]["text"])
                return answer["value"]
            looked_at = len(self._due)
            self._fetch()

    def _fetch(self):
        """Makes a request that may bring messages."""
        if self._closed:
            raise self._closed
        if self._transport == "events":
            self._read_event()
        else:
            self._poll(self._wait if self._transport == "long" else 0)

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
            self._unacknowledged += sum(map(len, data))
            self._take("\n".join(data))
        due = self._ack >= self._acked + ACK_EVERY or self._unacknowledged >= ACK_BYTES
        if due and not self._closed:
            self._acked, self._unacknowledged = self._ack, 0
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
        self._due.extend(batch["messages"])
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
