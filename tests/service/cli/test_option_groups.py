from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer
from typer.testing import CliRunner

from service.cli.option_groups import grouped
from service.cli.train_options import ConfigOptions
from training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option(help="Across.")] = 3
    tall: Annotated[bool, typer.Option("--tall", help="Or not.")] = False


def command_of(told: list[Any]) -> typer.Typer:
    app = typer.Typer()

    def draw(context: typer.Context, size: Size, name: str = "box") -> None:
        told.append((context.info_name, size, name))

    app.command()(grouped(draw))
    return app


def test_fields_of_a_group_are_flags_and_arrive_as_the_group() -> None:
    told: list[Any] = []
    done = CliRunner().invoke(command_of(told), ["--width", "7", "--tall", "--name", "door"])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(command_of(told), []).exit_code == 0
    assert [call[1:] for call in told] == [(Size(width=7, tall=True), "door"), (Size(), "box")]


def test_help_describes_every_field_and_a_bad_value_names_its_flag() -> None:
    text = CliRunner().invoke(command_of([]), ["--help"]).output
    assert all(part in text for part in ("--width", "Across.", "--tall", "Or not.", "--name"))
    refused = CliRunner().invoke(command_of([]), ["--width", "wide"])
    assert refused.exit_code == 2
    assert "--width" in refused.output


def test_every_training_setting_is_a_flag_with_the_setting_s_default() -> None:
    assert {field.name for field in fields(ConfigOptions)} == set(TrainingConfig.model_fields)
    assert TrainingConfig(**ConfigOptions().values()) == TrainingConfig()
