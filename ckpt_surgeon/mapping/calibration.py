"""The numbers by which evidence is weighed, all in one place. Fitted on pairs whose truth is known; none knows of a pair."""

from __future__ import annotations

from math import exp

__all__ = ["MIN_CONFIDENCE", "Weights", "chance"]

MIN_CONFIDENCE = 0.9  # families at or above it are right in at least 995 of 1000 keys


class Weights:
    """What each signal adds to the score of a pair, in units of one name fully alike."""

    structure = 2.0  # the shapes beneath, 0 to 1
    name = 1.0  # words shared, 0 to 1
    order = 0.15  # places in the files, 0 to 1
    role = 0.2  # the same roles of tensors
    exact = 0.2  # the same shape, not only the same but for 1s
    same_path = 0.6  # the same name, letter by letter
    same_name = 0.3  # the same last segment, letter by letter
    twin = 0.25  # against a running average or a teacher beside the model itself
    stem = 0.4  # layers which both see the input
    stranger = 1.0  # against a module with another name, where nearly all others bear the same
    unlike = 0.5  # against names less alike than all others are
    kin = 0.5  # siblings which are matched with siblings
    learned = 0.8  # the same names matched elsewhere, of all the matches of these names


PAIR = 0.6  # likeness of shapes from which two parts may be the same part
SAME_SIZE = 0.9  # likeness of two parts with equally many elements, whatever their shapes
UNLIKE = 0.7  # what a module must gain over staying alone where not all around it has its place on the other side
COMMON = 0.3  # how much less where its shape is no common one
TURNED_ALIKE = 0.95  # how likely a square matrix lies as all others of its kind
BOTH_WAYS = 0.5  # of what may as well be otherwise
TURNED_RUN = 0.85  # how likely numbers rise on both sides where neither shapes nor names say so
STEEPNESS = 12.0  # of the chance of being right over the margin
EVEN = 0.15  # the margin over nothing at which a decision is an even bet


def chance(margin: float, rival: bool) -> float:
    """The chance that a decision is right, from its margin to the runner-up: a rival, or nothing."""
    return 1.0 / (1.0 + exp(-STEEPNESS * (margin if rival else margin - EVEN)))
