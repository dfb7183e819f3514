"""
Intake: a source's files become versions of events in the lake's schema `raw`, as docs/events.md says.

`ingest` takes files in; `read_quarantine` gives rejected records back; `watermarks` says how far each source
reaches. What an adapter is: `lifecycle.pipeline.intake.adapter`.
"""

from lifecycle.pipeline.intake.quarantine import read_quarantine
from lifecycle.pipeline.intake.relations import Batch, watermarks
from lifecycle.pipeline.intake.taking_in import ingest

__all__ = ["Batch", "ingest", "read_quarantine", "watermarks"]
