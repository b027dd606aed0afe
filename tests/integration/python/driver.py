"""Drives one connection for a test.

It reads commands from standard input, one JSON object a line, and answers each with one JSON object: its outcome.
"""

import base64
import json
import sys

from greenroom import Closed, Connection, History, Refused, RequestError


def main():
    connection = history = None
    for line in sys.stdin:
        command = json.loads(line)
        do = command["do"]
        if do == "open":
            if command.get("history"):
                # The first connection makes it, and each further one goes on with it.
                history = history or History()
            try:
                connection = Connection(command["url"], command["protocols"], command["transport"], history)
                outcome = {"opened": connection.protocol, "recovered": connection.recovered}
            except Refused as refused:
                outcome = {"refused": {"status": refused.status, "body": refused.body}}
        elif do == "send":
            try:
                connection.send(base64.b64decode(command["binary"]) if "binary" in command else command["text"])
                outcome = {"sent": True}
            except Closed:
                outcome = {"sent": False}
        elif do == "receive":
            try:
                message = connection.receive()
                if isinstance(message, bytes):
                    outcome = {"binary": base64.b64encode(message).decode()}
                else:
                    outcome = {"text": message}
            except Closed as closed:
                outcome = {"closed": {"code": closed.code, "reason": closed.reason}}
        elif do == "request":
            try:
                outcome = {"value": connection.request(command["input"])}
            except RequestError as error:
                outcome = {"error": {"code": error.code, "text": error.text}}
        elif do == "lost":
            outcome = {"lost": history.lost}
            history.lost = []
        elif do == "close":
            connection.close(command["code"], command["reason"])
            outcome = {"closed": True}
        else:
            sys.exit(f"there is no command {do!r}")
        print(json.dumps(outcome), flush=True)


main()
