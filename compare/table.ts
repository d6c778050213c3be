// The report as tables for a terminal: one for each measure, with bars.
import { printableLine } from '../printable/index.js';
import type { Changes, LevelReport, MeasureReport, Report, SurfaceReport } from './report.js';

const BAR = 24;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** Three digits: `0.123`, `12.3`, `1230`. */
export function formatNumber(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

function bar(share: number): string {
  const eighths = Math.max(1, Math.round(share * BAR * 8));
  return '█'.repeat(eighths >> 3) + (EIGHTHS[eighths & 7] ?? '');
}

/** In parentheses if it was looked for a difference, and none is shown. */
function ratio(value: number, isShown: boolean): string {
  const text = `${formatNumber(value)}x`;
  return isShown ? `${text} ` : `(${text})`;
}

interface Row {
  level: string;
  measure: MeasureReport;
}

function formatMeasure(rows: readonly Row[], width: number): string[] {
  const [first] = rows;
  if (first === undefined) return [];
  const most = Math.max(...rows.map(({ measure }) => measure.median));
  const least = first.measure.median;
  const cells = rows.map(({ measure: { median, interval, p5, p95, difference } }) => [
    formatNumber(median),
    `${formatNumber(interval[0])} to ${formatNumber(interval[1])}`,
    `${formatNumber(p5)} to ${formatNumber(p95)}`,
    least > 0 ? ratio(median / least, difference?.sign !== 0) : '',
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const { title, unit } = first.measure;
  return [
    '',
    `${title}, ${unit}`,
    ...rows.map(({ level, measure }, index) => {
      const line = (cells[index] ?? []).map((cell, column) => cell.padStart(widths[column] ?? 0)).join('   ');
      return `  ${level.padEnd(width)}   ${line}   ${bar(most > 0 ? measure.median / most : 0)}`;
    }),
  ];
}

/** Returns the tables of a report. */
export function formatTable(report: Report): string {
  const { host, image, levels, warnings, complete } = report;
  const width = Math.max(...levels.map(({ name }) => name.length));
  const names = [...new Set(levels.flatMap(({ measures }) => measures.map(({ name }) => name)))];
  const tables = names.flatMap((name) => {
    const rows = levels.flatMap((level) => {
      const measure = level.measures.find((each) => each.name === name);
      return measure === undefined ? [] : [{ level: level.name, measure }];
    });
    return formatMeasure(rows, width);
  });
  const lines = [
    `${image.name},${describeRounds(report)} on ${host.cpu}, ${host.cpus} CPUs, Linux ${host.kernel}${report.pinned.length === 0 ? '' : `, pinned to CPU ${report.pinned.join(', ')}`}`,
    ...(tables.length === 0
      ? []
      : [
          'median; 95 % interval of the median; 5th to 95th percentile; ratio to the first level,',
          'in parentheses if the rounds do not show a difference with 99 percent',
        ]),
    ...tables,
    ...formatSurface(levels, width),
    ...formatProbes(levels),
    ...notes(levels, width),
    ...(report.changes === undefined ? [] : formatChanges(report.changes)),
    ...(complete ? [] : ['', 'The comparison was ended early: this is what was done.']),
    ...warnings.map((warning) => `\nwarning: ${warning}`),
  ];
  return `${lines.map((line) => (line.startsWith('\n') ? line : printableLine(line))).join('\n')}\n`;
}

/** ` 3 rounds`, or nothing if there was none: a look at surfaces or probes has no rounds. */
export function describeRounds({ rounds }: Report): string {
  return rounds === 0 ? '' : ` ${rounds} round${rounds === 1 ? '' : 's'}`;
}

/** What of the host a level's processes may and do use: one row for each level. */
function formatSurface(levels: readonly LevelReport[], width: number): string[] {
  const rows = levels.flatMap(({ name, surface }) => (surface === undefined ? [] : [[name, ...surfaceCells(surface)]]));
  if (rows.length === 0) return [];
  const heading = ['', ...SURFACE_COLUMNS];
  const widths = heading.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  widths[0] = width;
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, column) => (column === 0 ? cell.padEnd(width) : cell.padStart(widths[column] ?? 0))).join('   ')}`;
  return ['', SURFACE_TITLE, line(heading), ...rows.map(line)];
}

export const SURFACE_TITLE = 'Surface of the host: system calls that its processes may make, and what they hold';
export const SURFACE_COLUMNS = [
  'allowed',
  'tried',
  'made',
  'calls',
  'reached',
  'capabilities',
  'files',
  'namespaces',
] as const;

/** The cells of `SURFACE_COLUMNS`. Of processes that code in the sandbox faces, the one with the most counts. */
export function surfaceCells({ allowed, tried, made, reached, processes }: SurfaceReport): string[] {
  const faces = processes.filter((each) => each.faces);
  const most = (of: (process: (typeof faces)[number]) => number) =>
    faces.length === 0 ? '-' : String(Math.max(...faces.map(of)));
  const counted = (value: number | undefined) => (value === undefined ? '-' : String(value));
  return [
    counted(allowed?.length),
    counted(tried),
    counted(made?.length),
    counted(made?.reduce((sum, { calls }) => sum + calls, 0)),
    counted(reached?.length),
    most(({ capabilities, capabilitiesIn }) => (capabilitiesIn === 'host' ? capabilities : 0)),
    most(({ files }) => files.length),
    faces.length === 0 ? '-' : String(Math.min(...faces.map(({ namespaces }) => namespaces.length))),
  ];
}

/** One row for each probe, one column for each level. */
function formatProbes(levels: readonly LevelReport[]): string[] {
  const probed = levels.filter(({ probes }) => probes.length > 0);
  const found = new Map(probed.flatMap(({ probes }) => probes.map(({ name, title }) => [name, title] as const)));
  if (found.size === 0) return [];
  const width = Math.max(...[...found.values()].map((title) => title.length));
  const row = (first: string, cells: readonly string[]) =>
    `  ${first.padEnd(width)}   ${cells.map((cell, index) => cell.padEnd(probed[index]?.name.length ?? 0)).join('   ')}`.trimEnd();
  const heading = row(
    '',
    probed.map(({ name }) => name.padEnd(6)),
  );
  const rows = [...found].map(([name, title]) =>
    row(
      title,
      probed.map(({ probes }) => (probes.find((each) => each.name === name)?.verdict ?? '-').padEnd(6)),
    ),
  );
  return ['', "What a command inside sees and reaches: the host's, its own, or nothing (closed)", heading, ...rows];
}

/** What has changed since an older report: the worse first. */
function formatChanges({ since, differences, compared, unjudged, measures, probes, absent }: Changes): string[] {
  const rows = measures.toSorted((a, b) => (b.ratio?.[0] ?? Infinity) - (a.ratio?.[0] ?? Infinity));
  const width = Math.max(0, ...[...rows, ...probes].map(({ level }) => level.length));
  const names = Math.max(0, ...[...rows, ...probes].map(({ name }) => name.length));
  const first = (level: string, name: string) => `  ${level.padEnd(width)}   ${name.padEnd(names)}`;
  return [
    '',
    `Since ${since}: ${measures.length} of ${compared} figures changed (with 99 percent each)`,
    ...rows.map(({ level, name, unit, from, to, ratio, verdict }) => {
      const range = ratio === undefined ? '' : `, ${formatNumber(ratio[0])}x to ${formatNumber(ratio[1])}x`;
      return `${first(level, name)}   ${verdict}   ${formatNumber(from)} -> ${formatNumber(to)} ${unit}${range}`;
    }),
    ...probes.map(({ level, name, from, to }) => `${first(level, name)}   ${from} -> ${to}`),
    ...(unjudged.length === 0 ? [] : [`  too few rounds to judge: ${unjudged.join(', ')}`]),
    ...(absent.length === 0 ? [] : [`  not measured any more: ${absent.join(', ')}`]),
    ...(differences.length === 0 ? [] : [`  beside the levels differs: ${differences.join(', ')}`]),
  ];
}

function notes(levels: readonly LevelReport[], width: number): string[] {
  const lines = levels.flatMap(({ name, state, reason, advice, note, notMeasured }) => [
    ...(state === 'measured' ? [] : [[name, `${state}: ${reason}${advice === undefined ? '' : ` (${advice})`}`]]),
    ...(note === undefined ? [] : [[name, note]]),
    ...notMeasured.map((each) => [name, `${each.name} not measured: ${each.reason}`]),
  ]);
  return lines.length === 0 ? [] : ['', ...lines.map(([name = '', text = '']) => `  ${name.padEnd(width)}   ${text}`)];
}
