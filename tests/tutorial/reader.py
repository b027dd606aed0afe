"""A reader, who does what a page says."""
import contextlib, json, os, re, shlex, shutil, signal, socket, subprocess, time

from programs import ROOT, TARGET, Failed
from tools import Browser, Terminal, free_port, wait_for_port

# `websocat` is installed already, and the rest would change this machine, or take minutes.
LEFT_OUT = {
    "cargo run -p chat",
    "cargo install websocat",
    "cargo build --release",
    "sudo systemctl enable --now my-chat@8000 my-chat@8001",
    "sudo systemctl restart my-chat@8000",
    "sudo systemctl restart my-chat@8001",
    "sudo nginx -t",
    "sudo systemctl reload nginx",
    "sudo certbot --nginx -d chat.example.com",
}
# The blocks that a machine is configured by, and not a crate: STEPS looks at them.
MACHINE = "/etc/"


def blocks(page):
    """The fenced blocks of a page: number of the line, language, the text before it, the file that it is, its content."""
    found, before, lines = [], [], iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        fence = re.match(r"^( *)```(\S+)$", line)
        if not fence:
            before.append(line.strip())
            continue
        content = []
        for _, line in lines:
            if line == fence[1] + "```":
                break
            content.append(line.removeprefix(fence[1]))
        lead = "\n".join(before).rstrip()
        name = re.search(r"`([\w./@-]+)`:$", lead)
        found.append((number, fence[2].split(",")[0], lead, name and name[1], "\n".join(content)))
        before = []
    return found


