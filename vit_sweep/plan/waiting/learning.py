"""From how long jobs of a study waited to the forecasts of the next ones. Pure."""

from collections.abc import Iterable
from math import inf

from vit_sweep.plan.waiting.expected import PastForecast, RawForecast, corrected
from vit_sweep.plan.waiting.forecast_file import StartForecast, Waited, instant, seconds


def earlier(waited: Iterable[Waited], source: str) -> list[PastForecast]:
    """The forecasts of one source for jobs that have started, with their starts."""
    started = ((one, said) for one in waited for by, said in one.forecasts if by == source and one.started_at)
    return [PastForecast(_raw(forecast), seconds(one.started_at)) for one, forecast in started]


def _raw(forecast: StartForecast) -> RawForecast:
    ends = [seconds(end) if end else inf for end in (forecast.said_earliest, forecast.said_latest)]
    return RawForecast(seconds(forecast.said_at), seconds(forecast.said_start), *ends)


def start_forecast(forecast: RawForecast, earlier: Iterable[PastForecast], source: str) -> StartForecast | None:
    """A forecast, corrected by `earlier` ones of the same source; None where the job never starts."""
    start = corrected(forecast, earlier)
    if start.start_s == inf:
        return None
    return StartForecast(
        said_at=instant(forecast.at_s),
        start=instant(start.start_s),
        earliest=_end(start.earliest_s),
        latest=_end(start.latest_s),
        basis=start.basis(source),
        said_start=instant(forecast.start_s),
        said_earliest=_end(forecast.earliest_s),
        said_latest=_end(forecast.latest_s),
    )


def _end(at_s: float) -> str:
    return "" if at_s == inf else instant(at_s)
