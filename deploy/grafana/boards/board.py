"""What the dashboards have in common: a source, a look, links to each other and to the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = model.DataSourceRef("prometheus", "prometheus")
TAG = "ntm"
HEIGHT, STAT_HEIGHT = 8, 4
GOOD, WARN, BAD, PLAIN = "green", "orange", "red", "blue"
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel)
Bounds = Sequence[tuple[float | None, str]]  # from this value on, that colour
Panels = Sequence[Builder[model.Panel]]
Row = tuple[str, Panels]

# What a chosen instance and model narrow a query to.
AT = 'instance=~"$instance"'
OF = 'instance=~"$instance", model=~"$model"'
RATE = "[$__rate_interval]"
WHOLE = 'route=~".*/(steps|predict|infer)"'


def query(expr: str, legend: str = "") -> prometheus.Dataquery:
    """A query over the dashboard's range. legend: `{{label}}` is the label's value."""
    return prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").range()


def lines(
    title: str,
    what: str,
    unit: str,
    *queries: prometheus.Dataquery,
    span: int = 12,
    stacked: commons.StackingMode = commons.StackingMode.NONE,
    bounds: Bounds = (),
    colors: dict[str, str] | None = None,
) -> timeseries.Panel:
    """Curves over time, with their last and highest value in the legend.

    bounds: from which values on it is good, or bad, drawn as lines. colors: of curves, by name.
    """
    filled = stacked is not commons.StackingMode.NONE
    panel = _common(timeseries.Panel(), title, what, unit, queries, span, HEIGHT)
    panel = (
        panel.legend(
            common.VizLegendOptions()
            .display_mode(commons.LegendDisplayMode.TABLE)
            .placement(commons.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(commons.TooltipDisplayMode.MULTI)
            .sort(commons.SortOrder.DESCENDING)
        )
        .stacking(common.StackingConfig().mode(stacked))
        .fill_opacity(40 if filled else 8)
        .line_width(1)
        .axis_soft_min(0)
        .show_points(commons.VisibilityMode.NEVER)
    )
    if unit == "percentunit":
        panel = panel.min(0).max(1)
    if bounds:
        style = common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_steps(bounds)).thresholds_style(style)
    for name, color in (colors or {}).items():
        fixed = model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
        panel = panel.override_by_name(name, [fixed])
    return panel


def number(
    title: str,
    what: str,
    unit: str,
    expr: str,
    bounds: Bounds = ((None, PLAIN),),
    span: int = 4,
) -> stat.Panel:
    """One number, as it is now, coloured by `bounds`, over its course."""
    panel = _common(stat.Panel(), title, what, unit, [query(expr)], span, STAT_HEIGHT)
    return (
        panel.thresholds(_steps(bounds))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(commons.BigValueGraphMode.AREA)
        .color_mode(commons.BigValueColorMode.VALUE)
    )


def warmth(title: str, what: str, unit: str, expr: str, span: int = 12) -> heatmap.Panel:
    """A histogram over time. expr: increases of its buckets, by `le`."""
    buckets = query(expr, "{{le}}").format(PromQueryFormat.HEATMAP)
    panel = _common(heatmap.Panel(), title, what, unit, [buckets], span, HEIGHT)
    colors = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges")
    return (
        panel.calculate(False)
        .color(colors.steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .show_legend()
    )


def board(
    uid: str, title: str, what: str, rows: Sequence[Row], variables: Sequence[str] = ()
) -> model.Dashboard:
    """A dashboard: each row a headline and panels, whose spans fill lines of 24."""
    made = (
        build.Dashboard(title)
        .uid(uid)
        .description(what)
        .tags([TAG])
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .annotation(_alerts())
    )
    for link in _links():
        made = made.link(link)
    for name in variables:
        made = made.with_variable(_variable(name))
    for headline, panels in rows:
        made = made.with_row(build.Row(headline))
        for panel in panels:
            made = made.with_panel(panel)
    built = made.build()
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number
    return built


def _common(
    panel: P, title: str, what: str, unit: str, queries: Sequence[prometheus.Dataquery],
    span: int, height: int,
) -> P:  # fmt: skip
    panel = panel.title(title).description(what).unit(unit).datasource(SOURCE)
    for letter, asked in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(asked.ref_id(letter).datasource(SOURCE))
    return panel.span(span).height(height)


def _steps(bounds: Bounds) -> build.ThresholdsConfig:
    steps = [model.Threshold(value, color) for value, color in bounds]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _variable(name: str) -> build.QueryVariable:
    metric = {"instance": "ntm_build_info", "model": "ntm_queue_depth"}[name]
    return (
        build.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(True, "All", "$__all"))
    )


def _alerts() -> build.AnnotationQuery:
    """Alerts that fire, as marks on every curve."""
    return (
        build.AnnotationQuery()
        .name("Alerts")
        .datasource(SOURCE)
        .enable(True)
        .icon_color(BAD)
        .expr('ALERTS{alertname=~"Ntm.*", alertstate="firing"}')
    )


def _links() -> list[build.DashboardLink]:
    others = (
        build.DashboardLink("Dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .keep_time(True)
        .include_vars(True)
    )
    alerts = (
        build.DashboardLink("Alerts")
        .type(model.DashboardLinkType.LINK)
        .url("/alerting/list?search=Ntm")
        .icon("bolt")
        .tooltip("What fires, and the runbook of each")
    )
    return [others, alerts]
