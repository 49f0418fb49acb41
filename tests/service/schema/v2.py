"""The Open Inference Protocol V2 as an OpenAPI document, for one model: to ask by, not to publish.

The server's own document leaves /v2 out, since the protocol has a specification of its own. Here
stands what it says of the routes that we serve, and of what an error looks like.
"""

from __future__ import annotations

from typing import Any

from tests.service.schema.narrowing import MODEL, SPARE

Document = dict[str, Any]

ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
STATUSES = (400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 503, 504)
NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"}
TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
    "required": ["name", "shape", "datatype"],
}
ROW = {  # one that the model takes
    "type": "object",
    "properties": {
        "name": {"const": "x"},
        "shape": {"const": [1, 7]},
        "datatype": {"const": "FP32"},
        "data": {
            "type": "array",
            "items": {"type": "number", "minimum": -1, "maximum": 1},
            "minItems": 7,
            "maxItems": 7,
        },
    },
    "required": ["name", "shape", "datatype", "data"],
    "additionalProperties": False,
}
OUTPUT = {"type": "object", "properties": {"name": {"const": "y"}}, "required": ["name"]}
PARAMETERS = {
    "type": "object",
    "properties": {
        "sequence_id": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "sequence_start": {"type": "boolean"},
        "sequence_end": {"type": "boolean"},
        "binary_data_output": {"type": "boolean"},
        "timeout": {"type": "integer"},
    },
}
INFER = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": PARAMETERS,
        "inputs": {
            "anyOf": [
                {"type": "array", "items": ROW, "minItems": 1, "maxItems": 1},
                {"type": "array", "items": TENSOR, "minItems": 1},
            ]
        },
        "outputs": {"type": "array", "items": OUTPUT},
    },
    "required": ["inputs"],
}
REPOSITORY = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}, "parameters": {"type": "object"}},
}
INFERRED = {
    "type": "object",
    "properties": {"model_name": NAME, "outputs": {"type": "array", "items": TENSOR}},
    "required": ["model_name", "outputs"],
}


def document() -> Document:
    """The whole document."""
    paths: Document = {
        "/v2": _get("server_metadata", "name", "version", "extensions"),
        "/v2/health/live": _get("server_live", "live"),
        "/v2/health/ready": _get("server_ready", "ready"),
        "/v2/models/stats": _get("all_statistics", "model_stats"),
        "/v2/repository/index": _post("index", REPOSITORY, {"type": "array"}),
    }
    for act in ("load", "unload"):
        path = f"/v2/repository/models/{{model}}/{act}"
        paths[path] = _of_model(_post(act, REPOSITORY, {"type": "object"}), [SPARE])
    for tail, name in (("", "one"), ("/versions/{version}", "version")):
        path, versions = f"/v2/models/{{model}}{tail}", ["1", "2"] if tail else None
        routes: Document = {
            "": _get(f"metadata_{name}", "name", "versions", "inputs", "outputs"),
            "/ready": _get(f"ready_{name}", "ready"),
            "/config": _get(f"config_{name}", "name", "input", "output"),
            "/stats": _get(f"stats_{name}", "model_stats"),
            "/infer": _post(f"infer_{name}", INFER, INFERRED, required=True),
        }
        for end, route in routes.items():
            paths[path + end] = _of_model(route, [MODEL], versions)
    return {"openapi": "3.1.0", "info": {"title": "V2", "version": "2"}, "paths": paths}


def _get(name: str, *members: str) -> Document:
    answer = {"type": "object", "required": list(members)}
    return {"get": {"operationId": name, "responses": _responses(answer)}}


def _post(name: str, body: Document, answer: Document, required: bool = False) -> Document:
    content = {"application/json": {"schema": body}}
    told = {"requestBody": {"content": content, "required": required}}
    return {"post": {"operationId": name, "responses": _responses(answer)} | told}


def _responses(answer: Document) -> Document:
    told = {"200": _json("Done", answer)}
    return told | {str(status): _json("Refused", ERROR) for status in STATUSES}


def _json(description: str, schema: Document) -> Document:
    binary: Document = {"application/octet-stream": {}}  # of an inference that asks for it
    content = {"application/json": {"schema": schema}} | (binary if schema is INFERRED else {})
    return {"description": description, "content": content}


def _of_model(route: Document, models: list[str], versions: list[str] | None = None) -> Document:
    """The route with what its path names: mostly what is there."""
    named = {"model": models, "version": versions}
    for operation in route.values():
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _mostly(values)}
            for name, values in named.items()
            if values is not None
        ]
    return route


def _mostly(values: list[str]) -> Document:
    return {"anyOf": [{"enum": values}, {"enum": values}, NAME]}
