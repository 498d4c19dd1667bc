"""chart - horizontal bars as SVG, from the standard library alone; light and dark readers both see it.

A figure is a title, a unit, and groups; a group has a label and bars (series name, value, text behind the bar). Used by
bench/run and the programs beside it; `python3 bench/chart.py result.json out.svg` draws again what a run has written.
"""
import json
import sys
from xml.sax.saxutils import escape

COLOURS = ['#7f8c9a', '#2a6fdb', '#1fa37a', '#d9822b', '#a855c8', '#c0392b']
BAR, GAP, GROUP, LEFT, WIDTH, RIGHT = 16, 4, 16, 190, 460, 190


def svg(title, groups, series, note=''):
    """groups: [(label, [(series index, value, text)])], each group scaled to its own longest bar: what counts is the ratio
    inside a group, and requests/s and microseconds may stand in one figure."""
    height = 66 + 18 * bool(note)
    for _, bars in groups:
        height += len(bars) * (BAR + GAP) + GROUP
    total = LEFT + WIDTH + RIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" width="{total}" height="{height}" '
           'font-family="system-ui, sans-serif" font-size="12">',
           '<style>text{fill:#222}.n{fill:#666}.b{fill:#fff}'
           '@media(prefers-color-scheme:dark){text{fill:#ddd}.n{fill:#999}.b{fill:#161b22}}</style>',
           f'<rect class="b" width="{total}" height="{height}" rx="6"/>',
           f'<text x="12" y="22" font-size="15" font-weight="600">{escape(title)}</text>']
    x = 12
    for i, s in enumerate(series):
        out.append(f'<rect x="{x}" y="34" width="12" height="12" rx="2" fill="{COLOURS[i % len(COLOURS)]}"/>'
                   f'<text x="{x + 17}" y="44">{escape(s)}</text>')
        x += 30 + 7 * len(s)
    y = 62
    for label, bars in groups:
        mid = y + (len(bars) * (BAR + GAP)) / 2
        out.append(f'<text x="{LEFT - 10}" y="{mid + 2:.0f}" text-anchor="end">{escape(label)}</text>')
        top = max((v for _, v, _ in bars), default=1) or 1
        for i, v, text in bars:
            w = max(1.0, WIDTH * v / top)
            out.append(f'<rect x="{LEFT}" y="{y}" width="{w:.1f}" height="{BAR}" rx="2" fill="{COLOURS[i % len(COLOURS)]}"/>'
                       f'<text x="{LEFT + w + 6:.1f}" y="{y + 12}">{escape(text)}</text>')
            y += BAR + GAP
        y += GROUP
    if note:
        out.append(f'<text class="n" x="12" y="{height - 10}" font-size="11">{escape(note)}</text>')
    out.append('</svg>\n')
    return '\n'.join(out)


def of_result(result):
    """The figure of a result file: {"title", "note", "series": [...], "groups": [{"label", "bars": [[i, value, text]]}]}"""
    c = result['chart']
    return svg(c['title'], [(g['label'], g['bars']) for g in c['groups']], c['series'], c.get('note', ''))


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as f:
        r = json.load(f)
    with open(sys.argv[2], 'w') as f:
        f.write(of_result(r))
