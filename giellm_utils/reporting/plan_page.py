"""Plans as an HTML page of their own (giellm plan --html) and as a piece of it for notebook 03.

Everything is escaped by the template engine; inline styles, no script, nothing loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from giellm_utils.core.files import write_text
from giellm_utils.core.markup import FAINT, Html, INK, PAPER, RULE, TINTS
from giellm_utils.core.plan_record import GIB, METHODS, Option, Plan, STRATEGIES
from giellm_utils.reporting.plan_tables import fits, gib, grouped, GROUPS, verdict, way
from giellm_utils.reporting.results import ReportError

#: What a page of ours says of itself in its head: only such a file is written over.
MARK = '<meta name="generator" content="giellm plan">'
#: Of a bar's whole width, so much is the device's memory; what needs more is cut there.
SCALE = 0.7
_BARS = """
<div style="color:{{ ink }};background:{{ paper }};padding:8px;text-align:left;">
{% for plan in plans %}
<div style="font-weight:bold;font-size:115%;margin-top:12px;">{{ plan.profile }}: {{ plan.model }}, {{
 plan.devices }}</div>
<div style="color:{{ faint }};background:{{ paper }};">{{ said[loop.index0] }}</div>
<div style="margin:4px 0;">{% for head in groups %}<span style="color:{{ ink }};background:{{
 tints[loop.index0][0] }};border-left:4px solid {{ tints[loop.index0][1] }};padding:0 6px;
margin-right:6px;">{{ head }}</span>{% endfor %} line: {{ gib(plan.capacity) }} GiB of one device</div>
<table style="color:{{ ink }};background:{{ paper }};border-collapse:collapse;width:100%;">
<tr>{% for head in heads %}<th style="{{ cell }}">{{ head }}</th>{% endfor %}</tr>
{% for option in plan.options %}{% if not option.refused %}
<tr style="{{ 'font-weight:bold;' if option == plan.own else '' }}">
<td style="{{ cell }}">{{ methods[option.method] }}</td><td style="{{ cell }}">{{
 strategies[option.strategy] }}</td>
<td style="{{ cell }}">{{ 'with' if option.checkpointing else 'without' }}</td>
<td style="{{ cell }}width:45%;"><div style="position:relative;height:16px;overflow:hidden;">
{% for part in bar(option, plan) %}<div title="{{ part.title }}" style="position:absolute;height:16px;left:{{
 part.left }}%;width:{{ part.width }}%;background:{{ part.fill }};border-left:2px solid {{ part.edge
 }};box-sizing:border-box;"></div>{% endfor %}
<div style="position:absolute;height:16px;left:{{ line }}%;border-left:2px dashed {{ ink
 }};"></div></div></td>
<td style="{{ cell }}">{{ gib(option.memory.total) }}</td><td style="{{ cell }}">{{ fits(option) }}</td>
<td style="{{ cell }}">{{ option.largest_batch or '–' }}</td><td style="{{ cell }}">{{
 option.smallest or '–' }}</td></tr>
{% endif %}{% endfor %}</table>
<div>{{ verdict(plan) }}</div>
{% for sentence in plan.assumed %}<div style="color:{{ faint }};background:{{ paper }};">Assumed: {{ sentence
 }}.</div>{% endfor %}
{% endfor %}</div>
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{{ mark | safe }}<title>giellm plan: {{ title }}</title></head>
<body style="font-family:sans-serif;max-width:75em;margin:1em auto;color:{{ ink }};background:{{ paper }};">
<h1 style="font-size:150%;">What training needs: {{ title }}</h1>
<p>Computed from the models' configurations by <code>giellm plan</code>; not run.</p>
{{ piece | safe }}
</body></html>
"""
_HEADS = ("method", "shared by", "gradient checkpointing", "memory", "GiB", "fits", "batch at most",
          "smallest machine")
_ENGINE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def piece(plans: Sequence[Plan]) -> Html:
    """Bars, verdict and assumptions of each plan, for a notebook; what our training refuses is left out."""
    said = [f"{p.parameters / 1e9:.2f} billion parameters, {p.dtype}, batch {p.batch} a device, longest "
            f"sequence {p.longest} tokens, {p.longest_targets} of them with loss; GiB of one device when a "
            "step holds most" for p in plans]
    return Html(_ENGINE.from_string(_BARS).render(
        plans=plans, said=said, groups=list(GROUPS), tints=TINTS, heads=_HEADS, methods=METHODS,
        strategies=STRATEGIES, bar=_bar, line=f"{100 * SCALE:.1f}", gib=gib, fits=fits, verdict=verdict,
        ink=INK, paper=PAPER, faint=FAINT, cell=f"border:1px solid {RULE};padding:2px 6px;text-align:left;"))


def write_page(path: Path, plans: Sequence[Plan]) -> Path:
    """Write the page of `plans`; returns its path. Raises ReportError for a file that is no page of ours."""
    if path.is_dir() or path.exists() and MARK.encode() not in path.read_bytes()[:2000]:
        raise ReportError(f"--html {path}: this is there already and is no page of giellm plan; give another "
                          "name")
    title = f"{', '.join(p.profile for p in plans)} on {plans[0].devices}"
    return write_text(path, _ENGINE.from_string(_PAGE).render(
        mark=MARK, title=title, piece=piece(plans).source, ink=INK, paper=PAPER))


def _bar(option: Option, plan: Plan) -> list[dict[str, str]]:
    """The parts of one bar, left to right, in per cent of its whole width."""
    room, left, parts = plan.capacity / GIB, 0.0, []
    for (head, size), (fill, edge) in zip(grouped(option.memory).items(), TINTS, strict=False):
        width = 100 * SCALE * size / room
        if size:
            parts.append({"title": f"{way(option)}: {head} {size:.2f} GiB", "left": f"{left:.2f}",
                          "width": f"{width:.2f}", "fill": fill, "edge": edge})
        left += width
    return parts
