"""What the scripts of the tests share: paths, and functions to build programs and to start and stop servers."""
import contextlib, functools, itertools, os, platform, socket, subprocess, sys, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
CACHE = os.environ.get("GREENROOM_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "greenroom"
)


class Failed(Exception):
    """A program failed. The text says which, and what to do."""


def run(*command, **options):
    """Runs a command that prints its own errors. Returns its exit code."""
    print("$", " ".join(command), flush=True)
    return subprocess.run(command, **options).returncode


def build(*arguments):
    """Compiles into the target folder. Does nothing if `tests/run` has built everything, unless `--release` is given."""
    if "--release" not in arguments and os.environ.get("GREENROOM_BUILT"):
        return
    if run("cargo", "build", "--target-dir", TARGET, *arguments, cwd=ROOT):
        raise Failed(f"cargo build {' '.join(arguments)} failed, see above")


def release(*arguments):
    build("--release", *arguments)


def binary(name, profile="release"):
    return os.path.join(TARGET, profile, name)


def python_with(requirements):
    """Returns a Python that has the packages of a requirements file. Makes its environment if that is missing."""
    if sys.version_info < (3, 10):
        raise Failed(f"Django 5.2 needs Python 3.10 or later, and this is {platform.python_version()}")
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL).returncode:
        raise Failed("this Python has no venv: run `apt-get install python3-venv`")
    setup = os.path.join(ROOT, "tests", "redis", "python", "setup")
    made = subprocess.run([sys.executable, setup, requirements], stdout=subprocess.PIPE, text=True)
    if made.returncode:
        raise Failed(f"the packages of {requirements} could not be installed, see above")
    return made.stdout.strip()


# Linux gives out the ports from 32,768 on. Each test program has a block of those below, whose first port is taken for as
# long as it runs; `tests/integration/src/ports.rs` has the same blocks.
BLOCKS, BLOCK = range(20_000, 32_000, 500), 500
TAKING = threading.Lock()


def free_port():
    """A port of 127.0.0.1 that is free now, and that no other test gets soon."""
    with TAKING:
        _, ports = block()
        for port in itertools.islice(ports, BLOCK):
            with socket.socket() as one, contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                return port
    raise Failed(f"{BLOCK} ports in a row are in use")


@functools.cache
def block():
    """What keeps other programs out of the block of this one, and its ports, again and again."""
    for first in BLOCKS:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", first)), itertools.cycle(range(first + 1, first + BLOCK))
    raise Failed(f"{len(BLOCKS)} test programs run already: the ports {BLOCKS[0]}, {BLOCKS[1]} and so on are in use")


def start(command, log, wanted=0, **options):
    """Starts a server, and waits until it listens. `command` makes its command from a port; `wanted` 0 takes a free port.

    Returns the process and its port."""
    for _ in range(1 if wanted else 3):
        port = wanted or free_port()
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                free.bind(("127.0.0.1", port))
            except OSError as error:
                raise Failed(f"port {port} cannot be had: {error.strerror}; choose another")
        with open(log, "w") as output:
            server = subprocess.Popen(command(port), stdout=output, stderr=output, **options)
        end = time.monotonic() + 20
        try:
            while server.poll() is None and time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return server, port
                except OSError:
                    time.sleep(0.02)
        except BaseException:
            # If the waiting is interrupted, for example by Ctrl-C, the server must not stay behind.
            stop(server)
            raise
        stop(server)
    with open(log) as output:
        raise Failed(f"{' '.join(command(port))}: {output.read().strip()[-500:]}")


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
