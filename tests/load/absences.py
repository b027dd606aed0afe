"""What the measurements of history share: the servers, the clients that come back, and the tables."""
import json, os, platform, resource, shutil, signal, statistics, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from programs import ROOT, TARGET, Failed, binary, build, start, stop

HERE = os.path.dirname(os.path.abspath(__file__))
CPUS = os.cpu_count() or 1
# Debian installs nats-server in a folder that only root has in its PATH.
os.environ["PATH"] += os.pathsep + "/usr/sbin"
LAYERS = ("memory", "redis", "redis-pubsub", "nats")
# The rooms of the measurements are r0, r1, …
ROOMS = "r*"
QUIET = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
# What no run may show. Each is a count of the clients.
NEVER = {
    "doubled": "doubled",
    "out_of_order": "out of order",
    "not_superseded": "old connections left open",
    "superseded_otherwise": "old connections ended otherwise",
    "not_caught_up": "not caught up",
    "cut_while_catching_up": "cut while catching up",
    "tellers_not_done": "tellers not done",
}


class Run:
    """The processes of one run. They end with it, whatever happens."""

    def __init__(self, name, layer, profile="release"):
        self.folder = os.path.join(TARGET, "load", name.replace(" ", "-").replace(",", "-"))
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.name, self.layer, self.profile = name, layer, profile
        self.started, self.beside, self.url = [], None, layer

    def __enter__(self):
        try:
            self.broker()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Killed, because a server that is told to stop waits for its clients to come back, and they have gone.
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()

    def path(self, name):
        return os.path.join(self.folder, name)

    def keep(self, started):
        self.started.append(started[0])
        return started

    def broker(self):
        """Starts the Redis or the NATS that the servers share."""
        if self.layer == "memory":
            return
        if self.layer == "nats":
            nats = ["nats-server", "-a", "127.0.0.1", "-js", "-sd", self.path("jetstream"), "-p"]
            self.beside, port = self.keep(start(lambda port: [*nats, str(port)], self.path("nats.log")))
        else:
            redis = ["redis-server", *QUIET, "--dir", self.folder, "--port"]
            self.beside, port = self.keep(start(lambda port: [*redis, str(port)], self.path("redis.log")))
        self.url = f"{self.layer}://127.0.0.1:{port}"

    def server(self, *options, port=0, log="server"):
        """Starts a server, whose rooms keep their events unless the options say otherwise. Returns its process and port."""
        command = [binary("load-server", self.profile), "--host", "direct", "--layer", self.url, *options, "--port"]
        log = self.path(f"{log}-{len(self.started)}.log")
        return self.keep(start(lambda free: [*command, str(free)], log, port))

    def check(self):
        """Fails if a process has ended on its own."""
        for process in self.started:
            if process.poll() not in (None, 0) and process.returncode > 0:
                raise Failed(f"{self.name}: {process.args[0]} ended with exit code {process.returncode}; the logs are in {self.folder}")


