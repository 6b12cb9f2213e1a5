#!/usr/bin/env python3
"""Licences of what is built into a release: the crates of `bunho`, with the C sources that some of them bring, and the packages of its pages.

    scripts/licences.py check            packages of the pages have licences that deny.toml allows (crates are cargo deny's)
    scripts/licences.py write FILE       every package by name and version, with the licence texts that it comes with

Needs the sources on the machine: `cargo fetch --locked`, and `npm ci` in web/.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
# Beside the manifest, or one folder deeper, where vendored C sources have theirs.
TEXT = re.compile(r"^(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)
NO_TEXT = {".rs", ".json", ".toml", ".html", ".py", ".c", ".h"}


def crates():
    """Name, version, licence and folder of every crate that is linked into the server; none of the workspace's own."""
    command = ["cargo", "metadata", "--format-version=1", "--offline", "--locked", f"--filter-platform={TARGET}"]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    packages = {package["id"]: package for package in data["packages"]}
    wanted = [identity for identity, package in packages.items() if package["name"] == "bunho-server"]
    seen = set(wanted)
    while wanted:
        for dependency in nodes[wanted.pop()]["deps"]:
            linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if linked and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                wanted.append(dependency["pkg"])
    for package in (packages[identity] for identity in seen):
        if package["source"]:
            yield package["name"], package["version"], package["license"] or "", Path(package["manifest_path"]).parent


def pages():
    """The same of every package that is built into the pages. What only builds or tests them is not shipped."""
    lock = json.loads((ROOT / "web/package-lock.json").read_text())
    for path, package in lock["packages"].items():
        if "node_modules/" in path and not package.get("dev") and not package.get("link"):
            yield path.rpartition("node_modules/")[2], package["version"], package.get("license", ""), ROOT / "web" / path


def texts(folder):
    files = [*folder.iterdir(), *(file for inner in folder.iterdir() if inner.is_dir() for file in inner.iterdir())]
    for file in sorted(files):
        if TEXT.match(file.name) and file.is_file() and file.suffix.lower() not in NO_TEXT:
            yield file.read_text(errors="replace").strip()


def is_allowed(expression, allowed):
    """One licence of each OR must be allowed, and every one of each AND. Expressions of the packages here need no more than that."""
    options = re.split(r"\s+OR\s+|/", expression.strip("() "))
    return any(all(part.strip("() ") in allowed for part in re.split(r"\s+AND\s+", option)) for option in options)


def check():
    allowed = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    found = list(pages())
    refused = [f"{name} {version}: {licence or 'no licence'}" for name, version, licence, _ in found if not is_allowed(licence, allowed)]
    if not found or refused:
        sys.exit("packages of the pages with a licence that deny.toml does not allow:\n  " + "\n  ".join(refused or ["none was found"]))


def write(path):
    everything = sorted({*crates(), *pages()})
    lines = ["What is built into bunho, with the licences that it comes under. The texts follow, each once.", ""]
    by_text = {}
    for name, version, licence, folder in everything:
        lines.append(f"{name} {version}: {licence}")
        if not folder.is_dir():
            sys.exit(f"{folder} is missing; `cargo fetch --locked` and `npm ci` bring the sources")
        for text in texts(folder):
            by_text.setdefault(re.sub(r"\s+", " ", text), (text, []))[1].append(name)
    for text, names in by_text.values():
        lines += ["", "=" * 100, ", ".join(dict.fromkeys(names)), "=" * 100, "", text]
    path.write_text("\n".join(lines) + "\n")
    print(f"{len(everything)} packages, {len(by_text)} texts in {path}")


match sys.argv[1:]:
    case ["check"]:
        check()
    case ["write", file]:
        write(Path(file))
    case _:
        sys.exit(__doc__)
