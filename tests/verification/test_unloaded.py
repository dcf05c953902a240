"""A module whose own code takes no weights is no crash of verify, but a negative answer."""

import pytest
import torch
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError


class Stubborn(nn.Linear):
    def _load_from_state_dict(self, *arguments, **keywords):
        pass


def test_a_module_which_takes_nothing_does_not_hold_the_files_tensors(tmp_path):
    torch.save({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(CoverageError, match="not the file's"):
        surgeon.verify(tmp_path / "a.pt", Stubborn(2, 2), "cpu")
