"""Pages of HTML, laid out by the templates beside this file, which escape all values; and numbers as their text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, title: str, *, heading: str = "", width: str = "84em", **values: Any) -> str:
    """A page that stands alone.

    Args:
        template: name of what stands below its heading.
        title: of the page.
        heading: where it is not the title.
        width: of the text at most.
        values: for the template. Of a text in a table, lines after the first are small print.
    """
    about = {"page": f"{template}.j2", "title": title, "heading": heading or title, "width": width}
    return _TEMPLATES.get_template("base.j2").render(values | about)


def bounds_text(row: Mapping[Any, Any] | pd.Series, name: str, form: str) -> str:
    """The interval of a column as ``[low, high]``, in a format of Python's; nothing where there is none."""
    low, high = (row[f"{name}_{end}" if name else end] for end in ("low", "high"))
    if not (math.isfinite(low) or math.isfinite(high)):
        return ""
    return f"[{low:{form}}, {'∞' if math.isinf(high) else format(high, form)}]"


def interval_text(row: Mapping[Any, Any] | pd.Series, name: str, form: str = "+.3f", between: str = " ") -> str:
    """A number of a column with its interval, as far as there are any."""
    if pd.isna(row.get(name)):
        return ""
    return f"{row[name]:{form}}{between}{bounds_text(row, name, form)}".rstrip()


def perplexity_number(value: float) -> str:
    """A perplexity with as many digits as mean something to a reader."""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


_TEMPLATES = Environment(
    loader=PackageLoader("ropewalk.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "number": format,
    "percent": lambda share: f"{100 * share:g} %",
    "perplexity": perplexity_number,
    "bounds": bounds_text,
    "interval": interval_text,
    "groups": lambda values, name: [(key, list(group)) for key, group in groupby(values, key=attrgetter(name))],
}
