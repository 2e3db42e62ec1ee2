"""Makes the app: the frame, the pages, the protection. Nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from functools import partial
from pathlib import Path

from dash import Dash
from dash.development.base_component import Component
from flask import Flask, Response, request

from apm_ui.api import register_api
from apm_ui.page import find_page, mount
from apm_ui.pages import PAGES
from apm_ui.security import CheckToken, protect
from apm_ui.shell import frame, install_notices, install_shell, shell
from apm_ui.sources import Sources
from apm_ui.theme import HEAD_SCRIPT, css_variables

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{%title%}</title>
<link rel="icon" href="data:,">
<script>HEAD_SCRIPT</script>
<style>CSS_VARIABLES</style>
{%css%}
</head>
<body>
{%app_entry%}
<noscript>Spanwise draws its pages with JavaScript; the same data is at /api/v1/openapi.json.</noscript>
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def create_app(sources: Sources, *, hosts: Collection[str] = (), check_token: CheckToken | None = None) -> Dash:
    """The UI over `sources`; it answers on loopback names and on `hosts`, with `check_token` to token bearers alone."""
    _slim(Component)
    server = Flask("apm_ui")
    # zlib alone: the contexts of zstd and brotli would stay in memory, 10 MB after a few pages.
    server.config.update(COMPRESS_ALGORITHM=["gzip"], COMPRESS_ALGORITHM_STREAMING=["deflate"], COMPRESS_LEVEL=3)
    app = Dash(
        "apm_ui",
        server=server,  # type: ignore[arg-type]  # its annotation leaves out what its documentation says
        title="Spanwise",
        update_title="",
        assets_folder=str(Path(__file__).parent / "assets"),
        index_string=_INDEX.replace("HEAD_SCRIPT", HEAD_SCRIPT).replace("CSS_VARIABLES", css_variables()),
        serve_locally=True,
        compress=True,
        suppress_callback_exceptions=True,
        add_log_handler=False,
    )
    pages = [module.PAGE for module in PAGES]
    app.layout = shell(pages)
    install_shell(app)
    install_notices(app, sources)
    mount(app, PAGES, sources, partial(frame, pages))
    register_api(app.server, sources)
    _mark_missing_pages(app)
    scripts = [_csp_hash(HEAD_SCRIPT), *app.csp_hashes()]
    protect(app, hosts=hosts, inline_scripts=scripts, check_token=check_token)
    return app


def _slim(kind: type[Component]) -> None:
    """Let go of what the components' classes hold for editors alone, docstrings and signatures: 8 MB."""
    for component in kind.__subclasses__():
        component.__doc__ = None
        vars(component.__init__).pop("__signature__", None)
        _slim(component)


def _mark_missing_pages(app: Dash) -> None:
    """Answer 404 where no page lives; the frame still comes, and says so."""
    server: Flask = app.server

    @server.after_request
    def mark(response: Response) -> Response:
        is_page = request.url_rule is not None and request.url_rule.rule == "/<path:path>"
        if is_page and response.status_code == 200 and find_page(PAGES, request.path) is None:
            response.status_code = 404
        return response


def _csp_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