class Returners:
    """The clients. They print `ready`, and at the end their figures; `mark` marks a moment."""

    def __init__(self, run, servers, options, command=None, limit=300):
        self.run, self.limit = run, limit
        if command is None:
            command = [binary("returners", run.profile), "--port", ",".join(str(port) for _, port in servers)]
            command += ["--pid", ",".join(str(server.pid) for server, _ in servers)]
            command += ["--beside", str(run.beside.pid)] if run.beside else []
            command += options.split()
        if shutil.which("taskset"):
            command = ["taskset", "-c", str(CPUS - 1), *command]
        with open(run.path("clients.log"), "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        run.started.append(self.process)
        self.timer = threading.Timer(limit, self.process.kill)
        self.timer.start()
        if self.process.stdout.readline().strip() != "ready":
            self.fail()

    def fail(self):
        self.timer.cancel()
        with open(self.run.path("clients.log")) as log:
            said = log.read().strip()[-300:]
        raise Failed(f"{self.run.name}: the clients failed, or took more than {self.limit} s: {said}; the logs are in {self.run.folder}")

    def mark(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        if self.process.stdout.readline().strip() != "marked":
            self.fail()

    def result(self):
        found = self.process.stdout.readline()
        self.timer.cancel()
        if self.process.wait() or not found:
            self.fail()
        self.run.check()
        return json.loads(found)


def wrong(found, faults=False):
    """What a run did wrong, in words. Empty if nothing. `faults`: the server was broken on purpose, so it may say `lost`."""
    counts = found["counts"]
    words = [f"{found['lost']:,} lost"] if found["lost"] else []
    # What ends an old connection goes through the server too. If that is away, the next ping ends it.
    never = {key: word for key, word in NEVER.items() if not (faults and "superseded" in key)}
    words += [f"{counts[key]:,} {word}" for key, word in never.items() if counts.get(key)]
    words += [f"{count:,} × {what}" for what, count in found["wrong"].items()]
    words += [f"{found['never_back']:,} never back"] if found["never_back"] else []
    if not faults:
        words += [f"{count:,} ended with {code}" for code, count in found["endings"].items() if code not in ("1006", "1012")]
        words += [f"{found['told_lost']:,} said to be lost"] if found["told_lost"] else []
        words += [f"{count:,} × lost: {reason}" for reason, count in found["outcomes"].items()]
    return ", ".join(words)


def span(ms):
    return f"{ms / 1000:,.2f} s" if ms >= 1000 else f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms" if ms >= 1 else f"{ms:.2f} ms"


def spans(spread, *percentiles):
    return " / ".join(span(spread[key]) for key in percentiles or ("p50", "p95", "p99"))


def outcomes(found):
    """How often clients came back to their place, and how often and why not."""
    lost = "".join(f", {count:,} × {reason}" for reason, count in found["outcomes"].items())
    return f"{found['counts'].get('recovered', 0):,}{lost}"


def table(titles, rows):
    print("\n| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def machine(*more):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "an unknown CPU")

    def output(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
        except OSError:
            return ""

    parts = [f"{model}, {CPUS} cores, Linux {platform.release()}", output("rustc", "--version")]
    parts += [output("redis-server", "--version").split(" sha=")[0], output("nats-server", "--version"), *more]
    parts.append(f"greenroom at {output('git', 'log', '-1', '--format=%h', 'framework/src') or 'unknown'}")
    return "; ".join(part for part in parts if part) + "; " + time.strftime("%Y-%m-%d") + "."


def files():
    """Each connection needs a file descriptor. Returns how many there are. Also makes an interrupted program end its servers."""
    # One that is told to stop ends its servers first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def prepare(layers, optimised):
    """Builds the programs, and says what is missing."""
    for name in layers:
        if name not in LAYERS:
            raise Failed(f"there is no layer {name!r}; choose from {', '.join(LAYERS)}")
    needed = {"redis-server": any("redis" in name for name in layers), "nats-server": "nats" in layers}
    for program, is_needed in needed.items():
        if is_needed and not shutil.which(program):
            raise Failed(f"{program} is missing: run `apt-get install {program}`")
    options = ["--release"] if optimised else []
    build(*options, "--package", "load-server", "--bin", "load-server")
    build(*options, "--manifest-path", os.path.join(HERE, "Cargo.toml"), "--package", "crowd")


def beside_each_other(tasks):
    """Runs short tasks at the same time, and returns their results in order. The first failure is raised."""
    results, failures = [None] * len(tasks), []

    def one(index, task):
        try:
            results[index] = task()
        except Failed as failed:
            failures.append(failed)

    threads = [threading.Thread(target=one, args=each) for each in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def note(found, out, describe=json.dumps):
    """Says what a run found, and adds it to the file of `--out`. Returns it."""
    print(f"{time.strftime('%H:%M:%S')} {describe(found)}", file=sys.stderr, flush=True)
    if out:
        with open(out, "a") as file:
            file.write(json.dumps(found) + "\n")
    return found


def measured(tasks, together, out, describe=json.dumps):
    """Runs the tasks one after the other, or the short ones together. Notes what each found, and returns that."""
    return [note(found, out, describe) for found in (beside_each_other(tasks) if together else (task() for task in tasks))]


def verdict(runs, faults=False):
    """Says of each run, a pair of its name and what it found, what it did wrong. Returns the exit code."""
    bad = [(name, what) for name, found in runs if (what := wrong(found, faults))]
    for name, what in bad:
        print(f"FAILED: {name}: {what}")
    return 1 if bad else 0


def median(runs, *keys):
    def at(run):
        for key in keys:
            run = run[key]
        return run

    return statistics.median(at(run) for run in runs)
