"""Triton's Python back end with a state table by hand: `model.py` of its model repository.

The sequence batcher hands over the requests of many sequences together, each with its id (CORRID)
and whether it is the first (START).
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb
from state_table import StateTable


class TritonPythonModel:
    """One instance; every sequence is in its table."""

    def initialize(self, args: dict[str, str]) -> None:
        """Once, before the first request."""
        version = Path(args["model_repository"]) / args["model_version"]
        self._table = StateTable(version)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One batch."""
        x, sessions = [], []
        for request in requests:
            tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            session = int(tensors["CORRID"].flat[0])
            if tensors["START"].flat[0]:
                self._table.begin(session)
            sessions.append(session)
            x.append(tensors["x"])
        y = self._table.run(sessions, np.stack(x))
        return [pb.InferenceResponse([pb.Tensor("y", rows)]) for rows in y]
