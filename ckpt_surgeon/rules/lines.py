"""Parameters which may name a file: its lines in place of its name, so that ops stay pure and a digest tells what they do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_surgeon.disk import InputFile, require_name
from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.rules.node import Node

__all__ = ["with_lines"]

_MAX_BYTES = 1_000_000  # the labels of ImageNet-21k take a third of it


def with_lines(op: Any, parameters: Mapping[str, Node]) -> dict[str, Node]:
    """The parameters, those of `op.body.files` which are a text replaced by the lines of the file of that name.

    A name is relative to the folder of the rules file (of rules made in Python, to the current one). Complains of a file which
    cannot be read, is no UTF-8, is too long, or has an empty line before its end.
    """
    named = {name for name in op.body.files if name in parameters and isinstance(parameters[name].data, str)}
    return {name: replace(node, data=_lines(node, name)) if name in named else node for name, node in parameters.items()}


def _lines(node: Node, name: str) -> list[str]:
    """The lines without blanks around them; none after a complaint."""
    path = os.path.join(node.document.folder, node.data)
    try:
        require_name(path)
        with InputFile(path) as file:
            if file.nbytes > _MAX_BYTES:
                node.complain(f"{name}: {escape(path)} has {file.nbytes} bytes; at most {_MAX_BYTES} are read")
                return []
            data = file.read(0, file.nbytes)
    except DiskError as error:
        node.complain(f"{name}: {escape(path)}: {error.problems[0].what}", "The name is relative to the folder of the rules file.")
        return []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        node.complain(f"{name}: byte {error.start} of {escape(path)} is no UTF-8", "Save the file as UTF-8.")
        return []
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        node.complain(f"{name}: line {lines.index('') + 1} of {escape(path)} is empty; a label stands on each line")
        return []
    return lines
