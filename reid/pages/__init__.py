"""HTML pages that open from disk. Whatever is put into a template is escaped; all pages share the head, the
colours and the macros in ``templates``.
"""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


def render(package: str, template: str, **values: object) -> str:
    """A page.

    Args:
        package: whose folder ``templates`` has the template.
        template: the file's name; it may extend and import those of this package.
        values: what the template shows; a name that it misses is an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("reid.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)
