// The style of the pages of `tsvm compare` and `tsvm serve`: light and dark as the reader's system says, and one column on a phone.
export const STYLE = `
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --text: #1c2024; --soft: #60646c; --line: #dddfe3;
  --accent: #2f6fdb; --good: #1a7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --page: #111315; --card: #1a1d20; --text: #eceef0; --soft: #a0a6ad; --line: #33383e;
    --accent: #6ea8ff; --good: #5bc78a; --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 32px 0 8px; }
h3 { font-size: 1rem; margin: 0 0 2px; }
p { margin: 4px 0; }
.soft { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--bad); padding: 8px 12px; margin: 16px 0; background: var(--card); }
.plots { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 358px), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 12px; }
figure svg { display: block; max-width: 100%; height: auto; margin: 6px auto 0; overflow: visible; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; border-top: 1px solid var(--line); white-space: nowrap; }
tr:first-child > * { border-top: 0; }
th:first-child, td.text { text-align: left; }
td.text { white-space: normal; min-width: 14em; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 600; }
.yes { color: var(--bad); } .no { color: var(--good); } .none { color: var(--soft); }
@media (max-width: 480px) { figure { padding: 12px 0; border-left: 0; border-right: 0; border-radius: 0; margin: 0 -16px; }
  figure h3, figure p { padding: 0 16px; } }
`;
