from __future__ import annotations

import re

import pytest
import yaml

from export.kserve import manifest, service_name

# What Kubernetes and KServe take for the name of an InferenceService.
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def test_the_manifest_is_an_inference_service_of_the_triton_runtime() -> None:
    assert yaml.safe_load(manifest("copy", "s3://bucket/models")) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "copy"},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "model": {
                    "modelFormat": {"name": "triton", "version": "2"},
                    "runtime": "kserve-tritonserver",
                    "protocolVersion": "v2",
                    "storageUri": "s3://bucket/models",
                },
            }
        },
    }


@pytest.mark.parametrize(
    "uri", ["pvc://claim/models", "gs://b/a#b:c", "https://h/x?y='{z}'", 's3://"']
)
def test_a_storage_uri_reads_back_as_it_was_given(uri: str) -> None:
    read = yaml.safe_load(manifest("copy", uri))
    assert read["spec"]["predictor"]["model"]["storageUri"] == uri


@pytest.mark.parametrize("uri", ["", "models", "/srv/models", "s3://", "s3://a b", "s3://a\nb: c"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="should be like s3://bucket/models"):
        manifest("copy", uri)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("copy", "copy"),
        ("repeat-copy", "repeat-copy"),
        ("copy_v1.2", "copy-v1-2"),
        ("9bits", "model-9bits"),
        ("copy._-", "copy"),
        ("7" * 64, "model-" + "7" * 57),
        ("0" + "_" * 63, "model-0"),
        ("c" * 64, "c" * 63),
    ],
)
def test_a_model_s_name_becomes_one_that_kubernetes_takes(model: str, name: str) -> None:
    assert service_name(model) == name
    assert SERVICE_NAME.fullmatch(name)
