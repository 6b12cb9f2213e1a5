"""Asks a Prometheus every query of the given dashboards, with variables put in as Grafana puts them in, and says which have nothing to show.

    panels.py URL DASHBOARD…        exit code 1: a panel is empty

A panel whose description begins with "Counts failures" is empty in the good case. `cargo test -p bunho-server --test cluster watch::dashboards` asks
all of them, those of SQL, Redis and Kafka as well, of a cluster.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

RATE_INTERVAL = "20s"  # four times the interval of deploy/prometheus/prometheus.yml


def ask(url, path, parameters):
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]


def values(url, dashboard):
    for variable in dashboard["templating"]["list"]:
        metric, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").split(", ")
        found = ask(url, f"label/{label}/values", {"match[]": metric})
        yield variable["name"], "(" + "|".join(value.replace(".", "\\\\.") for value in found) + ")"


def main():
    url, files = sys.argv[1], sys.argv[2:]
    now, filled, empty = time.time(), 0, []
    for file in files:
        with open(file) as text:
            dashboard = json.load(text)
        chosen = dict(values(url, dashboard))
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
                for name, value in chosen.items():
                    query = query.replace(f"${name}", value)
                series = ask(url, "query_range", {"query": query, "start": now - 300, "end": now, "step": 5})["result"]
                if any(value != "NaN" for one in series for _, value in one["values"]):
                    filled += 1
                elif not panel["description"].startswith("Counts failures"):
                    empty.append(f"{dashboard['uid']}, {panel['title']}, {target['refId']}: {query}")
    print("\n".join(empty) if empty else f"{filled} queries of {len(files)} dashboards have data")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
