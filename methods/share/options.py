"""Options of the sharing method."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.method import MethodOptions

Engine = Literal["paper", "tokens", "corrections"]
Mode = Literal["gated", "dense", "clamped"]
Policy = Literal["top-k", "threshold"]
Queries = Literal["active", "all"]
Granularity = Literal["element", "channel"]
Ungated = Literal["reuse", "channels"]
Values = Literal["fp32", "fp16"]
Detail = Literal["boundary", "all", "none"]
Distil = Literal["both", "pull", "head"]
Keys = Literal["base", "own"]


class ShareOptions(MethodOptions):
    """Options of `harness.methods.share.method.Share`.

    The defaults are the engine that skips work. The paper's own setting is ``density=null``, ``mode=clamped``.
    """

    base_task: str = Field(
        default="semseg",
        description="Task whose network all others share; auto (of engine=corrections): the one that serves the others "
        "best on held-out training images, for which every task is trained on every base.",
    )
    shared_blocks: int = Field(
        default=0,
        ge=0,
        description="First blocks, with the embedding, that sub-tasks take over unchanged; 0: none, not even the "
        "embedding, as in the paper.",
    )
    granularity: Granularity = Field(
        default="element", description="One gate of the delta weights per element, or per output channel."
    )
    density: float | None = Field(
        default=0.08,
        gt=0,
        le=1,
        description="Largest fraction of the encoder's weights that may differ; the smallest differences beyond it are "
        "dropped. Null: what the gates leave.",
    )
    values: Values = Field(default="fp32", description="Stored type of the differences.")
    mode: Mode = Field(
        default="gated",
        description="gated: inactive tokens are skipped; dense: nothing is; clamped: the paper's thresholds on "
        "outputs, which skip nothing (simulated).",
    )
    engine: Engine = Field(
        default="paper",
        description="Inference of mode gated, and what training prepares for. paper: gates at the inputs of every "
        "block; tokens: active tokens are chosen once per stage of blocks and share the base's embedding, keys and "
        "values; corrections: a frozen base and a small correction of its tokens, no sparse difference.",
    )
    keys: Keys = Field(
        default="base",
        description="Of engine tokens: active tokens attend to the base's keys and values alone, or to their own in "
        "the place of the base's.",
    )
    policy: Policy = Field(
        default="top-k",
        description="Active tokens: a fixed fraction with the largest change, or those above a threshold.",
    )
    rows: float = Field(
        default=0.2, ge=0, le=1, description="Fraction of active tokens that training aims at, and without calibration."
    )
    queries: Queries = Field(
        default="active",
        description="Attention of active tokens alone, the others keep the base's (approximate), or of all tokens.",
    )
    ungated: Ungated = Field(
        default="reuse",
        description="Inactive tokens reuse the base's result, or that with the changed output channels computed "
        "again (exact for inputs that did not change).",
    )
    threshold: float = Field(
        default=0.15,
        ge=0,
        description="Smallest change that counts: of an element in mode clamped (0.15 in the released code), of a "
        "token's root mean square under policy threshold without calibration.",
    )
    accuracy_budget: float | None = Field(
        default=1.0,
        ge=0,
        description="Points of Δm that gates may cost on training images when their fractions are chosen per block; "
        "null: `rows` everywhere.",
    )

    # Of engine=corrections alone

    rank: int | None = Field(
        default=None,
        ge=0,
        description="corrections: rank of the correction of all tokens; null: a quarter of their width; 0: none.",
    )
    levels: int = Field(
        default=5,
        ge=1,
        description="corrections: levels of the base that the correction reads, evenly from its embedding to its last "
        "block.",
    )
    detail: Detail = Field(
        default="boundary",
        description="corrections: heads that get the pixels of their cells, which a frozen base forgets.",
    )
    first_block: Annotated[int, Field(ge=0)] | dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        description="corrections: first block of which sub-tasks have copies of their own, for the fraction `rows` of "
        "the tokens (1: all, with keys and values of their own); also by sub-task, {depth: 11}; null: none.",
    )
    teacher: str | None = Field(
        default=None,
        description="corrections: artifact of single-task networks that teach the sub-tasks of theirs; their training "
        "counts as effort.",
    )
    distil: Distil = Field(
        default="both",
        description="corrections: a taught sub-task is pulled towards its teacher's last map, its head starts as the "
        "teacher's, or both.",
    )
    taught: list[str] | None = Field(
        default=None, description="corrections: sub-tasks that are taught; null: all that the teacher has."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Check that the engine has what is asked of it."""
        if self.engine == "tokens" and (self.policy, self.queries, self.ungated) != ("top-k", "active", "reuse"):
            raise ValueError("engine=tokens has policy=top-k, queries=active and ungated=reuse alone")
        return self
