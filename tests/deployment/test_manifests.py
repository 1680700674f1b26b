from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s" / "base"
PODS = ("deployment.yaml", "job-fetch.yaml", "job-train.yaml")


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((BASE / name).read_text(encoding="utf-8"))
    return loaded


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = manifest(name)["spec"]["template"]["spec"]
    return spec


def test_the_grace_period_outlasts_the_pre_stop_sleep_and_the_shutdown_timeout() -> None:
    server = pod("deployment.yaml")
    sleep = server["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    shutdown = int(manifest("configmap.yaml")["data"]["LORAD_SHUTDOWN_TIMEOUT"])
    assert server["terminationGracePeriodSeconds"] > sleep + shutdown


@pytest.mark.parametrize("name", PODS)
def test_no_pod_gets_service_links_that_would_pass_for_settings(name: str) -> None:
    assert pod(name)["enableServiceLinks"] is False


@pytest.mark.parametrize("name", PODS)
def test_the_home_of_the_settings_is_the_mounted_volume(name: str) -> None:
    [mount] = [mount for mount in pod(name)["containers"][0]["volumeMounts"] if mount["name"] == "data"]
    assert mount["mountPath"] == manifest("configmap.yaml")["data"]["LORAD_HOME"]


def test_the_training_job_waits_to_be_started() -> None:
    assert manifest("job-train.yaml")["spec"]["suspend"] is True


def test_no_kustomization_applies_the_example_secret() -> None:
    kustomizations = sorted((ROOT / "k8s").rglob("kustomization.yaml"))
    assert len(kustomizations) == 3
    assert all("secret" not in path.read_text(encoding="utf-8") for path in kustomizations)
