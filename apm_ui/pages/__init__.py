"""The pages, in no particular order: `PAGE.order` sorts them."""

from __future__ import annotations

from apm_ui.page import PageModule

from . import overview, profiles, slos, slow_queries, system, trace, traces

PAGES: tuple[PageModule, ...] = (overview, traces, trace, profiles, slow_queries, slos, system)
