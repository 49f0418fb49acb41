"""Every resource of every overlay is one that Kubernetes, its operators and its admission take."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import msgspec
import pytest

from tests.deploy.crds import SHAPES
from tests.deploy.kubernetes import NAMESPACE, OVERLAYS, of_kind, pods, rendered

# The oldest that knows preStop.sleep without a feature gate, and the newest that is known here.
VERSIONS = ("1.30", kubernetes_validate.latest_version())


def check(resource: dict[str, Any], version: str) -> None:
    """Raises where the schema does not take it, or does not know a field of it."""
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_core_resource_fits_its_schema_strictly(overlay: str, version: str):
    for resource in rendered(overlay):
        if resource["kind"] not in SHAPES:
            check(resource, version)


def test_the_schemas_find_a_field_that_is_misspelt_and_a_value_of_another_type():
    (made,) = [made for made in of_kind("cpu", "Deployment") if "server" in str(made["metadata"])]
    for field, value in (("replica", 3), ("replicas", "three")):
        broken = copy.deepcopy(made)
        broken["spec"][field] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            check(broken, VERSIONS[-1])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_operators_resource_has_the_shape_that_is_written_down(overlay: str):
    found = [resource for resource in rendered(overlay) if resource["kind"] in SHAPES]
    assert found
    for resource in found:
        msgspec.convert(resource, SHAPES[resource["kind"]])


def test_the_shapes_find_a_field_that_is_misspelt_or_misplaced():
    (monitor,) = of_kind("cpu", "ServiceMonitor")
    for broken in (
        monitor | {"spec": monitor["spec"] | {"endpoint": []}},
        monitor | {"spec": {"endpoints": monitor["spec"]["endpoints"]}},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(broken, SHAPES["ServiceMonitor"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_one_also_where_kserve_puts_it_together(overlay: str):
    assert len(pods(overlay)) == 3
    for pod in pods(overlay):
        metadata = {"name": pod.owner, "labels": pod.labels}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec}
        check(made, VERSIONS[-1])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_lies_in_the_namespace_and_has_a_name_of_its_own(overlay: str):
    names = [(made["kind"], made["metadata"]["name"]) for made in rendered(overlay)]
    assert len(set(names)) == len(names)
    for made in rendered(overlay):
        where = made["metadata"].get("namespace", made["metadata"]["name"])
        assert where == NAMESPACE, made["metadata"]
        assert made["metadata"]["labels"]["app.kubernetes.io/name"] == "ntm-serve"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_meets_the_restricted_standard(overlay: str):
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(overlay):
        mine = pod.spec["securityContext"]
        assert mine["runAsNonRoot"] is True and mine["runAsUser"] > 0 and mine["runAsGroup"] > 0
        assert mine["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPath" in volume for volume in pod.spec["volumes"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_says_what_it_needs_and_where_it_ends(overlay: str):
    for pod in pods(overlay):
        resources = pod.container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"])
        assert "memory" in resources["limits"]
        assert ":" in pod.container["image"], "an image without a tag is another one each day"
