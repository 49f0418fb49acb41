"""A KServe InferenceService for a model repository that lies at a storage URI. No torch."""

from __future__ import annotations

import json
import re

STORAGE_URI = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x7e]+")
NOT_OF_A_NAME = re.compile(r"[^a-z0-9-]+")
MAX_NAME = 63

MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    # Always one: a sequence's state is in the memory of the Triton that began it.
    minReplicas: 1
    maxReplicas: 1
    model:
      modelFormat:
        name: triton
        version: "2"
      runtime: kserve-tritonserver
      protocolVersion: v2
      storageUri: {uri}
"""


def manifest(model: str, storage_uri: str) -> str:
    """The YAML that serves `model` from the repository at `storage_uri`, e.g. s3://bucket/models.

    Raises ValueError where that is no URI.
    """
    if not STORAGE_URI.fullmatch(storage_uri):
        raise ValueError(
            "the storage URI should be like s3://bucket/models or pvc://claim/models, "
            f"got {storage_uri!r}"
        )
    return MANIFEST.format(name=service_name(model), uri=json.dumps(storage_uri))


def service_name(model: str) -> str:
    """The model's name as Kubernetes takes one: a letter, then letters, digits and hyphens."""
    name = NOT_OF_A_NAME.sub("-", model)
    begun = name if name[0].isalpha() else f"model-{name}"
    return begun[:MAX_NAME].rstrip("-")
