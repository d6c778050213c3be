// The page of tenants and the operator: one HTML file, its style and its script, which the build
// makes. They are the same for everyone; what a tenant sees comes from the API, by its key.
import { readFileSync } from 'node:fs';
import type { Context, Hono } from 'hono';
import { builtFile } from '../../installation/index.js';
import { STYLE } from '../../page-style/index.js';
import type { Shared } from './audit.js';

const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tsvm serve</title>
<link rel="icon" href="page.svg" type="image/svg+xml">
<link rel="stylesheet" href="page.css">
<script type="module" src="page.js"></script>
</head>
<body>
<noscript><p>The page needs JavaScript. The API does not: see <a href="openapi.json">its document</a>.</p></noscript>
</body>
</html>
`;

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#2f6fdb"/>
<path d="M4 5h8M8 5v7" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>
`;

const OWN_STYLE = `
a { color: var(--accent); }
code, bdi { unicode-bidi: isolate; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: .8125rem; }
[hidden] { display: none !important; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
main:focus { outline: none; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 20px; padding: 10px 16px; max-width: 1180px;
  margin: 0 auto; }
.brand { font-weight: 700; }
nav { display: flex; gap: 4px; flex: 1; }
nav a { padding: 5px 10px; border-radius: 6px; color: var(--soft); text-decoration: none; }
nav a:hover { color: var(--text); }
nav a[aria-current] { color: var(--text); background: var(--card); box-shadow: inset 0 0 0 1px var(--line); }
.who { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.skip { position: absolute; }
.skip:not(:focus) { clip-path: inset(50%); width: 1px; height: 1px; min-height: 0; padding: 0; border: 0; overflow: hidden; }
body > .warning { max-width: 1148px; margin: 8px auto; }
@media (max-width: 1180px) { body > .warning { margin: 8px 16px; } }
button, select, input { font: inherit; font-size: .875rem; color: inherit; background: var(--card); padding: 6px 12px;
  border: 1px solid var(--line); border-radius: 6px; min-height: 36px; max-width: 100%; }
button { cursor: pointer; }
button:hover:not(:disabled) { border-color: var(--soft); }
button:disabled { opacity: .45; cursor: default; }
.primary { background: var(--accent); border-color: var(--accent); color: var(--page); font-weight: 600; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.bar { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 8px 16px; margin: 0 0 12px; }
.bar h1, .bar h2 { margin: 0; }
.bar:not(:first-child) { margin-top: 24px; }
.pager { justify-content: flex-end; }
.pager:not(:first-child) { margin-top: 12px; }
.field { display: flex; align-items: center; gap: 8px; color: var(--soft); font-size: .875rem; }
.field select { color: var(--text); }
.login { display: grid; gap: 10px; max-width: 26rem; padding: 20px; margin-top: 16px; }
.login label { font-weight: 600; }
.jobs .status .soft { white-space: nowrap; }
.tenants .share { min-width: 9rem; }
.empty { padding: 16px; margin: 0; }
.badge { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: .8125rem; font-weight: 600;
  color: var(--soft); box-shadow: inset 0 0 0 1px currentColor; white-space: nowrap; }
.badge.good { color: var(--good); } .badge.bad { color: var(--bad); } .badge.busy { color: var(--accent); }
.jobs th, .jobs td { text-align: left; vertical-align: baseline; }
.jobs tbody th { font-weight: 400; font-family: ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; font-size: .8125rem; }
.jobs .what { white-space: normal; overflow-wrap: anywhere; color: var(--soft); min-width: 12rem; }
.jobs .what code:first-child { color: var(--text); }
.jobs .took, .jobs thead th:last-child { text-align: right; }
@media (max-width: 720px) {
  .jobs thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  .jobs, .jobs tbody { display: block; }
  .jobs tr { display: grid; grid-template-columns: 1fr auto; gap: 2px 12px; padding: 10px 14px;
    border-top: 1px solid var(--line); }
  .jobs tr:first-child { border-top: 0; }
  .jobs tbody th, .jobs td { border: 0; padding: 0; min-width: 0; overflow-wrap: anywhere; white-space: normal; }
  .jobs .status { text-align: right; }
  .jobs .what { grid-column: 1 / -1; }
  .jobs .when { color: var(--soft); }
  .jobs .whose { grid-column: 1 / -1; }
  .jobs.tenants tr { grid-template-columns: 1fr; gap: 6px; }
}
.facts { margin: 0; padding: 14px; display: grid; gap: 12px 20px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
.facts dt { color: var(--soft); font-size: .8125rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-size: .9375rem; }
.facts .long { grid-column: 1 / -1; }
.facts code { white-space: pre-wrap; }
.labels { display: flex; flex-wrap: wrap; gap: 2px 12px; }
.back { font-size: .875rem; }
.output { margin: 0; padding: 12px 14px; min-height: 6rem; max-height: 60vh; overflow: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; background: var(--card); border: 1px solid var(--line); border-radius: 8px; line-height: 1.45; }
.output .stderr { color: var(--bad); } .output .note { color: var(--soft); font-style: italic; }
.shares { display: grid; gap: 14px 28px; padding: 16px 14px; margin-top: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); }
.share { display: grid; grid-template-columns: 1fr auto; gap: 2px 8px; font-size: .9375rem; }
.share meter { grid-column: 1 / -1; width: 100%; height: 12px; }
.share meter::-webkit-meter-bar { background: var(--line); border: 0; border-radius: 4px; height: 8px; }
.share meter::-webkit-meter-optimum-value { background: var(--accent); border-radius: 4px; }
.share meter::-moz-meter-bar { background: var(--accent); border-radius: 4px; }
.share meter { background: var(--line); border: 0; border-radius: 4px; }
figure svg { font-size: 11.5px; fill: currentColor; width: 100%; }
figure svg text { fill: var(--soft); }
figure .grid { stroke: var(--line); }
figure .bar { fill: var(--accent); }
`;

/** No script, style or request but the server's own, no form that is sent, no frame around it. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

const HEADERS = {
  'Content-Security-Policy': POLICY,
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-cache',
};

/** @param takeStranger counts a request without a key */
export function servePage(app: Hono<Shared>, takeStranger: (context: Context<Shared>) => void): void {
  const script = readFileSync(builtFile('serve-page.js'), 'utf8');
  const files = [
    ['/', 'text/html; charset=utf-8', HTML],
    ['/page.css', 'text/css; charset=utf-8', STYLE + OWN_STYLE],
    ['/page.js', 'text/javascript; charset=utf-8', script],
    ['/page.svg', 'image/svg+xml', ICON],
  ] as const;
  for (const [path, type, text] of files) {
    app.get(path, (context) => {
      takeStranger(context);
      return context.body(text, 200, { ...HEADERS, 'Content-Type': type });
    });
  }
}
