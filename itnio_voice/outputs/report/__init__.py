"""A report about call records as one HTML file that opens offline. Extra `report`."""

from ..._extras import needs

with needs("report"):
    from .figures import Figures, Headline, read_figures
    from .headline import headline_table
    from .page import write_page

__all__ = ["Figures", "Headline", "headline_table", "read_figures", "write_page"]
