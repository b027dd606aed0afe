"""The programs that a reader has: terminals and a browser. What comes in them is waited for."""
import contextlib, json, queue, re, socket, subprocess, threading, time, urllib.error, urllib.request

from programs import Failed, free_port, stop

# How long to wait for what must come. Much else may run on this machine.
PATIENCE = 60


def wait_for_port(port, program):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if program.poll() is not None:
            raise Failed(f"the server of port {port} has ended with {program.returncode}")
        time.sleep(0.02)
    raise Failed(f"nobody listens on port {port}")


class Terminal:
    """A program of a terminal: what it prints comes line by line."""

    def __init__(self, command, **options):
        self.program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.program.stdout:
            line = re.sub(r"\x1b\[\d*m", "", line.rstrip("\n"))
            # The time of a line in the log.
            self.lines.put(re.sub(r"^\d{4}-\d\d-\d\dT\S+ +", "", line))
        self.lines.put(None)

    def type(self, line):
        self.program.stdin.write(line + "\n")
        self.program.stdin.flush()

    def next(self):
        """The next line. None at the end."""
        try:
            line = self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise Failed(f"nothing came for {PATIENCE} s, after: {self.seen}")
        self.seen.append(line)
        return line

    def expect(self, wanted):
        """Reads up to a line. `...` at its end stands for anything."""
        while (line := self.next()) is not None:
            if line == wanted or wanted.endswith("...") and line.startswith(wanted[:-3]):
                return
        raise Failed(f"it ended without this line: {wanted}\nbut with: {self.seen[:-1]}")

    def end(self):
        """Waits until the program has ended by itself."""
        while self.next() is not None:
            pass
        return self.program.wait(PATIENCE)

    def kill(self):
        if self.program.poll() is None:
            self.program.kill()
        self.program.wait()


class Browser:
    """Chromium, by the protocol of its driver."""

    def __init__(self):
        self.port = free_port()
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL)
        self.session = ""
        wait_for_port(self.port, self.driver)
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        made = self.ask("POST", "", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}})
        self.session = "/" + made["sessionId"]
        self.first, self.opened = self.ask("GET", "/window"), []

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/session{self.session}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise Failed(f"the browser refuses {path}: {json.load(error)['value']['message'][:500]}")

    def open(self, url):
        """Opens a page in a new window. Returns the window."""
        window = self.ask("POST", "/window/new", {"type": "tab"})["handle"]
        self.opened.append(window)
        self.to(window)
        self.ask("POST", "/url", {"url": url})
        return window

    def to(self, window):
        self.ask("POST", "/window", {"handle": window})

    def close_windows(self):
        for window in self.opened:
            self.to(window)
            self.ask("DELETE", "/window")
        self.opened = []
        self.to(self.first)

    def run(self, script):
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def fill(self, selector, text):
        """Types into a field, as a user does."""
        element = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        self.ask("POST", f"/element/{next(iter(element.values()))}/value", {"text": text})

    def until(self, script, wanted):
        """Waits until a script returns what is wanted."""
        end = time.monotonic() + PATIENCE
        while (got := self.run(script)) != wanted:
            if time.monotonic() > end:
                raise Failed(f"the page has {got!r}, and not {wanted!r}: {script}")
            time.sleep(0.05)

    def close(self):
        with contextlib.suppress(Exception):
            self.ask("DELETE", "")
        stop(self.driver)
