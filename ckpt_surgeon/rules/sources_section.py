"""The section `sources:` of a rules document: what rules call other checkpoints, and where these are."""

from __future__ import annotations

import os
import re

from ckpt_surgeon.keys.aliases import is_alias
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.rules.node import Node, shown

__all__ = ["read_sources"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FORM = "An alias is of letters, digits and underscores, and is not `re`."
_ONLY_PATHS = "A rules file names files and folders only; say it on the command line: --source {}=..."


def read_sources(node: Node) -> dict[str, str]:
    """Alias -> path, relative ones to the document's folder; complains of what is none.

    A path here is never a URL nor a factory: reading rules neither runs code nor asks the network.
    """
    if not node.is_mapping("sources"):
        return {}
    found: dict[str, str] = {}
    for alias, path in node.data.items():
        part = node.child(alias)
        if not is_alias(alias):
            part.complain(f"sources: '{escape(alias)}' is no alias", _FORM, key=True)
        elif not isinstance(path, str) or not path:
            part.complain(f"sources: {alias} is {shown(path)}; a path is wanted", "Such as `sources: {ema: ema.safetensors}`.")
        elif _URL.match(path):
            part.complain(f"sources: {alias} is a URL", _ONLY_PATHS.format(alias))
        else:
            found[alias] = os.path.join(node.document.folder or os.curdir, path)
    return found
