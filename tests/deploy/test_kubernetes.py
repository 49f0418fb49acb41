"""deploy/kubernetes is one with itself, and with the server's settings, routes and images."""

from __future__ import annotations

import ipaddress
import re
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from litestar.routes import HTTPRoute

from service.app import create_app
from service.settings import Settings, SettingsError
from service.supervisor import MARGIN_S
from tests.deploy.kubernetes import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Pod,
    environment,
    of_kind,
    one,
    pod,
    pods,
    selects,
)

UNITS = {"Mi": 1 << 20, "Gi": 1 << 30, "mb": 1 << 20, "gb": 1 << 30}


def settings_of(overlay: str) -> Settings:
    """What the server's container would start with."""
    return Settings.from_env(environment(overlay, "server"))


def bytes_of(text: str) -> int:
    """3Gi, 2gb."""
    return int(text[:-2]) * UNITS[text[-2:]]


def probes(found: Pod) -> list[dict[str, Any]]:
    """Startup, readiness and liveness, as far as it has them."""
    names = ("startupProbe", "readinessProbe", "livenessProbe")
    return [found.container[name] for name in names if name in found.container]


def workload(overlay: str) -> dict[str, Any]:
    """The server's Deployment."""
    return one(overlay, "Deployment", "ntm-server")["spec"]


