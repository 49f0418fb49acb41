"""The shape of resources that no core schema knows: the Prometheus operator's and KServe's.

Written by hand after the operators' published APIs (monitoring.coreos.com/v1 and KServe's v1alpha1
and v1beta1), with the fields that deploy/kubernetes uses and no other, so a misspelt or misplaced
one is found. It is not their schema: it does not know what else they allow, nor what their
webhooks ask. What of KServe's is a pod is checked as one, against the core schema.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Shape(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Of which every field must be known, and those without a default there."""


class Metadata(Shape):
    """metadata"""

    name: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}


class Selector(Shape):
    """A LabelSelector."""

    match_labels: dict[str, str]


class Credentials(Shape):
    """A SecretKeySelector."""

    name: str
    key: str


class Authorization(Shape):
    """How a scrape shows who it is."""

    type: Literal["Bearer"]
    credentials: Credentials


class Relabeling(Shape):
    """A label that a target gets."""

    target_label: str
    replacement: str


class Endpoint(Shape):
    """What is scraped. port: a Service's, by name."""

    port: str
    path: str
    interval: str
    scrape_timeout: str
    authorization: Authorization
    relabelings: list[Relabeling]


class Monitor(Shape):
    """spec of a ServiceMonitor"""

    selector: Selector
    endpoints: list[Endpoint]


class ServiceMonitor(Shape):
    """monitoring.coreos.com/v1"""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: Monitor


class Format(Shape):
    """A model's format."""

    name: str
    version: str


class Runtime(Shape):
    """spec of a ServingRuntime"""

    supported_model_formats: list[Format]
    protocol_versions: list[Literal["v1", "v2", "grpc-v2"]]
    containers: list[dict[str, Any]]
    volumes: list[dict[str, Any]]


class ServingRuntime(Shape):
    """serving.kserve.io/v1alpha1"""

    api_version: Literal["serving.kserve.io/v1alpha1"]
    kind: Literal["ServingRuntime"]
    metadata: Metadata
    spec: Runtime


class Model(Shape):
    """model of a predictor"""

    model_format: Format
    runtime: str
    protocol_version: Literal["v1", "v2", "grpc-v2"]


class Predictor(Shape):
    """predictor: fields of its own, and those of a PodSpec beside them"""

    min_replicas: int
    labels: dict[str, str]
    model: Model
    automount_service_account_token: bool
    enable_service_links: bool
    termination_grace_period_seconds: int
    security_context: dict[str, Any]
    topology_spread_constraints: list[dict[str, Any]]


class Inference(Shape):
    """spec of an InferenceService"""

    predictor: Predictor


class InferenceService(Shape):
    """serving.kserve.io/v1beta1"""

    api_version: Literal["serving.kserve.io/v1beta1"]
    kind: Literal["InferenceService"]
    metadata: Metadata
    spec: Inference


SHAPES: dict[str, type[Shape]] = {
    "ServiceMonitor": ServiceMonitor,
    "ServingRuntime": ServingRuntime,
    "InferenceService": InferenceService,
}
