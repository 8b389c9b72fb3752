"""A calibration as text, for ``ednabed reference calibrate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ednabed.taxonomy.calibration import Calibration


def calibration_lines(found: Calibration) -> list[str]:
    """Return lines that describe a calibration, for reading."""
    from ednabed.taxonomy.calibration import Group
    from ednabed.taxonomy.draws import COPIES
    from ednabed.taxonomy.situations import SITUATIONS

    lines = [f"calibrated   {found.created}, seed {found.seed}"]
    for marker, group in found.groups.items():
        drawn = ", ".join(
            f"{count:,} {'copies' if level == 'copy' else f'without their {level}'}"
            for level, count in group.draws.items()
        )
        lines.append(f"drawn        {marker or 'all markers'}: {drawn}")
    for marker in found.groups:
        share = found.copies.get(marker)
        copies = (
            f"{COPIES:.2f} of these assumed to be exact copies, because the reference has one record per sequence"
            if share is None
            else f"{share:.2f} of these exact copies, as counted in the records"
        )
        lines.append(
            f"shares       {marker or 'all markers'}: {found.known:.2f} of queries assumed to be of known species "
            f"(unless estimated from the queries), {copies}"
        )
        if isinstance(group := found.groups[marker], Group):
            lacking = ", ".join(f"{name} {share:.2f}" for name, share in zip(SITUATIONS, group.shares, strict=True))
            lines.append(f"lacking      {marker or 'all markers'}: {lacking}")
    for marker in found.groups:
        marker, facts = marker or "all", found.reliability["aligned"].get(marker or "all", {})
        n_lines = len(lines)
        for rank in ("species", "genus", "family"):
            fact = facts.get(rank, {})
            parts = []
            if fact.get("calibration_error") is not None:
                parts.append(f"calibration error {fact['calibration_error']:.3f}")
            if "falsely_absent_at_5_percent" in fact:
                share = 100 * fact["falsely_absent_at_5_percent"]
                parts.append(f"{share:.1f} % falsely absent at a level of 5 %")
            if parts:
                lines.append(f"{rank:<12} {marker}: {', '.join(parts)}")
        if len(lines) == n_lines:
            lines.append(
                f"unknown      {marker}: the accuracy of the calibration, because there are too few species, genera "
                "and families to calibrate with some and measure on others; add labelled records of other taxa"
            )
    return lines
