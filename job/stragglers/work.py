"""Timing rows as arrays: what each image cost, stage by stage."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STAGES = ("fetch", "decode", "preprocess", "infer", "postprocess", "emit")
"""The stages that are work, in order. Waiting for a free request (``wait_ms``) is not work."""


def numbers(table: pa.Table, name: str) -> Floats:
    """Column ``name`` as float64 [rows]; NaN where it is null or the table lacks the column."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    values: Floats = table[name].cast(pa.float64()).to_numpy()
    return values


def ended_at(table: pa.Table) -> Floats:
    """Epoch seconds [rows] at which each image was emitted; NaN where that is not known."""
    return numbers(table, "started_at") + numbers(table, "total_ms") / 1e3


def stage_ms(table: pa.Table) -> Floats:
    """Milliseconds [rows, stages] in the order of ``STAGES``; NaN where not measured."""
    return np.column_stack([numbers(table, f"{stage}_ms") for stage in STAGES])


def work_ms(table: pa.Table) -> Floats:
    """What each image cost: the sum of its measured stages in ms [rows].

    ``total_ms`` where no stage was measured, NaN where that is null too.
    """
    stages = stage_ms(table)
    measured = ~np.isnan(stages).all(axis=1)
    return np.where(measured, np.nansum(stages, axis=1), numbers(table, "total_ms"))


def image_rows(table: pa.Table) -> pa.Table:
    """The rows of real images: calibration rows are no results."""
    if "kind" not in table.column_names:
        return table
    return table.filter(pc.fill_null(pc.equal(table["kind"], "image"), True))


def warm(table: pa.Table) -> npt.NDArray[np.bool_]:
    """True [rows] for every row that is no warm-up."""
    return ~(numbers(table, "warmup") > 0)


def median(values: Floats) -> float:
    """Median of the measured ``values`` [n]; NaN where there are none."""
    measured = values[~np.isnan(values)]
    return float(np.median(measured)) if len(measured) else float("nan")


def medians(values: Floats, keys: Ints, count: int) -> Floats:
    """Median [count] of the measured ``values`` [n] of each of ``keys`` [n], 0 to ``count``.

    NaN where there are none.
    """
    known = ~np.isnan(values)
    values, keys = values[known], keys[known]
    ordered = values[np.lexsort((values, keys))]
    sizes = np.bincount(keys, minlength=count)
    firsts = np.cumsum(sizes) - sizes
    found = np.full(count, np.nan)
    some = sizes > 0
    low, high = firsts + (sizes - 1) // 2, firsts + sizes // 2
    found[some] = (ordered[low[some]] + ordered[high[some]]) / 2
    return found


def groups(table: pa.Table, *names: str) -> dict[tuple[str, ...], npt.NDArray[np.int64]]:
    """Row indices by the values of the columns ``names``, sorted by value; a null reads as "?"."""
    if table.num_rows == 0:
        return {}
    columns = [table[name].cast(pa.string()).fill_null("?").combine_chunks() for name in names]
    index = pa.array(np.arange(table.num_rows))
    grouped = pa.table([*columns, index], names=[*names, "index"]).group_by(list(names))
    rows = grouped.aggregate([("index", "list")]).to_pydict()
    return dict(
        sorted(
            (tuple(key), np.asarray(indices, dtype=np.int64))
            for *key, indices in zip(
                *(rows[name] for name in names), rows["index_list"], strict=True
            )
        )
    )
