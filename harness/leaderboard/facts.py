"""What the page of a record says, as named facts and small tables of text."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from harness.records import Record, units
from harness.records.costs import Latency, Spread
from harness.records.machine import machine
from harness.records.metric import Metric
from harness.report.cells import DASH, size
from harness.tasks import TASKS


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


def accuracy(record: Record) -> Grid:
    """Return every metric of every task, rounded as papers do and as it is stored."""
    rows = [
        [TASKS[task].title if task in TASKS else task, name, *_metric(figure)]
        for task, figures in record.metrics.items()
        for name, figure in figures.items()
    ]
    return Grid("Accuracy", ["Task", "Metric", "Value", "Unrounded", "Over", "Convention", "Remark"], rows)


def _metric(figure: Metric) -> list[str]:
    unit = units.METRICS[figure.unit]
    arrow = "↑" if figure.higher_is_better else "↓"
    shown = DASH if figure.value is None else f"{unit.text(figure.value)} {unit.symbol}".rstrip()
    stored = DASH if figure.value is None else f"{figure.value!r} {figure.unit}"
    return [f"{shown} {arrow}", stored, _count(figure.n), figure.protocol, figure.reason or ""]


def gain(record: Record) -> list[Fact]:
    """Return the multi-task gain and what it is measured against; nothing where it was never asked for."""
    if record.delta_m is None:
        return []
    value, reference = record.delta_m.value, record.delta_m.reference
    remark = record.delta_m.reason or (f"against {reference}" if reference else None)
    return [
        Fact("Δm, mean relative gain over single-task networks", DASH if value is None else f"{value:+.4f} %", remark)
    ]


def costs(record: Record) -> list[Fact]:
    """Return the costs, with units; one that is missing has its reason."""
    return [*_macs(record), *_sizes(record), *_memory(record), *_energy(record), *_ceilings(record)]


def _macs(record: Record) -> Iterator[Fact]:
    macs = record.macs
    if macs is None:
        yield _absent("Executed MACs", record, "macs")
        return
    yield Fact("Executed MACs per image", _giga(macs.executed), "what the kernels multiply, batch size 1")
    yield Fact("FLOPs per image", f"{2 * macs.executed.mean / 1e9:.4f} G", "2 × executed MACs")
    yield Fact("Dense MACs per image", _giga(macs.dense), "with nothing skipped")
    if macs.ideal:
        yield Fact("Ideal MACs per image", _giga(macs.ideal), "non-zero multiplies alone")
    if macs.simulated:
        yield Fact("Simulated MACs per image", _giga(macs.simulated), "by output thresholds; not executable")
    if macs.unseen:
        yield Fact("Operators without a rule", ", ".join(f"{name} ({calls})" for name, calls in macs.unseen.items()))
    yield Fact("Element-wise outputs per image", _count(round(macs.elementwise_outputs)), "kept apart from MACs")


def _sizes(record: Record) -> Iterator[Fact]:
    if record.parameters:
        yield Fact("Parameters", _count(record.parameters.total))
    else:
        yield _absent("Parameters", record, "parameters")
    if record.storage is None:
        yield _absent("Storage", record, "storage")
        return
    yield Fact("Storage", f"{record.storage.artifact_bytes / 1e6:.3f} MB", _bytes(record.storage.artifact_bytes))
    if record.storage.zipped_bytes is not None:
        zipped = record.storage.zipped_bytes
        yield Fact("Storage, zipped", f"{zipped / 1e6:.3f} MB", _bytes(zipped))


def _memory(record: Record) -> Iterator[Fact]:
    memory = record.memory
    if memory is None:
        yield _absent("Memory", record, "memory")
        return
    remark = f"batch size {memory.batch_size}"
    for name, peak in {"inference": memory.inference, "training_step": memory.training_step}.items():
        title = f"GPU memory, peak, {name.replace('_', ' ')}"
        if peak is None:
            yield Fact(title, DASH, memory.reasons.get(name, "not measured"))
        else:
            yield Fact(title, f"{peak.allocated_bytes / 1e6:.1f} MB", remark)
    if memory.resident is None:
        yield Fact("Resident set, peak", DASH, memory.reasons.get("resident", "not measured"))
    else:
        yield Fact("Resident set, peak", f"{memory.resident.peak_bytes / 1e6:.1f} MB", remark)


def _energy(record: Record) -> Iterator[Fact]:
    energy = record.energy
    if energy is None:
        yield _absent("Energy", record, "energy")
    elif energy.joules_per_image is None:
        yield Fact("Energy", DASH, energy.reason)
    else:
        remark = f"{energy.source}, batch size {energy.batch_size}, {energy.images} images"
        yield Fact("Energy per image", f"{energy.joules_per_image:.4f} J", remark)


def _ceilings(record: Record) -> Iterator[Fact]:
    ceilings = record.ceilings
    if ceilings is None:
        yield _absent("Machine's ceilings", record, "ceilings")
        return
    how = f"{ceilings.device}, {ceilings.precision}"
    product = f"{how}, best square product, side {ceilings.matrix_side}"
    yield Fact("Machine's matrix rate", f"{ceilings.macs_per_second / 1e9:.1f} GMAC/s", product)
    yield Fact("Machine's copy bandwidth", f"{ceilings.copy_bytes_per_second / 1e9:.1f} GB/s", how)


def latency(record: Record) -> Grid:
    """Return the latencies, a row per batch size."""
    heads = ["Batch", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "IQR ms", "Images/s", "× reference", "Floors", "How"]
    return Grid(f"Latency on {machine(record)}", heads, [_timed(one) for one in record.latency])


def _timed(one: Latency) -> list[str]:
    times = [f"{value:.3f}" for value in (one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms, one.iqr_ms)]
    paired = f"{one.paired.ratio:.3f} [{one.paired.low:.3f}, {one.paired.high:.3f}]" if one.paired else DASH
    floors = f"{one.floor.multiple:.2f}" if one.floor else DASH
    how = [one.precision, f"{len(one.samples_ms)} samples", one.sampling.clock]
    how += [f"compiled {one.compiled}"] if one.compiled else []
    how += ["CUDA graph"] if one.cuda_graph else []
    how += ["channels last"] if one.channels_last else []
    how += [f"disturbed: {reason}" for reason in one.disturbed]
    return [str(one.batch_size), *times, f"{one.images_per_second:.2f}", paired, floors, ", ".join(how)]


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
    names = dict.fromkeys(name for column in columns.values() for name in column)
    filled = [head for head, column in columns.items() if column]
    rows = [[name, *(columns[head].get(name, DASH) for head in filled)] for name in names]
    return Grid(title, [next(iter(columns)), *filled], rows)


def origin(record: Record) -> list[Fact]:
    """Return what a reported record says of its source; nothing for a measured one."""
    told = record.reported
    if told is None:
        return []
    printed = {
        "Δm": (told.delta_m_percent, "%", "against the source's own reference"),
        "GFLOPs": (told.gflops, "G", "MACs or FLOPs, of one task or all, as the source counts"),
        "Parameters": (told.parameters_m, "M", None),
        "Latency": (told.latency_ms, "ms", "on the source's machine"),
    }
    return [
        Fact("Source", told.source),
        Fact("Place in it", told.locator),
        Fact("Printed by", "the method's authors" if told.tier == "own" else "others, who quote it"),
        Fact("Method", record.method.name, record.method.paper),
        Fact("Backbone", record.method.backbone or DASH),
        Fact("Data set", record.dataset.name),
        Fact("Input size", size(record), None if record.input_size else "not stated"),
        Fact("Compares with other sources", "no" if told.differs else "as far as is known", told.differs),
        Fact("Note", told.note or DASH),
        *(
            Fact(
                f"{name} as printed",
                DASH if value is None else f"{value:g} {unit}",
                "not printed" if value is None else remark,
            )
            for name, (value, unit, remark) in printed.items()
        ),
        Fact("Compared with the source", f"{record.created_at:%Y-%m-%d}"),
        Fact("Run", record.run_id),
    ]


def provenance(record: Record) -> list[Fact]:
    """Return what measured figures depend on and who made them."""
    made, data, method = record.harness, record.dataset, record.method
    commit = made.git_commit or DASH
    state = {True: "with uncommitted changes", False: "clean", None: "no source checkout"}[made.git_dirty]
    return [
        Fact("Run", record.run_id, record.status),
        Fact("Made", f"{record.created_at:%Y-%m-%d %H:%M} UTC", f"changed {record.updated_at:%Y-%m-%d %H:%M} UTC"),
        Fact("Harness", made.version, None),
        Fact("Git commit", commit, state),
        Fact("Method", method.name, method.summary),
        Fact("Paper", method.paper or DASH),
        Fact("Defined in", method.plugin or DASH),
        Fact("Backbone", method.backbone or DASH, f"weights: {method.checkpoint or method.init}"),
        Fact("Data set", data.name, _pictured(record)),
        Fact(
            "Build and split",
            f"{data.build or DASH}, {data.split or DASH}",
            _scored(record),
        ),
        Fact("Data fingerprint", data.fingerprint or DASH, None if data.fingerprint else "no data was read"),
        Fact("Training data fingerprint", data.train_fingerprint or DASH, _images(data.n_train)),
        Fact("Protocol", record.protocol_name),
        Fact("Input size", size(record)),
        Fact("Budget", record.budget or DASH),
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
    return {title: json.dumps(part, indent=1, ensure_ascii=False) for title, part in parts.items() if part}


def _absent(name: str, record: Record, probe: str) -> Fact:
    return Fact(name, DASH, record.unmeasured.get(probe, "not asked for"))


def _giga(spread: Spread) -> str:
    return f"{spread.mean / 1e9:.4f} G"


def _mega(values: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value / 1e6:,.2f}" for name, value in values.items()}


def _counts(values: Mapping[str, int]) -> dict[str, str]:
    return {name: _count(value) for name, value in values.items()}


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _bytes(value: int) -> str:
    return f"{value:,} bytes"


def _pictured(record: Record) -> str:
    if record.costs_only:
        return "poses the tasks; nothing of it was read"
    return "synthetic: rendered, not photographed" if record.dataset.synthetic else "real images"


def _scored(record: Record) -> str | None:
    data = record.dataset
    return f"{data.n_evaluated} of {data.n_expected} images" if data.n_expected else None


def _images(count: int | None) -> str | None:
    return f"{count} images" if count else None
