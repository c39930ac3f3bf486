"""The contents of a record's page, as named facts and small tables of text."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from harness.records import Record, units
from harness.records.groups import overrides
from harness.records.machine import machine
from harness.report.cells import DASH, size
from harness.report.columns import task_title
from harness.report.text import to_json
from harness.report.values import cost


class Fact(NamedTuple):
    """A named value with its unit, and a remark: how it came about, or why it is missing."""

    name: str
    value: str
    remark: str | None = None


class Grid(NamedTuple):
    """A small table of text; the first column names the row."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def accuracy(record: Record, headlines: bool = False) -> Grid:
    """Return the metrics of every task, rounded as papers do and as they are stored.

    Args:
        record: The record.
        headlines: Whether only the metric of each task that papers print is wanted.
    """
    rows = []
    for task, metrics in record.metrics.items():
        for name, metric in list(metrics.items())[: 1 if headlines else None]:
            unit = units.METRICS[metric.unit]
            arrow = "↑" if metric.higher_is_better else "↓"
            shown = stored = DASH
            if metric.value is not None:
                shown = f"{unit.text(metric.value)} {unit.symbol}".rstrip()
                stored = f"{metric.value!r} {metric.unit}"
            count, reason = _count(metric.n), metric.reason or ""
            rows.append([task_title(task), name, f"{shown} {arrow}", stored, count, metric.protocol, reason])
    return Grid("Accuracy", ["Task", "Metric", "Value", "Unrounded", "Over", "Convention", "Remark"], rows)


def gain(record: Record) -> list[Fact]:
    """Return the multi-task gain and its reference; nothing where it was never asked for."""
    if record.delta_m is None:
        return []
    value, reference = record.delta_m.value, record.delta_m.reference
    remark = record.delta_m.reason or (f"against {reference}" if reference else None)
    return [
        Fact("Δm, mean relative gain over single-task networks", DASH if value is None else f"{value:+.4f} %", remark)
    ]


def costs(record: Record) -> list[Fact]:
    """Return the costs, with units; one that is missing has its reason."""
    # Work: executed MACs first, then what they compare with.
    macs, storage, found = record.macs, record.storage, []
    if macs is None:
        found.append(_absent("Executed MACs", record, "macs"))
    else:
        work = {
            "Executed MACs per image": (macs.executed.mean, "what the kernels multiply, batch size 1"),
            "FLOPs per image": (2 * macs.executed.mean, "2 × executed MACs"),
            "Dense MACs per image": (macs.dense.mean, "with nothing skipped"),
            "Ideal MACs per image": (macs.ideal.mean if macs.ideal else None, "non-zero multiplies alone"),
            "Simulated MACs per image": (
                macs.simulated.mean if macs.simulated else None,
                "by output thresholds; not executable",
            ),
        }
        found += [Fact(name, f"{of / 1e9:.4f} G", remark) for name, (of, remark) in work.items() if of is not None]
        if macs.unseen:
            unsupported = ", ".join(f"{name} ({calls})" for name, calls in macs.unseen.items())
            found.append(Fact("Operators without a rule", unsupported))
        outputs = _count(macs.elementwise_outputs)
        found.append(Fact("Element-wise outputs per image", outputs, "kept apart from MACs"))

    # Size: in memory as parameters, on disk as bytes.
    if record.parameters:
        found.append(Fact("Parameters", _count(record.parameters.total)))
        if record.parameters.trainable not in (None, record.parameters.total):
            found.append(Fact("Parameters that the recipe trains", _count(record.parameters.trainable)))
    else:
        found.append(_absent("Parameters", record, "parameters"))
    if storage is None:
        found.append(_absent("Storage", record, "storage"))
    else:
        sizes = {"Storage": storage.artifact_bytes, "Storage, zipped": storage.zipped_bytes}
        known = {name: value for name, value in sizes.items() if value is not None}
        found += [Fact(name, f"{value / 1e6:.3f} MB", f"{_count(value)} bytes") for name, value in known.items()]
    return [*found, *_at_work(record)]


