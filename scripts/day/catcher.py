"""Takes what Alertmanager sends and keeps each body as a line of FILE: its path, a tab, the JSON.

    catcher.py PORT FILE
"""

import http.server
import sys


class Catcher(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with open(sys.argv[2], "ab") as file:
            file.write(self.path.encode() + b"\t" + body.replace(b"\n", b" ") + b"\n")
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Catcher).serve_forever()
