"""A report about call records as one HTML file that opens offline. Extra `report`."""

from ..._extras import needs

with needs("report"):
    from .days import Outlier
    from .figures import Comparison, Figures, Headline, KindFigures, Summary, read_figures
    from .headline import headline_table
    from .page import write_page

__all__ = [
    "Comparison",
    "Figures",
    "Headline",
    "KindFigures",
    "Outlier",
    "Summary",
    "headline_table",
    "read_figures",
    "write_page",
]