def _at_work(record: Record) -> Iterator[Fact]:
    """Yield the costs of a model at work, and the peak rates of the machine."""
    memory, energy, peak_rates = record.memory, record.energy, record.ceilings
    if memory is None:
        yield _absent("Memory", record, "memory")
    else:
        peaks = {
            "GPU memory, peak, inference": ("inference", cost(record, "gpu_peak_bytes")),
            "GPU memory, peak, training step": ("training_step", cost(record, "gpu_training_peak_bytes")),
            "Resident set, peak": ("resident", cost(record, "resident_peak_bytes")),
        }
        for title, (name, peak) in peaks.items():
            if peak is None:
                yield Fact(title, DASH, memory.reasons.get(name, "not measured"))
            else:
                yield Fact(title, f"{peak / 1e6:.1f} MB", f"batch size {memory.batch_size}")
    if energy is None:
        yield _absent("Energy", record, "energy")
    elif energy.joules_per_image is None:
        yield Fact("Energy", DASH, energy.reason)
    else:
        remark = f"{energy.source}, batch size {energy.batch_size}, {energy.images} images"
        yield Fact("Energy per image", f"{energy.joules_per_image:.4f} J", remark)
    if peak_rates is None:
        yield _absent("Machine's ceilings", record, "ceilings")
    else:
        how = f"{peak_rates.device}, {peak_rates.precision}"
        product = f"{how}, best square product, side {peak_rates.matrix_side}"
        yield Fact("Machine's matrix rate", f"{peak_rates.macs_per_second / 1e9:.1f} GMAC/s", product)
        yield Fact("Machine's copy bandwidth", f"{peak_rates.copy_bytes_per_second / 1e9:.1f} GB/s", how)


def latency(record: Record) -> Grid:
    """Return the latencies, a row per batch size."""
    heads = ["Batch", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "IQR ms", "Images/s", "× reference", "Floors", "How"]
    rows = []
    for one in record.latency:
        times = [f"{value:.3f}" for value in (one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms, one.iqr_ms)]
        paired = f"{one.paired.ratio:.3f} [{one.paired.low:.3f}, {one.paired.high:.3f}]" if one.paired else DASH
        bound = f"{one.floor.multiple:.2f}" if one.floor else DASH
        how = [one.precision, f"{len(one.samples_ms)} samples", one.sampling.clock]
        how += [f"compiled {one.compiled}"] if one.compiled else []
        how += ["CUDA graph"] if one.cuda_graph else []
        how += ["channels last"] if one.channels_last else []
        how += [one.served] if one.served else []
        how += [f"disturbed: {reason}" for reason in one.disturbed]
        rows.append([str(one.batch_size), *times, f"{one.images_per_second:.2f}", paired, bound, ", ".join(how)])
    return Grid(f"Latency on {machine(record)}", heads, rows)


def breakdowns(record: Record) -> list[Grid]:
    """Return the costs by part of the model and by task, and the libraries' own counts of the MACs."""
    macs, storage = record.macs, record.storage
    by_part = _joined(
        "By part",
        {
            "Part": {},
            "Executed MACs, M": _mega(macs.per_part if macs else {}),
            "Parameters": _counts(record.parameters.per_part if record.parameters else {}),
            "Bytes": _counts(storage.per_part if storage else {}),
        },
    )
    by_task = _joined(
        "By task",
        {
            "Task": {},
            "Executed MACs when asked for alone, M": _mega(macs.per_task if macs else {}),
            "Bytes it adds to the others": _counts(storage.marginal_bytes if storage else {}),
            "Weights of its own, %": {task: f"{100 * own.weight_density:.2f}" for task, own in record.sparsity.items()},
            "Rows computed for it, %": {task: f"{100 * own.active_rows:.2f}" for task, own in record.sparsity.items()},
        },
    )
    counters = Grid(
        "MACs as libraries count them",
        ["Counter", "GMACs", "Convention", "Remark"],
        [
            [
                f"{one.counter} {one.version}",
                DASH if one.macs is None else f"{one.macs / 1e9:.4f}",
                one.convention,
                one.reason or ", ".join(f"no rule for {name} ({calls})" for name, calls in one.unseen.items()),
            ]
            for one in (macs.counters if macs else [])
        ],
    )
    return [grid for grid in (by_part, by_task, counters) if grid.rows]


