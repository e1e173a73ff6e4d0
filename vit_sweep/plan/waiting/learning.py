"""From how long jobs of a study waited to what is said of the next ones. Pure."""

from collections.abc import Iterable
from math import inf

from vit_sweep.plan.waiting.expected import Past, Said, corrected
from vit_sweep.plan.waiting.forecast_file import StartForecast, Waited, instant, seconds


def earlier(waited: Iterable[Waited], source: str) -> list[Past]:
    """What was said of jobs that began, and what came; of forecasts of one source."""
    told = ((one, said) for one in waited for by, said in one.forecasts if by == source and one.started_at)
    return [Past(_said(forecast), seconds(one.started_at)) for one, forecast in told]


def _said(forecast: StartForecast) -> Said:
    ends = [seconds(end) if end else inf for end in (forecast.said_earliest, forecast.said_latest)]
    return Said(seconds(forecast.said_at), seconds(forecast.said_start), *ends)


def start_forecast(said: Said, earlier: Iterable[Past], source: str) -> StartForecast | None:
    """What is said of a start, corrected by `earlier` forecasts of the same source; None where it is never."""
    start = corrected(said, earlier)
    if start.start_s == inf:
        return None
    return StartForecast(
        said_at=instant(said.at_s),
        start=instant(start.start_s),
        earliest=_end(start.earliest_s),
        latest=_end(start.latest_s),
        basis=start.basis(source),
        said_start=instant(said.start_s),
        said_earliest=_end(said.earliest_s),
        said_latest=_end(said.latest_s),
    )


def _end(at_s: float) -> str:
    return "" if at_s == inf else instant(at_s)
