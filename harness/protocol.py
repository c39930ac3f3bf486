"""The evaluation conventions that change a number, as options with named profiles."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import UsageError, first_fault, unknown


class Protocol(BaseModel):
    """Every convention in force for one evaluation.

    The defaults are those of InvPT (Ye and Xu, ECCV 2022), which TaskPrompter and most later work share.
    The one exception is `depth_mask`: the default drops pixels whose label is not finite, where InvPT's own
    rule (``not-255``) returns NaN. On NYUD-v2 the two give the same number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    semseg_absent: Literal["zero", "nanmean"] = Field(
        default="zero",
        description="mIoU of a class that is neither labelled nor predicted: counted as 0, or left out; with it the "
        "label that equals the number of classes is ignored, as in the sharing paper's scorer.",
    )
    nyud_classes: Literal[40, 41] = Field(
        default=40, description="NYUD-v2 label space: 40 classes, or 41 with the background (ASTMT)."
    )
    parts_skip: Literal["zero-or-void", "single-value"] = Field(
        default="zero-or-void",
        description="Images the parts meter skips: labels with only 0 and 255, or with one value, 0 or 255.",
    )
    saliency_mode: Literal["double-sigmoid", "pooled", "per-image", "per-image-uint8"] = Field(
        default="double-sigmoid",
        description="Headline maxF: pooled counts of sigmoid(p) (InvPT), pooled counts of p (ATRC), or F1 of "
        "the per-image means (ASTMT, MTI-Net), on float or on 8-bit maps.",
    )
    saliency_void: Literal["ignored", "salient"] = Field(
        default="ignored",
        description="What the per-image modes do with 255: leave it out, or count it as salient (as the file "
        "evaluators of ASTMT and MTI-Net would; their maps have no padding and so no 255).",
    )
    normals_formula: Literal["atan2", "acos-uint8", "acos-raw"] = Field(
        default="atan2",
        description="Angle between unit vectors by atan2; by acos on 8-bit predictions (ASTMT and MTI-Net "
        "files); by acos against the label as it is, which must be of unit length (MTI-Net, during training).",
    )
    depth_pool: Literal["pixel", "image"] = Field(
        default="pixel",
        description="Pool over all pixels, or average over images (ASTMT; its log RMSE is the median).",
    )
    depth_mask: Literal["finite", "not-255", "nonzero", "none"] = Field(
        default="finite",
        description="Scored pixels: 0 < label < 80 m (TaskPrompter), label != 255 (InvPT, NaN propagates), "
        "label != 0 (ATRC as shipped: holes count as 255 m), or all (ASTMT: holes count as 1e-9 m).",
    )
    boundary_nms: Literal["seism", "none"] = Field(
        default="seism", description="Suppression before thresholds: as in SEISM, or none (MTI-Net)."
    )
    boundary_set: Literal["test-new", "val"] = Field(
        default="test-new", description="PASCAL-Context images: SEISM's 2498, or all 5105 of val."
    )
    boundary_gt: Literal["seg2bmap", "training"] = Field(
        default="seg2bmap", description="Reference boundaries: from the label map, or the training edges."
    )
    boundary_match: Literal["exact", "greedy"] = Field(
        default="exact", description="Correspondence: largest one-to-one matching, or greedy (approximate)."
    )
    geometry: Literal["pad", "resize", "crop"] = Field(
        default="pad",
        description="Model input: padded to a fixed size, resized (ASTMT, MTI-Net), or the centre crop of "
        "the sharing paper on NYUD-v2.",
    )

    @classmethod
    def profile(cls, name: str = "invpt", options: Mapping[str, Any] = MappingProxyType({})) -> "Protocol":
        """Return the conventions of a line of work, with single options replaced.

        Args:
            name: A key of `PROFILES`.
            options: Field name to value, over the profile's.

        Raises:
            UsageError: the profile, an option or its value is unknown.
        """
        if name not in PROFILES:
            raise UsageError(unknown("protocol", name, PROFILES))
        for option in options:
            if option not in cls.model_fields:
                raise UsageError(unknown("protocol option", option, cls.model_fields))
        try:
            return cls.model_validate({**PROFILES[name], **options})
        except ValidationError as error:
            raise UsageError(f"protocol option {first_fault(error)}") from None


PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "invpt": {},
        "taskprompter": {},
        # ATRC meant to leave holes out; its shipped mask differs only where there are holes.
        "atrc": {"saliency_mode": "pooled", "depth_mask": "not-255"},
        "share": {"semseg_absent": "nanmean", "geometry": "crop"},
        "mtinet": {
            "parts_skip": "single-value",
            "saliency_mode": "per-image-uint8",
            "saliency_void": "salient",
            "normals_formula": "acos-uint8",
            "depth_mask": "not-255",
            "boundary_nms": "none",
            "geometry": "resize",
        },
        "astmt": {
            "nyud_classes": 41,
            "parts_skip": "single-value",
            "saliency_mode": "per-image-uint8",
            "saliency_void": "salient",
            "normals_formula": "acos-uint8",
            "depth_pool": "image",
            "depth_mask": "none",
            "boundary_set": "val",
            "geometry": "resize",
        },
    }
)
"""Profile name to the options in which it differs from the defaults."""
