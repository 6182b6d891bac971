"""What LIP and CIHP share."""

from __future__ import annotations

BODY_SIDES = ((14, 15), (16, 17), (18, 19))
"""Training ids that a horizontal flip exchanges: arms, legs, shoes."""
