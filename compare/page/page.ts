// The report as one page: HTML with its style and its plots in it. It has no script, and loads
// nothing.
import { STYLE } from '../../page-style/index.js';
import type { LevelReport, Report } from '../report.js';
import { describeRounds, formatNumber, SURFACE_COLUMNS, surfaceCells } from '../table.js';
import { distribution, intervals, type Point, type Row, scatter } from './plots.js';

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}

/** Returns the page of a report. */
export function page(report: Report): string {
  const { image, host, levels, warnings, complete } = report;
  const command = report.command.length === 0 ? '' : ` Command: <code>${escapeHtml(report.command.join(' '))}</code>.`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Levels of isolation: ${escapeHtml(image.name)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Levels of isolation: ${escapeHtml(image.name)}</h1>
<p class="soft">${escapeHtml(host.cpu)}, ${host.cpus} CPUs, ${(host.memory / 2 ** 30).toFixed(1)} GiB; Linux ${escapeHtml(host.kernel)};
Node.js ${escapeHtml(host.node)}; tsvm ${escapeHtml(host.tsvm)}. ${[describeRounds(report).trim(), report.pinned.length === 0 ? '' : `pinned to CPU ${report.pinned.join(', ')}`, escapeHtml(report.started)].filter(Boolean).join(', ')} to ${escapeHtml(report.ended)}.${command}</p>
${complete ? '' : '<p class="warning">The comparison was ended early: this is what was done.</p>'}
${warnings.map((warning) => `<p class="warning">${escapeHtml(warning)}</p>`).join('\n')}
${plots(levels)}
${figures(levels)}
${surfacePlots(levels)}
${surfaceTable(levels)}
${probeMatrix(levels)}
${levelList(levels)}
<p class="soft">A dot is a sample; a bar across is the median. In the other plots a dot is the median, the wide line the interval
that has it with 95 percent, the thin line the range from the 5th to the 95th percentile. Scales are
logarithmic where levels differ by a factor of 20.</p>
</main>
</body>
</html>
`;
}

function measureNames(levels: readonly LevelReport[]): string[] {
  return [...new Set(levels.flatMap(({ measures }) => measures.map(({ name }) => name)))];
}

function rowsOf(levels: readonly LevelReport[], name: string): Row[] {
  return levels.flatMap((level) => {
    const measure = level.measures.find((each) => each.name === name);
    return measure === undefined ? [] : [{ level: level.name, measure }];
  });
}

function plots(levels: readonly LevelReport[]): string {
  const figures = measureNames(levels).map((name) => {
    const rows = numbered(rowsOf(levels, name));
    const { title = '', unit = '' } = rows[0]?.measure ?? {};
    const plot = name === 'start' ? distribution(rows) : intervals(rows);
    return `<figure><h3>${escapeHtml(title)}</h3><p class="soft">${unit}, less is better</p>${plot}</figure>`;
  });
  return figures.length === 0 ? '' : `<h2>Cost</h2>\n<div class="plots">${figures.join('\n')}</div>`;
}

/** Rows with names of their own: a level may be compared with itself. */
function numbered(rows: readonly Row[]): Row[] {
  return rows.map((row, index) => {
    const before = rows.slice(0, index).filter(({ level }) => level === row.level).length;
    return before === 0 ? row : { ...row, level: `${row.level} (${before + 1})` };
  });
}

function figures(levels: readonly LevelReport[]): string {
  const names = measureNames(levels);
  if (names.length === 0) return '';
  const measured = levels.filter(({ measures }) => measures.length > 0);
  const cell = (level: LevelReport, name: string) => {
    const found = level.measures.find((each) => each.name === name);
    if (found === undefined) return '<td class="none">not measured</td>';
    const [low, high] = found.interval.map(formatNumber);
    return `<td>${formatNumber(found.median)} <span class="none">(${low} to ${high})</span></td>`;
  };
  const heading = names.map((name) => {
    const unit = rowsOf(levels, name)[0]?.measure.unit ?? '';
    return `<th scope="col">${escapeHtml(name)}, ${unit}</th>`;
  });
  const rows = measured.map((level) => {
    return `<tr><th scope="row">${escapeHtml(level.name)}</th>${names.map((name) => cell(level, name)).join('')}</tr>`;
  });
  return `<h2>Figures</h2>
<p class="soft">Median, and the interval that has it with 95 percent.</p>
<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">level</th>${heading.join('')}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`;
}

/** Costs that tell levels apart. */
const AGAINST_SURFACE = ['start', 'memory', 'syscall', 'open', 'exec', 'folder-create'];

function surfacePlots(levels: readonly LevelReport[]): string {
  const figures = AGAINST_SURFACE.flatMap((name) => {
    const points: Point[] = levels.flatMap((level, index) => {
      const cost = level.measures.find((each) => each.name === name)?.median;
      const surface = level.surface?.allowed?.length;
      const isFirst = levels.findIndex((other) => other.name === level.name) === index;
      return cost === undefined || surface === undefined || !isFirst ? [] : [{ level: level.name, cost, surface }];
    });
    const { title = '', unit = '' } = rowsOf(levels, name)[0]?.measure ?? {};
    if (points.length < 2) return [];
    return [
      `<figure><h3>${escapeHtml(title)}</h3><p class="soft">${unit} across; allowed system calls of the host up</p>${scatter(points, unit)}</figure>`,
    ];
  });
  return figures.length === 0 ? '' : `<h2>Cost against surface</h2>\n<div class="plots">${figures.join('\n')}</div>`;
}

function surfaceTable(levels: readonly LevelReport[]): string {
  const rows = levels.flatMap(({ name, surface }) => {
    if (surface === undefined) return [];
    const cells = surfaceCells(surface).map((cell) => `<td>${cell}</td>`);
    return [`<tr><th scope="row">${escapeHtml(name)}</th>${cells.join('')}</tr>`];
  });
  if (rows.length === 0) return '';
  const heading = SURFACE_COLUMNS.map((title) => `<th scope="col">${title}</th>`).join('');
  return `<h2>Surface of the host</h2>
<p class="soft">allowed: system calls that the filters let through with some arguments; tried: with all arguments 0, as the kernel
judged them; made: kinds of calls under load, and their number. Then what the processes have that code in the sandbox faces:
capabilities of the host, open files of the host, namespaces of their own.</p>
<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">level</th>${heading}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`;
}

function probeMatrix(levels: readonly LevelReport[]): string {
  const probed = levels.filter(({ probes }) => probes.length > 0);
  const found = new Map(probed.flatMap(({ probes }) => probes.map(({ name, title }) => [name, title] as const)));
  if (found.size === 0) return '';
  const classes = { host: 'yes', own: 'none', closed: 'no' };
  const cell = ({ probes }: LevelReport, name: string) => {
    const probe = probes.find((each) => each.name === name);
    if (probe === undefined) return '<td class="none">no answer</td>';
    return `<td class="${classes[probe.verdict]}" title="${escapeHtml(probe.found)}">${probe.verdict}</td>`;
  };
  const heading = probed.map(({ name }) => `<th scope="col">${escapeHtml(name)}</th>`).join('');
  const rows = [...found].map(([name, title]) => {
    return `<tr><th scope="row">${escapeHtml(title)}</th>${probed.map((level) => cell(level, name)).join('')}</tr>`;
  });
  return `<h2>What a command inside sees and reaches</h2>
<p class="soft">host: the host's own; own: the sandbox's own; closed: refused.</p>
<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">probe</th>${heading}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`;
}

function levelList(levels: readonly LevelReport[]): string {
  const rows = levels.map(({ name, summary, state, reason, advice, note, version, limitsMemory, notMeasured }) => {
    const notes = [
      ...(state === 'measured' ? [] : [`${state}: ${reason}${advice === undefined ? '' : ` (${advice})`}`]),
      ...(note === undefined ? [] : [note]),
      ...notMeasured.map((each) => `${each.name} not measured: ${each.reason}`),
      ...(limitsMemory === false ? ['its memory is not limited'] : []),
      ...(version ? [version] : []),
    ];
    const text = [summary, ...notes].map(escapeHtml).join('; ');
    return `<tr><th scope="row">${escapeHtml(name)}</th><td class="text">${text}</td></tr>`;
  });
  return `<h2>Levels</h2>\n<div class="scroll" tabindex="0"><table><tbody>${rows.join('\n')}</tbody></table></div>`;
}
