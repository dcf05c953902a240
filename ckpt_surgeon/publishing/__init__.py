"""What stands at a destination is the old one or the complete new one, never a part."""

from ckpt_surgeon.publishing.in_place import Recovery, edited, recover, require_editable
from ckpt_surgeon.publishing.publish import publish_file, publish_folder

__all__ = ["Recovery", "edited", "publish_file", "publish_folder", "recover", "require_editable"]
