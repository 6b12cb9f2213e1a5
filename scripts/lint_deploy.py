"""What no schema of Kubernetes or systemd knows about deploy/: names that must meet, and limits that must be above others. Called by lint_deploy.sh,
whose Python has yaml."""

import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = ROOT / "deploy/kubernetes"
DEFAULTS = tomllib.loads((ROOT / "bunho.example.toml").read_text())
# Beside connections: files of journal, ledger and logs (raise_open_files in commands/serve.rs).
OTHER_FILES = 1_024
# For the journal's last batch, or what is on its way to Kafka, after the drain.
SECONDS_TO_SPARE = 10
problems = []


def need(good, message):
    if not good:
        problems.append(message)


def settings(path):
    """The settings of a file over the defaults."""
    own = tomllib.loads(path.read_text())
    for section in own:
        need(section in DEFAULTS, f"{path}: there is no section [{section}]")
        for name in own[section]:
            known = name in DEFAULTS.get(section, {}) or re.search(rf"^# {name} =", (ROOT / "bunho.example.toml").read_text(), re.MULTILINE)
            need(known, f"{path}: there is no setting {section}.{name}")
    return {section: {**DEFAULTS.get(section, {}), **own.get(section, {})} for section in {*DEFAULTS, *own}}


def seconds_to_stop(server):
    return server["drain_delay_seconds"] + server["drain_seconds"] + SECONDS_TO_SPARE


def load(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def objects(folder):
    """All that a kustomization brings, and the names of its maps. Every file must be listed, and every one listed be there."""
    kustomization = load(folder / "kustomization.yaml")[0]
    listed, found = [], []
    for resource in kustomization["resources"]:
        path = (folder / resource).resolve()
        if path.is_dir():
            found += objects(path)[0]
        else:
            listed.append(path)
            found += load(path)
    there = {path for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"}
    need(there == set(listed), f"{folder}/kustomization.yaml and the files beside it differ: {sorted(there ^ set(listed))}")
    return found, {generated["name"]: generated["files"] for generated in kustomization.get("configMapGenerator", [])}


def check_shape(folder, kind):
    everything, maps = objects(folder)
    by_kind = {}
    for item in everything:
        by_kind.setdefault(item["kind"], []).append(item)
    workload = by_kind[kind][0]
    template = workload["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    containers = pod["containers"] + pod.get("initContainers", [])
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    server = settings(folder / "bunho.toml")["server"]

    def selects(item, selector):
        chosen = selector.get("matchLabels", selector)
        need(chosen.items() <= labels.items(), f"{folder.name}: {item['kind']} {item['metadata']['name']} selects {chosen}, pods have {labels}")

    selects(workload, workload["spec"]["selector"])
    for item in by_kind.get("Service", []):
        selects(item, item["spec"]["selector"])
        for port in item["spec"]["ports"]:
            need(port["targetPort"] in ports, f"{folder.name}: Service {item['metadata']['name']} sends to a port {port['targetPort']} that no pod has")
    for item in by_kind.get("PodDisruptionBudget", []):
        selects(item, item["spec"]["selector"])
    for item in by_kind.get("NetworkPolicy", []):
        selects(item, item["spec"]["podSelector"])
        for rule in item["spec"].get("ingress", []):
            need(all(port["port"] in ports for port in rule["ports"]), f"{folder.name}: a NetworkPolicy names a port that no pod has")
    for item in by_kind.get("HorizontalPodAutoscaler", []):
        target = item["spec"]["scaleTargetRef"]
        need((target["kind"], target["name"]) == (kind, workload["metadata"]["name"]), f"{folder.name}: the autoscaler scales {target}")
        need("replicas" not in workload["spec"], f"{folder.name}: a number of replicas, where the autoscaler has it")
    if kind == "StatefulSet":
        headless = [item["metadata"]["name"] for item in by_kind["Service"] if item["spec"].get("clusterIP") == "None"]
        need(workload["spec"]["serviceName"] in headless, f"{folder.name}: serviceName is none of {headless}")
    accounts = [item["metadata"]["name"] for item in by_kind["ServiceAccount"]]
    need(pod["serviceAccountName"] in accounts, f"{folder.name}: no service account {pod['serviceAccountName']}")
    for port, setting in (("http", "listen"), ("admin", "admin_listen")):
        need(server[setting].endswith(f":{ports[port]}"), f"{folder.name}: port {port} is {ports[port]}, server.{setting} is {server[setting]}")
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    for container in containers:
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        need(mounts <= volumes, f"{folder.name}: {container['name']} mounts {mounts - volumes}, which no volume is")
        secure = container["securityContext"]
        restricted = secure["readOnlyRootFilesystem"] and not secure["allowPrivilegeEscalation"] and secure["capabilities"]["drop"] == ["ALL"]
        need(restricted and pod["securityContext"]["runAsNonRoot"], f"{folder.name}: {container['name']} is not restricted")
    for volume in pod["volumes"]:
        if "configMap" in volume:
            need(maps.get(volume["configMap"]["name"]) == ["bunho.toml"], f"{folder.name}: no map {volume['configMap']['name']} with bunho.toml is made")
    grace = pod["terminationGracePeriodSeconds"]
    need(grace >= seconds_to_stop(server), f"{folder.name}: {grace} s to end, and a drain needs {seconds_to_stop(server)}")


def check_unit():
    text = (ROOT / "deploy/package/bunho.service").read_text()
    unit = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    server = settings(ROOT / "deploy/package/bunho.toml")["server"]
    need(int(unit["TimeoutStopSec"]) >= seconds_to_stop(server), "bunho.service: TimeoutStopSec is below what a drain needs")
    need(int(unit["LimitNOFILE"]) >= server["connections_max"] + OTHER_FILES, "bunho.service: LimitNOFILE is below connections_max and the rest")
    need(unit["RestartPreventExitStatus"] == "64 65", "bunho.service: what is refused would be started again and again")


check_shape(KUBERNETES / "embedded", "StatefulSet")
check_shape(KUBERNETES / "cluster", "Deployment")
check_unit()
if problems:
    sys.exit("\n".join(problems))
