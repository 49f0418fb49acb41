"""Drives a server with KServe's own client, in an environment that has it, and prints what it got.

python with_kserve.py http://127.0.0.1:8000
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import (  # pyright: ignore[reportMissingImports]
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)


def request(value: float, binary: bool, **parameters: Any) -> Any:
    tensor = InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[value]], np.float32), binary_data=binary)
    if binary:
        parameters["binary_data_output"] = True
    return InferRequest("accumulator", [tensor], parameters=parameters)


async def drive(url: str) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
    totals: dict[str, list[float]] = {}
    for name, binary in (("json", False), ("binary", True)):
        totals[name] = []
        for at, value in enumerate((4.0, 6.0, 9.0)):
            flags = {"sequence_start": at == 0, "sequence_end": at == 2}
            said = request(value, binary, sequence_id=f"kserve-{name}", **flags)
            answer = await client.infer(url, said, model_name="accumulator")
            totals[name].append(float(answer.outputs[0].as_numpy()[0][0]))
    try:
        unknown = request(1.0, False, sequence_id="kserve-unknown")
        await client.infer(url, unknown, model_name="accumulator")
        refused = ""
    except httpx.HTTPStatusError as error:
        refused = str(error)
    found = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "accumulator"),
        "totals": totals,
        "refused": refused,
    }
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(sys.argv[1]))))
