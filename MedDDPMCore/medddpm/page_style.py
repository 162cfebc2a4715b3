"""The look of all pages: light and dark, on paper, and at any width. No scripts, no fonts, nothing from outside."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b2430; --soft: #566273; --line: #d9dee6;
  --accent: #1f6f8b; --band: #1f6f8b33; --warn: #8a4b00; --warn-back: #fff1da; --info: #2b5a86; --info-back: #e6f0fa;
  --out: #7a2b2b; --out-back: #fbe9e9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b2129; --text: #e6eaf0; --soft: #a0acbb; --line: #313a46;
    --accent: #5cb6d4; --band: #5cb6d433; --warn: #ffc774; --warn-back: #3a2b12; --info: #9cc9f2; --info-back: #1a2c3f;
    --out: #f3a6a6; --out-back: #3a1c1c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 36px 0 12px; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 8px; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 2px 0 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: .85rem; font-weight: 400; color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 12px; }
.charts + p { margin-top: 10px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 0 0 10px; padding: 0; }
.legend span { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 2px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
figcaption { font-weight: 600; margin-bottom: 6px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; font-family: inherit; }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .bar { fill: var(--accent); }
svg .band { fill: var(--band); }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
td.number, th.number { text-align: right; }
.scroll { overflow-x: auto; }
.overview { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 6px 14px; }
.overview tr:last-child > * { border-bottom: 0; }
.case { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px; margin: 0 0 12px; }
.head { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: baseline; margin-bottom: 8px; }
.strip { display: block; background: #000; border-radius: 4px; max-width: 100%; height: auto; }
.facts { margin: 8px 0; }
.chip { border-radius: 999px; padding: 1px 10px; font-size: .8rem; border: 1px solid var(--line); white-space: nowrap; }
.chip.warning { color: var(--warn); background: var(--warn-back); border-color: transparent; }
.chip.info { color: var(--info); background: var(--info-back); border-color: transparent; }
.chip.out { color: var(--out); background: var(--out-back); border-color: transparent; }
.flags { list-style: none; margin: 8px 0; padding: 0; }
.flags li { margin: 4px 0; padding: 6px 10px; border-radius: 6px; }
.flags .warning { background: var(--warn-back); }
.flags .info { background: var(--info-back); }
.flags .out { background: var(--out-back); }
.flags b { font-weight: 600; margin-right: 4px; }
.warning b { color: var(--warn); } .info b { color: var(--info); } .out b { color: var(--out); }
summary { cursor: pointer; color: var(--accent); width: fit-content; }
details[open] summary { margin-bottom: 8px; }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible, input:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
#flagged-only:checked ~ .cases .plain { display: none; }
.filter { display: inline-block; margin: 0 0 12px 4px; }
footer { padding-top: 24px; padding-bottom: 40px; color: var(--soft); font-size: .9rem; }
caption { text-align: left; color: var(--soft); padding: 0 0 6px; }
td + td, th + th, th + td { padding-left: 8px; }
td.number { white-space: nowrap; }
.overview + p { margin-top: 8px; }
td.warning { color: var(--warn); background: var(--warn-back); }
td.error { color: var(--out); background: var(--out-back); }
.notice { color: var(--warn); background: var(--warn-back); border-radius: 6px; padding: 8px 12px; font-weight: 600; }
.wide { margin: 0 0 20px; }
.wide img { display: block; max-width: 100%; height: auto; border-radius: 4px; background: #000; }
main p, main ul { max-width: 80ch; }
@media print {
  :root { --page: #fff; --card: #fff; --text: #000; --soft: #444; --line: #bbb; }
  body { font-size: 10.5pt; }
  .case, figure, .tiles div { break-inside: avoid; }
  .filter, #flagged-only, summary { display: none; }
  h2 { break-after: avoid; }
}
"""
