"""The commands about galleries, run in this process."""

import json

import typer
from typer.testing import CliRunner, Result

from reid.errors import ReidError
from serving.cli.gallery import embed, gallery_app

app = typer.Typer()
app.command()(embed)
app.add_typer(gallery_app, name="gallery")


def reid(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, (SystemExit, ReidError)):
        raise result.exception
    return result


def answer(*arguments: object) -> dict:
    result = reid("gallery", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def fails(*arguments: object) -> ReidError:
    result = reid(*arguments)
    assert isinstance(result.exception, ReidError), result.output
    assert "\n" not in str(result.exception)
    assert result.stdout == ""
    return result.exception
