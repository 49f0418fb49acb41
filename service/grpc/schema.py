"""The messages and methods of `inference.GRPCInferenceService`.

Names, numbers and kinds of the fields are the public protocol's: the Open Inference Protocol, with
Triton's stream, configuration, statistics and repository. classes.py makes classes of this
table when they are first needed, so no generated code ties the server to one release of protobuf.

A field reads `[oneof NAME: ][repeated |map ]KIND NAME = NUMBER`; the keys of maps are strings.
"""

from __future__ import annotations

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

DATA_TYPES = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "STRING", "BF16",
)  # fmt: skip

_NAME_VERSION = ("string name = 1", "string version = 2")
_TENSOR = ("string name = 1", "string datatype = 2", "repeated int64 shape = 3")
_REPOSITORY_MODEL = (
    "string repository_name = 1",
    "string model_name = 2",
    "map ModelRepositoryParameter parameters = 3",
)

# A message comes after the one it lies in.
MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live = 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready = 1",),
    "ModelReadyRequest": _NAME_VERSION,
    "ModelReadyResponse": ("bool ready = 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (*_NAME_VERSION, "repeated string extensions = 3"),
    "ModelMetadataRequest": _NAME_VERSION,
    "ModelMetadataResponse": (
        "string name = 1",
        "repeated string versions = 2",
        "string platform = 3",
        "repeated ModelMetadataResponse.TensorMetadata inputs = 4",
        "repeated ModelMetadataResponse.TensorMetadata outputs = 5",
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": (
        "oneof parameter_choice: bool bool_param = 1",
        "oneof parameter_choice: int64 int64_param = 2",
        "oneof parameter_choice: string string_param = 3",
        "oneof parameter_choice: double double_param = 4",
        "oneof parameter_choice: uint64 uint64_param = 5",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents = 1",
        "repeated int32 int_contents = 2",
        "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4",
        "repeated uint64 uint64_contents = 5",
        "repeated float fp32_contents = 6",
        "repeated double fp64_contents = 7",
        "repeated bytes bytes_contents = 8",
    ),
    "ModelInferRequest": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        "map InferParameter parameters = 4",
        "repeated ModelInferRequest.InferInputTensor inputs = 5",
        "repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ),
    "ModelInferRequest.InferInputTensor": (
        *_TENSOR,
        "map InferParameter parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "ModelInferRequest.InferRequestedOutputTensor": (
        "string name = 1",
        "map InferParameter parameters = 2",
    ),
    "ModelInferResponse": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        "map InferParameter parameters = 4",
        "repeated ModelInferResponse.InferOutputTensor outputs = 5",
        "repeated bytes raw_output_contents = 6",
    ),
    "ModelInferResponse.InferOutputTensor": (
        *_TENSOR,
        "map InferParameter parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "ModelStreamInferResponse": (
        "string error_message = 1",
        "ModelInferResponse infer_response = 2",
    ),
    "ModelConfigRequest": _NAME_VERSION,
    "ModelConfigResponse": ("ModelConfig config = 1",),
    "ModelConfig": (
        "string name = 1",
        "string platform = 2",
        "string backend = 17",
        "ModelVersionPolicy version_policy = 3",
        "int32 max_batch_size = 4",
        "repeated ModelInput input = 5",
        "repeated ModelOutput output = 6",
        "oneof scheduling_choice: ModelSequenceBatching sequence_batching = 13",
    ),
    "ModelVersionPolicy": ("oneof policy_choice: ModelVersionPolicy.All all = 2",),
    "ModelVersionPolicy.All": (),
    "ModelInput": ("string name = 1", "DataType data_type = 2", "repeated int64 dims = 4"),
    "ModelOutput": ("string name = 1", "DataType data_type = 2", "repeated int64 dims = 3"),
    "ModelSequenceBatching": (
        "uint64 max_sequence_idle_microseconds = 1",
        "repeated ModelSequenceBatching.State state = 5",
    ),
    "ModelSequenceBatching.State": (
        "string input_name = 1",
        "string output_name = 2",
        "DataType data_type = 3",
        "repeated int64 dims = 4",
    ),
    "ModelStatisticsRequest": _NAME_VERSION,
    "ModelStatisticsResponse": ("repeated ModelStatistics model_stats = 1",),
    "ModelStatistics": (
        *_NAME_VERSION,
        "uint64 last_inference = 3",
        "uint64 inference_count = 4",
        "uint64 execution_count = 5",
        "InferStatistics inference_stats = 6",
        "repeated InferBatchStatistics batch_stats = 7",
    ),
    "InferStatistics": (
        "StatisticDuration success = 1",
        "StatisticDuration fail = 2",
        "StatisticDuration queue = 3",
        "StatisticDuration compute_input = 4",
        "StatisticDuration compute_infer = 5",
        "StatisticDuration compute_output = 6",
        "StatisticDuration cache_hit = 7",
        "StatisticDuration cache_miss = 8",
    ),
    "InferBatchStatistics": (
        "uint64 batch_size = 1",
        "StatisticDuration compute_input = 2",
        "StatisticDuration compute_infer = 3",
        "StatisticDuration compute_output = 4",
    ),
    "StatisticDuration": ("uint64 count = 1", "uint64 ns = 2"),
    "ModelRepositoryParameter": (
        "oneof parameter_choice: bool bool_param = 1",
        "oneof parameter_choice: int64 int64_param = 2",
        "oneof parameter_choice: string string_param = 3",
        "oneof parameter_choice: bytes bytes_param = 4",
    ),
    "RepositoryIndexRequest": ("string repository_name = 1", "bool ready = 2"),
    "RepositoryIndexResponse": ("repeated RepositoryIndexResponse.ModelIndex models = 1",),
    "RepositoryIndexResponse.ModelIndex": (
        *_NAME_VERSION,
        "string state = 3",
        "string reason = 4",
    ),
    "RepositoryModelLoadRequest": _REPOSITORY_MODEL,
    "RepositoryModelLoadResponse": (),
    "RepositoryModelUnloadRequest": _REPOSITORY_MODEL,
    "RepositoryModelUnloadResponse": (),
}