class Reader:
    """Who follows the pages: a folder, terminals and a browser."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {port: free_port() for port in (8000, 8001, 6379)}
        self.servers, self.members, self.log, self.windows = {}, {}, None, []
        self.printed = None
        self.resources = contextlib.ExitStack()
        self.browser = None

    def locally(self, text):
        """A text of a page with the ports of this run, and the checkout that is tested."""
        for port, free in self.ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        return text.replace('"../greenroom/framework"', json.dumps(os.path.join(ROOT, "framework")))

    def url(self, path, port=8000):
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def page(self, name, steps):
        """Follows one page of the project."""
        with open(os.path.join(ROOT, name)) as file:
            text = file.read()
        self.written = {}
        begun = time.monotonic()
        for number, language, lead, name_of_file, content in blocks(text):
            try:
                self.step(steps, language)
                if name_of_file:
                    self.write(name_of_file, content)
                elif language == "sh":
                    for line in content.splitlines():
                        self.step(steps, line)
                        self.command(line)
                elif language == "console":
                    self.talk(lead, content)
                elif language == "log":
                    for line in content.splitlines():
                        self.log.expect(self.locally(line))
                elif language == "js":
                    self.script(lead, content)
                elif language == "text":
                    self.compare(content)
                else:
                    raise Failed(f"nobody knows what to do with a block of {language}")
            except (Failed, OSError) as error:
                raise Failed(f"{name}:{number}: {error}")
        self.step(steps, "end")
        self.leave()
        print(f"{name}: what it shows is what comes ({time.monotonic() - begun:.0f} s)", flush=True)

    def leave(self):
        """Ends the terminals and closes the windows of a page: their clients would come back to the next page's server."""
        for member in self.members.values():
            member.kill()
        if self.browser:
            self.browser.close_windows()
        self.members, self.windows = {}, []

    def step(self, steps, before):
        if before in steps:
            steps[before](self)

    def write(self, name, content):
        self.written[name] = content
        if name.startswith(MACHINE):
            return
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(self.locally(content) + "\n")

    def command(self, line):
        self.printed = None
        words = shlex.split(self.locally(line))
        environment = dict(os.environ, NO_COLOR="1")
        # The environment of tests/run would reach the crate.
        environment.pop("GREENROOM_BUILT", None)
        while words and re.match(r"^[A-Z]+=", words[0]):
            key, _, value = words.pop(0).partition("=")
            environment[key] = value
        if line in LEFT_OUT:
            return
        elif words[0] == "cd":
            self.folder = os.path.join(self.folder, words[1])
        elif words[:2] == ["cargo", "new"]:
            self.cargo(*words[1:], "--vcs", "none")
            self.lock(os.path.join(self.folder, words[2], "Cargo.lock"))
        elif words == ["cargo", "run"]:
            self.serve(environment)
        elif words == ["cargo", "test"]:
            self.printed = self.cargo("test", environment=environment)
        elif words[0] == "websocat":
            user = re.search(r"user=(\w+)", line)
            self.members[user and user[1]] = member = Terminal(words)
            self.resources.callback(member.kill)
        elif words[0] == "curl":
            self.printed = subprocess.run([*words, "--silent", "--show-error"], check=True, text=True, stdout=subprocess.PIPE).stdout
        else:
            raise Failed(f"this command is neither run nor in LEFT_OUT: {line}")

    def cargo(self, *words, environment=None):
        """Runs cargo. A reader should see no warning."""
        ran = subprocess.run(
            ["cargo", *words], cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if ran.returncode or "\nwarning" in ran.stdout:
            raise Failed(f"cargo {' '.join(words)}: {ran.stdout}")
        return ran.stdout

    def lock(self, path):
        """Begins with the versions that the project is tested with, or with those of the last run."""
        project, last = os.path.join(ROOT, "Cargo.lock"), os.path.join(TARGET, "tutorial.lock")
        kept = os.path.exists(last) and os.path.getmtime(last) > os.path.getmtime(project)
        shutil.copyfile(last if kept else project, path)
        self.locked = path, last

    def serve(self, environment):
        """Runs the crate's server. One that runs on this port gets Ctrl-C first, and must end as it should."""
        port = int(environment.get("BIND", f":{self.ports[8000]}").rpartition(":")[2])
        if port in self.servers:
            self.interrupt(port)
        self.cargo("build")
        shutil.copyfile(*self.locked)
        # The next build replaces the file.
        program = os.path.join(self.folder, f"my-chat-{port}")
        shutil.copy(os.path.join(TARGET, "debug", "my-chat"), program)
        self.servers[port] = self.log = Terminal([program], cwd=self.folder, env=environment)
        self.resources.callback(self.log.kill)
        wait_for_port(port, self.log.program)

    def interrupt(self, port):
        server = self.servers.pop(port)
        server.program.send_signal(signal.SIGINT)
        if code := server.end():
            raise Failed(f"after Ctrl-C the server ended with {code}: {server.seen}")

    def talk(self, lead, content):
        named = [user for user in self.members if user and re.search(rf"\b{user}\b", lead.rpartition("\n")[2], re.IGNORECASE)]
        member = self.members[named[0]] if named else list(self.members.values())[-1]
        for line in content.splitlines():
            if line.startswith("> "):
                member.type(line[2:])
            elif (came := member.next()) != line:
                raise Failed(f"this came: {came}\nand not:   {line}")

    def with_browser(self):
        if not self.browser:
            self.browser = Browser()
            self.resources.callback(self.browser.close)
        return self.browser

    def script(self, lead, content):
        """Runs lines in the console of a page, and keeps what they print."""
        browser = self.with_browser()
        browser.open(self.locally(re.findall(r"<(http://\S+)>", lead)[-1]))
        browser.run("window.printed = []; console.log = (...words) => printed.push(words.join(' '))")
        browser.run("const run = document.createElement('script'); run.type = 'module'; "
                    f"run.textContent = {json.dumps(content)}; document.documentElement.append(run)")
        self.printed = lambda lines: browser.until(f"return printed.slice(0, {len(lines)})", lines)

    def compare(self, content):
        lines = content.splitlines()
        if callable(self.printed):
            return self.printed(lines)
        if self.printed is None:
            raise Failed("nothing was run that could print this")
        # Tests end in any order.
        printed = [re.sub(r"; finished in .*", "", line) for line in self.printed.splitlines()]
        for line in lines:
            if line not in printed:
                raise Failed(f"this line was not printed: {line}\nbut:\n{self.printed}")
