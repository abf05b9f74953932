"""Text from Jinja templates in which every inserted value is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigcodec_cli.pages.charts import count_text, number_text


def render(template: Path, **values: Any) -> str:
    """The text of a template, which may also include the files of its folder and of this one.

    The result is well-formed XML if the template is: control characters are left out.
    """
    import jinja2  # here, since only a few commands make a page

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        finalize=_without_control_characters,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number_text, "count": count_text}
    return environment.get_template(template.name).render(values)


def _without_control_characters(value: Any) -> Any:
    """Neither XML nor HTML can hold them. Strings that a macro rendered are of another type."""
    return "".join(c for c in value if c.isprintable()) if type(value) is str else value
