"""What stands at a destination is the old one or the complete new one, never a part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon.publishing.in_place import Recovery, edited, recover, require_editable
    from ckpt_surgeon.publishing.publish import publish_file, publish_folder

__all__ = ["Recovery", "edited", "publish_file", "publish_folder", "recover", "require_editable"]

__getattr__ = deferred(
    __name__,
    {
        "Recovery": "in_place",
        "edited": "in_place",
        "publish_file": "publish",
        "publish_folder": "publish",
        "recover": "in_place",
        "require_editable": "in_place",
    },
)