def _joined(title: str, columns: Mapping[str, Mapping[str, str]]) -> Grid:
    """Return columns by name as a table; the first one is the names."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    filled = [head for head, column in columns.items() if column]
    rows = [[name, *(columns[head].get(name, DASH) for head in filled)] for name in names]
    return Grid(title, [next(iter(columns)), *filled], rows)


def origin(record: Record) -> list[Fact]:
    """Return the source of a reported record; nothing for a measured one."""
    reported = record.reported
    if reported is None:
        return []
    printed = {
        "Δm": (reported.delta_m_percent, "%", "against the source's own reference"),
        "GFLOPs": (reported.gflops, "G", "MACs or FLOPs, of one task or all, as the source counts"),
        "Parameters": (reported.parameters_m, "M", None),
        "Latency": (reported.latency_ms, "ms", "on the source's machine"),
    }
    return [
        Fact("Source", reported.source),
        Fact("Place in it", reported.locator),
        Fact("Printed by", "the method's authors" if reported.tier == "own" else "others, who quote it"),
        Fact("Method", record.method.name, record.method.paper),
        Fact("Backbone", record.method.backbone or DASH),
        Fact("Data set", record.dataset.name),
        Fact("Input size", size(record), None if record.input_size else "not stated"),
        Fact("Compares with other sources", "no" if reported.differs else "as far as is known", reported.differs),
        Fact("Note", reported.note or DASH),
        *(
            Fact(f"{name} as printed", DASH, "not printed")
            if value is None
            else Fact(f"{name} as printed", f"{value:g} {unit}", remark)
            for name, (value, unit, remark) in printed.items()
        ),
        Fact("Compared with the source", f"{record.created_at:%Y-%m-%d}"),
        Fact("Run", record.run_id),
    ]


def provenance(record: Record) -> list[Fact]:
    """Return the maker of a record and all that its values depend on."""
    made, data, method = record.harness, record.dataset, record.method
    commit = made.git_commit or DASH
    state = {True: "with uncommitted changes", False: "clean", None: "no source checkout"}[made.git_dirty]
    kind = "synthetic: rendered, not photographed" if data.synthetic else "real images"
    if record.costs_only:
        kind = "defines the tasks; nothing of it was read"
    given = ", ".join(f"{key}={value}" for key, value in overrides(record).items())
    return [
        Fact("Run", record.run_id, record.status),
        Fact("Made", f"{record.created_at:%Y-%m-%d %H:%M} UTC", f"changed {record.updated_at:%Y-%m-%d %H:%M} UTC"),
        Fact("Harness", made.version, None),
        Fact("Git commit", commit, state),
        Fact("Method", method.name, method.summary),
        Fact("Paper", method.paper or DASH),
        Fact("Defined in", method.plugin or DASH),
        Fact("Backbone", method.backbone or DASH, f"weights: {method.checkpoint or method.init}"),
        Fact("Data set", data.name, kind),
        Fact(
            "Build and split",
            f"{data.build or DASH}, {data.split or DASH}",
            f"{data.n_evaluated} of {data.n_expected} images" if data.n_expected else None,
        ),
        Fact("Data fingerprint", data.fingerprint or DASH, None if data.fingerprint else "no data was read"),
        Fact(
            "Training data fingerprint",
            data.train_fingerprint or DASH,
            f"{data.n_train} images" if data.n_train else None,
        ),
        Fact("Protocol", record.protocol_name),
        Fact("Input size", size(record)),
        Fact("Budget", record.budget or DASH, f"with {given}" if record.budget and given else None),
        Fact("Precision and device", f"{record.precision or DASH}, {record.device or DASH}"),
        Fact("Seed", DASH if record.seed is None else str(record.seed)),
        Fact("System", record.system_id, machine(record)),
        Fact("Configuration hash", record.config_hash),
        Fact("Time", ", ".join(f"{phase.name} {phase.seconds:.1f} s" for phase in record.phases) or DASH),
    ]


def command(record: Record) -> str:
    """Return the command that made the record, to be pasted into a shell."""
    return shlex.join(record.command)


def documents(record: Record) -> dict[str, str]:
    """Return the parts of the record that are shown as JSON, by title."""
    training: list[dict[str, Any]] = [stage.model_dump() for stage in record.training]
    parts = {
        "Method options": record.method.options,
        "Protocol": record.protocol,
        "Configuration": record.config,
        "Training stages": training,
        "Environment": record.environment,
    }
    return {title: to_json(part) for title, part in parts.items() if part}


def _absent(name: str, record: Record, probe: str) -> Fact:
    return Fact(name, DASH, record.unmeasured.get(probe, "not asked for"))


def _mega(values: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value / 1e6:,.2f}" for name, value in values.items()}


def _counts(values: Mapping[str, int]) -> dict[str, str]:
    return {name: _count(value) for name, value in values.items()}


def _count(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"
