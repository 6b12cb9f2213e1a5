"""People in a line who keep their tickets, as one file of tokens.

    line.py URL join ZONE HOW_MANY FILE    they join, and FILE has a token a line
    line.py URL ranks FILE ZONE            they ask once each: "in" or the rank, a line each; a place that was lost is "lost"
"""

import json
import sys
import urllib.error
import urllib.request


def call(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def rank(url, zone, token):
    try:
        answer = call(url, "/traffic/entry", {"zoneId": zone, "token": token})
    except urllib.error.HTTPError as error:
        return f"lost: {error.code} {error.read().decode()}"
    if answer["token"] != token:
        return "lost: another ticket"
    return "in" if answer["canEnter"] else str(answer["waiting"]["rank"])


def main():
    url, what = sys.argv[1:3]
    if what == "join":
        zone, people, file = sys.argv[3], int(sys.argv[4]), sys.argv[5]
        with open(file, "w") as tokens:
            for _ in range(people):
                tokens.write(call(url, "/traffic/wait", {"zoneId": zone})["token"] + "\n")
    else:
        file, zone = sys.argv[3:5]
        with open(file) as tokens:
            for token in tokens.read().split():
                print(rank(url, zone, token))


if __name__ == "__main__":
    main()
