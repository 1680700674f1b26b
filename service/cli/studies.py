"""Which study the flags of `lorad train` ask for."""

import typer

from service.cli.train_options import StudyOptions
from service.studies.study import Study


def chosen_study(options: StudyOptions) -> Study | None:
    """The study, or None for one ordinary run."""
    # matplotlib and optuna are loaded only where a study is asked for.
    given = [name for name in ("data_fractions", "bases", "sweep") if getattr(options, name) is not None]
    if len(given) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(f"{flags} do not go together; do one study after the other")
    if options.data_fractions is not None:
        from service.studies.data_size import DataSizeStudy

        return DataSizeStudy(_fractions(options.data_fractions))
    if options.bases is not None:
        from service.studies.base_size import BaseSizeStudy

        return BaseSizeStudy(_bases(options.bases))
    if options.sweep is not None:
        from service.studies.sweep.space import read_sweep
        from service.studies.sweep.study import SweepStudy

        return SweepStudy(read_sweep(options.sweep))
    return None


def _fractions(text: str) -> tuple[float, ...]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError as error:
        raise typer.BadParameter(f"--data-fractions {text}: write numbers, by comma: 0.1,0.3,1.0") from error
    if not all(0 < fraction <= 1 for fraction in found):
        raise typer.BadParameter(f"--data-fractions {text}: each must be above 0 and at most 1")
    return tuple(found)


def _bases(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(","))
    if not all(found) or len(set(found)) != len(found):
        raise typer.BadParameter(f"--bases {text}: write different bases, by comma")
    return found
