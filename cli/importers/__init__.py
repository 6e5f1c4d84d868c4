"""Recorded agent sessions become streams, and streams become their source again.

`import_paths` recognises files by their content and imports them, `follow_paths` stays with them
as they grow, `export_source` gives the source's records back. What each record becomes is
described in `docs/reference/import-mapping.md`.
"""

from .exporting import NoSource, export_document, export_source
from .following import follow_paths
from .importing import Options, Progress, SeveralSessions, import_paths
from .report import ImportReport, Problem, SessionReport, Skipped
from .subagents import claude_code_folder

__all__ = [
    "ImportReport",
    "NoSource",
    "Options",
    "Problem",
    "Progress",
    "SessionReport",
    "SeveralSessions",
    "Skipped",
    "claude_code_folder",
    "export_document",
    "export_source",
    "follow_paths",
    "import_paths",
]
