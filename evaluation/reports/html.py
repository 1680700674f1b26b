"""A report as one HTML file that asks for nothing from outside."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from evaluation.reports.blocks import Plot, Report

_TEMPLATE = "report.html.jinja"


def to_html(report: Report) -> str:
    """The whole report, plots included; texts of models and people are escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["picture"] = _picture
    environment.tests["of_kind"] = lambda block, kind: type(block).__name__ == kind
    source = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(report=report)


def _picture(plot: Plot) -> Markup:
    # Drawn by matplotlib, which escapes the names of models and labels in it.
    return Markup(plot.svg)
