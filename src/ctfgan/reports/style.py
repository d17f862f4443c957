"""How pages look: in light and dark, on paper, and on the width of a phone."""

STYLE = """
:root { --ink: #1a1a1a; --soft: #5c5c5c; --line: #d4d4d4; --fill: #f3f3f3; --paper: #fff; color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word; }
h1 { line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h3 { margin: 1.8rem 0 .4rem; } h4 { margin: 1.4rem 0 .3rem; }
p, ul { max-width: 60rem; }
a { color: inherit; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
caption, figcaption { color: var(--soft); font-size: .9em; text-align: left; max-width: 60rem; }
caption { padding-bottom: .4rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left; vertical-align: top;
  overflow-wrap: normal; }
th { background: var(--fill); }
.number { text-align: right; } td.number { white-space: nowrap; }
td small { display: block; color: var(--soft); }
figure { margin: 1rem 0; overflow-x: auto; }
img { max-width: 100%; vertical-align: middle; }
td.tiles { white-space: nowrap; } td img { max-width: none; margin: 0 3px 3px 0; }
td:first-child, th:first-child { position: sticky; left: 0; } td:first-child { background: var(--paper); }
img.tile { image-rendering: pixelated; border: 1px solid var(--line); }
.wide { overflow-x: auto; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem; margin: 1rem 0; }
dl.facts div { background: var(--fill); border-radius: .4rem; padding: .6rem .8rem; }
dl.facts dt { color: var(--soft); font-size: .85em; }
dl.facts dd { margin: 0; font-size: 1.3em; line-height: 1.3; }
dl.facts dd.note { font-size: .85em; color: var(--soft); line-height: 1.4; }
.gallery { display: flex; flex-wrap: wrap; gap: .6rem; }
.gallery figure { margin: 0; } .gallery figcaption { font-size: .8em; max-width: 8rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: .4rem 1rem; }
.plots.large { grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.plots figure { margin: 0; }
pre { background: var(--fill); padding: .8rem; overflow-x: auto; font-size: .85em; line-height: 1.35; }
details { margin: .8rem 0; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; } th, td { padding: .25rem .4rem; }
  dl.facts { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #a8a8a8; --line: #444; --fill: #262626; --paper: #161616; }
  img.plot { filter: invert(1) hue-rotate(180deg); }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --fill: #f3f3f3; --paper: #fff; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  nav { display: none; } h2, h3, h4 { break-after: avoid; } tr, figure { break-inside: avoid; }
  .wide, figure { overflow: visible; } img.plot { filter: none; } pre { white-space: pre-wrap; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
