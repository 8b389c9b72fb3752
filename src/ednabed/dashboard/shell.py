"""The frame of the page: navigation, and the workspace in the sidebar."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import streamlit as st

from ednabed.dashboard.parts import shown_errors
from ednabed.dashboard.settings import settings
from ednabed.dashboard.views import discover, identify, map, search, studies

PAGES = (
    ("Studies", "studies", ":material/inventory_2:", studies.show),
    ("Map", "map", ":material/scatter_plot:", map.show),
    ("Search", "search", ":material/search:", search.show),
    ("Identify", "identify", ":material/label:", identify.show),
    ("Discover", "discover", ":material/explore:", discover.show),
)
# Our own file: Streamlit would fetch its page icons from the internet.
_ICON = Path(__file__).with_name("data") / "icon.png"
_STYLE = """<style>
.stHeading h1 { font-size: 1.9rem; padding: 0 0 0.4rem 0; }
.stHeading h2 { font-size: 1.35rem; padding: 0.8rem 0 0.2rem 0; }
.stHeading h3 { font-size: 1.1rem; padding: 0.6rem 0 0.2rem 0; }
.stMainBlockContainer { padding: 4rem 2.5rem; }
[data-testid="stMetricValue"] { font-size: 1.6rem; }
</style>"""


def show() -> None:
    """Show the page at the requested address."""
    st.set_page_config(page_title="ednabed", page_icon=_ICON, layout="wide")
    # Our own text; the page contains no other HTML.
    st.html(_STYLE)
    pages = [
        st.Page(_guarded(view), title=title, icon=icon, url_path=path, default=path == "studies")
        for title, path, icon, view in PAGES
    ]
    chosen = st.navigation(pages)
    with st.sidebar:
        st.caption("Workspace")
        st.code(str(settings().workspace), language=None, wrap_lines=True)
    chosen.run()


def _guarded(view: Callable[[], None]) -> Callable[[], None]:
    @wraps(view)
    def guarded() -> None:
        with shown_errors():
            view()

    return guarded
