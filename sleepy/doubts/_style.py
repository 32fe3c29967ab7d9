"""The page's style sheet: one hue that grows darker (in the dark: brighter) with the doubt, so that no colour vision is
needed to read it; every text has a contrast of at least 4.5 to 1 (tests/doubts/test_page.py)."""

from __future__ import annotations

LIGHT = {
    "ink": "#1c2128", "soft": "#57606a", "paper": "#ffffff", "card": "#f6f7f9", "line": "#d8dde3", "link": "#0b57a4",
    "d1": "#fff4dc", "d2": "#ffe3ae", "d3": "#ffc976", "d4": "#ffab40", "d5": "#f28a12", "hot": "#1c2128",
    "new": "#d6e8fb", "cut": "#f9dfe4", "good": "#0b57a4", "bad": "#8a2c45",
}  # fmt: skip
DARK = {
    "ink": "#e4e7eb", "soft": "#a3acb8", "paper": "#14171c", "card": "#1c2027", "line": "#363d47", "link": "#86bdf5",
    "d1": "#2c2616", "d2": "#45350f", "d3": "#634a0a", "d4": "#86600a", "d5": "#f5a623", "hot": "#14171c",
    "new": "#16344f", "cut": "#4b2430", "good": "#86bdf5", "bad": "#f0a3b5",
}  # fmt: skip


def _colours(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


STYLE = f""":root{{color-scheme:light dark;{_colours(LIGHT)}}}
@media(prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 system-ui,sans-serif}}
main{{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem 6rem}}
h1{{font-size:1.6rem;line-height:1.25;margin:0 0 .4rem;overflow-wrap:anywhere}}
h2{{font-size:1.15rem;margin:2.6rem 0 .6rem}}
h3{{font-size:1rem;margin:0 0 .5rem}}
p{{margin:.4rem 0;max-width:46rem}}
a{{color:var(--link)}}
.soft,caption{{color:var(--soft)}}
pre,code{{font:.875rem/1.65 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}}
pre{{margin:0;overflow-x:auto;tab-size:4}}
.card{{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.1rem;margin:.9rem 0}}
.source{{display:grid;grid-template-columns:auto 1fr;gap:1.1rem}}
.source .numbers{{color:var(--soft);text-align:right;user-select:none;overflow:hidden}}
mark{{color:inherit;background:none;border-radius:.2rem}}
.d1{{background:var(--d1)}}.d2{{background:var(--d2)}}.d3{{background:var(--d3)}}.d4{{background:var(--d4)}}
.d5{{background:var(--d5);color:var(--hot)}}
.d4,.d5{{box-shadow:inset 0 -2px currentColor}}
.d0:hover{{box-shadow:inset 0 -1px var(--soft)}}
.end::before{{content:"\\21b5";font-style:normal}}
mark:focus{{outline:2px solid var(--link);outline-offset:1px}}
mark:focus::after{{content:attr(title);position:fixed;left:50%;bottom:1rem;transform:translateX(-50%);z-index:1;
width:max-content;max-width:calc(100vw - 2rem);white-space:pre-wrap;background:var(--ink);color:var(--paper);
padding:.6rem .9rem;border-radius:.5rem;font:.9rem/1.5 system-ui,sans-serif}}
.legend{{display:flex;flex-wrap:wrap;gap:.3rem .9rem;padding:0;margin:.8rem 0;list-style:none;font-size:.875rem}}
.legend mark{{display:inline-block;width:1.6rem;text-align:center;margin-right:.35rem}}
.wide{{overflow-x:auto}}
table{{border-collapse:collapse;font-size:.925rem}}
caption{{text-align:left;padding-bottom:.5rem}}
th,td{{text-align:left;padding:.3rem 1.1rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}}
th{{font-weight:600}}
th,td code,td a{{white-space:nowrap}}
td.number{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}
.chosen{{border:2px solid var(--good)}}
.tag{{display:inline-block;background:var(--good);color:var(--paper);border-radius:.3rem;padding:0 .5rem;
font-size:.85rem;margin-left:.25rem}}
.good{{color:var(--good)}}.bad{{color:var(--bad)}}
.new,.cut{{display:block}}.new{{background:var(--new)}}.cut{{background:var(--cut)}}
summary{{cursor:pointer}}
details pre{{margin-top:.7rem}}
"""