def surge(overlay: str) -> int:
    """Pods beyond the number wanted while new ones roll in; a quarter, by default, under KServe."""
    if overlay == "kserve":
        return -(-one(overlay, "HorizontalPodAutoscaler", "ntm-server")["spec"]["maxReplicas"] // 4)
    return workload(overlay)["strategy"]["rollingUpdate"]["maxSurge"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_is_one_that_the_server_takes(overlay: str):
    settings = settings_of(overlay)
    assert ipaddress.ip_address(settings.host).is_unspecified
    assert settings.device == ("cuda" if overlay == "gpu" else "cpu")
    assert settings.durability == "sync" and settings.store.startswith("redis://")
    assert settings.keys and not settings.serve_without_keys


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_service_puts_variables_into_a_pod_that_are_no_settings(overlay: str):
    """Kubernetes would: one for each Service, by its name, and the server refuses unknown ones."""
    named = of_kind(overlay, "Service")[0]["metadata"]["name"].upper().replace("-", "_")
    with pytest.raises(SettingsError, match="there is no such setting"):
        Settings.from_env({"NTM_PREDICTOR_SERVICE_HOST": "10.0.0.1"})
    assert named.startswith("NTM")
    for found in pods(overlay):
        assert found.spec["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_is_a_file_where_the_settings_look_for_it(overlay: str):
    settings, server = settings_of(overlay), pod(overlay, "server")
    mounts = {m["mountPath"]: m for m in server.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in server.spec["volumes"]}
    for path in map(PurePosixPath, (settings.keys, settings.redis_password_file)):
        mount = mounts[str(path.parent)]
        assert mount["readOnly"] is True
        secret = volumes[mount["name"]]["secret"]
        assert path.name in {item["path"] for item in secret["items"]}
        assert secret["defaultMode"] == 0o440
    assert server.spec["securityContext"]["fsGroup"] == server.spec["securityContext"]["runAsGroup"]
    assert not of_kind(overlay, "Secret"), "a secret in the repository is none"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_probe_of_the_server_asks_a_route_that_needs_no_key(overlay: str):
    server = pod(overlay, "server")
    scopes = {
        route.path: handler.opt["scope"]
        for route in create_app(Settings()).routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "GET" in handler.http_methods and "scope" in handler.opt
    }
    assert len(probes(server)) == 3
    for probe in probes(server):
        assert scopes[probe["httpGet"]["path"]] == "open"
        assert server.ports[probe["httpGet"]["port"]] == settings_of(overlay).port
        assert probe["timeoutSeconds"] > 2  # what /health/ready gives the engine to answer
    live = server.container["livenessProbe"]["httpGet"]["path"]
    assert live.endswith("/live"), "a pod is not restarted because its store is away"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_finds_the_pods_that_it_is_for(overlay: str):
    labels = {found.labels["app.kubernetes.io/component"]: found.labels for found in pods(overlay)}
    assert set(labels) == {"server", "router", "redis"}
    kinds = ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet")
    for made in (made for kind in kinds for made in of_kind(overlay, kind)):
        spec = made["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        if made["kind"] == "Service":
            selector = {"matchLabels": selector}
        matched = {name for name, found in labels.items() if selects(selector, found)}
        wanted = made["metadata"]["labels"].get("app.kubernetes.io/component")
        assert matched == ({wanted} if wanted else set(labels)), made["metadata"]["name"]
    for found in pods(overlay):
        for spread in found.spec.get("topologySpreadConstraints", ()):
            assert selects(spread["labelSelector"], found.labels)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_leads_to_a_port_that_its_pods_have(overlay: str):
    for service in of_kind(overlay, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (found,) = [found for found in pods(overlay) if selects(selector, found.labels)]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in found.ports
            if service["spec"].get("clusterIP") == "None":  # it leads to the pod's own ports
                assert port["port"] == found.ports[port["targetPort"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_in_settings_are_those_of_services(overlay: str):
    services = {made["metadata"]["name"]: made for made in of_kind(overlay, "Service")}
    found = re.fullmatch(r"redis://ntm@([a-z-]+):(\d+)/0", settings_of(overlay).store)
    assert found and services[found[1]]["spec"]["ports"][0]["port"] == int(found[2])
    told = environment(overlay, "router")["NTM_REPLICAS"]
    replicas = re.fullmatch(r"([a-z-]+)\.\$\(NAMESPACE\)\.svc\.cluster\.local:(\d+)", told)
    assert replicas and services[replicas[1]]["spec"]["clusterIP"] == "None"
    assert pod(overlay, "server").ports["http"] == int(replicas[2])
    redis = one(overlay, "StatefulSet", "ntm-redis")["spec"]
    assert redis["serviceName"] == found[1]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_scrapes_each_pod_once_with_a_key(overlay: str):
    (monitor,) = of_kind(overlay, "ServiceMonitor")
    matched = [
        service
        for service in of_kind(overlay, "Service")
        if selects(monitor["spec"]["selector"], service["metadata"]["labels"])
    ]
    assert [service["metadata"]["name"] for service in matched] == ["ntm-replicas"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in matched[0]["spec"]["ports"]}
    routes = {route.path for route in create_app(Settings()).routes}
    assert endpoint["path"] in routes
    assert endpoint["authorization"]["credentials"]["name"] != "ntm-secrets"
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    job = config["scrape_configs"][0]["job_name"]  # by which rules and alerts know the servers
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": job}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_autoscaler_scales_what_there_is_by_the_adapters_metric(overlay: str):
    scaler = one(overlay, "HorizontalPodAutoscaler", "ntm-server")["spec"]
    assert scaler["scaleTargetRef"]["name"] == pod(overlay, "server").owner
    (metric,) = scaler["metrics"]
    (rule,) = yaml.safe_load((KUBERNETES / "adapter-rules.yaml").read_text())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert int(metric["pods"]["target"]["averageValue"]) == 2 * settings_of(overlay).max_batch
    if overlay != "kserve":
        assert workload(overlay)["replicas"] == scaler["minReplicas"] == 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_router_has_room_for_all_pods_and_patience_for_all_answers(overlay: str):
    config = one(overlay, "ConfigMap", "ntm-router")["data"]["haproxy.cfg"]
    scaler = one(overlay, "HorizontalPodAutoscaler", "ntm-server")["spec"]
    found = re.search(r"server-template pod (\d+) ", config)
    assert found and int(found[1]) >= scaler["maxReplicas"] + surge(overlay)
    patience = re.search(r"timeout server (\d+)s", config)
    assert patience and int(patience[1]) > settings_of(overlay).request_timeout_s
    for probe in (p["httpGet"] for p in probes(pod(overlay, "router")) if "httpGet" in p):
        assert f"monitor-uri {probe['path']}\n" in config


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_time_to_drain_before_it_is_killed(overlay: str):
    server = pod(overlay, "server")
    waits = server.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drains = 2 * (settings_of(overlay).drain_s + MARGIN_S)  # the fronts, then the engine
    assert server.spec["terminationGracePeriodSeconds"] >= waits + drains
    # The router hears of it by DNS (a second, and CoreDNS' five) or by two checks.
    assert waits > 1 + 5


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_limits_leave_room_for_what_the_settings_let_in(overlay: str):
    memory = bytes_of(pod(overlay, "server").container["resources"]["limits"]["memory"])
    assert memory >= 2 * settings_of(overlay).host_state_bytes
    config = one(overlay, "ConfigMap", "ntm-redis")["data"]["redis.conf"]
    found = re.search(r"\nmaxmemory (\S+)\n", config)
    redis = pod(overlay, "redis").container["resources"]
    assert found and 2 * bytes_of(found[1]) <= bytes_of(redis["limits"]["memory"])


def test_the_gpu_overlay_asks_for_a_gpu_and_bears_its_taint():
    server = pod("gpu", "server")
    assert server.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert server.spec["tolerations"] == [taint]
    assert surge("gpu") == 0
    assert "nvidia.com/gpu" not in str(pod("cpu", "server"))


def test_images_are_targets_of_the_dockerfile_and_run_as_its_user():
    dockerfile = (ROOT / "Dockerfile").read_text()
    for overlay in OVERLAYS:
        server = pod(overlay, "server")
        name, target = server.container["image"].split(":")
        assert name == "ntm-serve"
        assert re.search(rf"^FROM \S+ AS {target}$", dockerfile, re.MULTILINE), target
        assert str(server.spec["securityContext"]["runAsUser"]) in dockerfile
        assert server.container["args"] == ["serve"]


def test_kserve_speaks_v2_to_the_runtime_that_is_there():
    (service,) = of_kind("kserve", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    runtime = one("kserve", "ServingRuntime", model["runtime"])["spec"]
    assert model["protocolVersion"] in runtime["protocolVersions"]
    assert model["modelFormat"] in runtime["supportedModelFormats"]
    assert pod("kserve", "server").container["name"] == "kserve-container"
    for probe in probes(pod("kserve", "server")):
        assert probe["httpGet"]["path"].startswith("/v2/health/")


def test_kserves_pod_is_the_deployments_but_for_its_name_and_probes():
    def kept(overlay: str) -> tuple[Any, Any]:
        server = pod(overlay, "server")
        differs = ("name", "startupProbe", "readinessProbe", "livenessProbe")
        container = {key: value for key, value in server.container.items() if key not in differs}
        container["ports"] = [{**port, "protocol": "TCP"} for port in container["ports"]]
        others = ("containers", "topologySpreadConstraints")
        return container, {key: value for key, value in server.spec.items() if key not in others}

    assert kept("kserve") == kept("cpu")
