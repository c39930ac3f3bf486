"""What the machine can do, and the state it was in."""

from pydantic import Field

from harness.costs.base import Cost


class Ceilings(Cost):
    """What the machine reached at best in the same process: the matrix rate and the copy bandwidth."""

    device: str
    precision: str
    threads: int | None = Field(default=None, description="Threads of the CPU's kernels; null on a GPU.")
    macs_per_second: float = Field(description="Of the best square matrix product.")
    matrix_side: int = Field(description="Its side.")
    copy_bytes_per_second: float = Field(description="Bytes read plus bytes written of the best large copy.")


class Conditions(Cost):
    """State of the machine at one moment; null where it cannot be read."""

    load_average: float | None = Field(description="Processes running or waiting, over the last minute.")
    cpu_mhz: float | None = None
    gpu_sm_mhz: int | None = None
    gpu_memory_mhz: int | None = None
    gpu_celsius: int | None = None
    gpu_throttle: list[str] = Field(default=[], description="Reasons the driver gives for lowered clocks.")
    gpu_other_processes: int | None = Field(default=None, description="Other processes that hold memory of the GPU.")
