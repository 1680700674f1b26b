"""A small server that speaks OpenAI's chat completions, run as a process of its own so that a test can kill it."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Handler(BaseHTTPRequestHandler):
    """Prefers the longer answer and gives it as many marks as it has words, at most five."""

    refusals: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers.get("authorization") != "Bearer secret":
            self._send(401, {"error": {"message": "wrong key"}})
        elif self.refusals:
            self._send(self.refusals.pop(), {"error": {"message": "busy"}})
        elif self.path != "/v1/chat/completions" or body["model"] == "nonsense":
            self._send(200, {"object": "list", "data": []})
        else:
            reply = judged(body["messages"][-1]["content"])
            self._send(200, {"choices": [{"message": {"role": "assistant", "content": reply}}]})

    def _send(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if status == 429:
            self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        pass


def judged(text: str) -> str:
    parts = dict(re.findall(r"==== ([^\n]*?) [0-9a-f]{12}\n(.*?)\n==== end", text, re.DOTALL))
    if "Answer A" in parts:
        first, second = len(parts["Answer A"]), len(parts["Answer B"])
        return f"Looked at both.\n[[{'C' if first == second else 'A' if first > second else 'B'}]]"
    marks = min(5, len(parts["Answer to grade"].split()))
    criteria = len(re.findall(r"^\d+\. ", text, re.MULTILINE))
    return "Fine.\n" + ", ".join(f"[[{number}: {marks}]]" for number in range(1, criteria + 1))


if __name__ == "__main__":
    port, *refusals = map(int, sys.argv[1:])
    Handler.refusals = refusals
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(server.server_address[1], flush=True)  # noqa: T201 - how the test learns the port
    server.serve_forever()
