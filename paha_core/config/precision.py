"""Precisions that a device can't compute in."""

from __future__ import annotations


def refused_precision(section: str, precision: str, compiled: bool, device: str) -> str:
    """Why that section of a preset can't be computed on the device; empty where it can.

    On a CPU there is no TF32, and Inductor's code for bf16 gave most convolutions no gradient at
    all.
    """
    if device != "cpu":
        return ""
    if precision == "tf32":
        return f"{section}.precision tf32 needs a GPU: choose fp32 or bf16"
    if precision == "bf16" and compiled:
        return (
            f"{section}.compile with {section}.precision bf16 loses gradients on a CPU: turn one "
            "of them off"
        )
    return ""
