"""The tables of a run directory."""

import pyarrow as pa

from job.sampler import FIELDS

# Durations are milliseconds of the monotonic clock; a field that could not be measured is null.
# cpu_ms, run_delay_ms and throttled_ms are what the worker process used, waited for a CPU and was
# held back by its quota since it emitted the image before: with images overlapped inside one
# process no finer account exists, and over a run they add up to the process's own counters.
TIMING_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("kind", pa.string()),
        ("host", pa.string()),
        ("executor_id", pa.string()),
        ("worker_pid", pa.int32()),
        ("stage_id", pa.int32()),
        ("task_id", pa.int64()),
        ("attempt", pa.int32()),
        ("partition", pa.int32()),
        ("started_at", pa.float64()),
        ("fetch_ms", pa.float64()),
        ("decode_ms", pa.float64()),
        ("preprocess_ms", pa.float64()),
        ("wait_ms", pa.float64()),
        ("infer_ms", pa.float64()),
        ("postprocess_ms", pa.float64()),
        ("emit_ms", pa.float64()),
        ("total_ms", pa.float64()),
        ("cpu_ms", pa.float64()),
        ("run_delay_ms", pa.float64()),
        ("throttled_ms", pa.float64()),
        ("bytes_in", pa.int64()),
        ("pixels", pa.int64()),
        ("detections", pa.int32()),
        ("warmup", pa.bool_()),
    ]
)

_SEGMENTATION = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
_OBJECT_FIELDS: list[tuple[str, pa.DataType]] = [
    ("category_id", pa.int32()),
    ("score", pa.float32()),
    ("bbox", pa.list_(pa.float32())),
    ("area", pa.float64()),
    ("segmentation", _SEGMENTATION),
]
DETECTION_SCHEMA = pa.schema([("image_id", pa.string()), *_OBJECT_FIELDS])

HOST_SCHEMA = pa.schema(
    [
        pa.field(
            name, pa.string() if kind is str else pa.float64(), metadata={"description": meaning}
        )
        for name, (kind, meaning) in FIELDS.items()
    ]
)
