// The plots of the page, as SVG. Colours are the page's own, so that they follow light and dark.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { MeasureReport } from '../report.js';

const { document } = parseHTML('<html></html>');

/** Pixels: a plot fits a phone. */
const WIDTH = 358;
const ROW = 26;
/** A scale is logarithmic if the largest value is this many times the smallest. */
const WIDE = 20;

export interface Row {
  level: string;
  measure: MeasureReport;
}

/** A scale that shows all values. Linear ones begin at 0. */
function scaleOf(values: readonly number[], label: string): Plot.ScaleOptions {
  const positive = values.filter((value) => value > 0);
  const [least, most] = [Math.min(...positive), Math.max(...positive)];
  const axis = { label, labelAnchor: 'right' as const, grid: true };
  if (positive.length < values.length || positive.length === 0 || most < WIDE * least) {
    return { ...axis, zero: true, nice: true, ticks: 4, tickFormat: tick };
  }
  return { ...axis, type: 'log', domain: [least / 1.2, most * 1.2], ticks: 4, tickFormat: tick };
}

/** `0.1`, `20`, `3k`. */
export function tick(value: number): string {
  const units = ['', 'k', 'M', 'G'];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${Number(scaled.toPrecision(2))}${units[unit]}`;
}

function draw(rows: readonly Row[], x: Plot.ScaleOptions, marks: Plot.Markish[], label: string): string {
  const longest = Math.max(...rows.map(({ level }) => level.length));
  const plot = Plot.plot({
    document: document as unknown as NonNullable<Plot.PlotOptions['document']>,
    width: WIDTH,
    height: rows.length * ROW + 48,
    marginLeft: Math.min(130, 12 + 6.6 * longest),
    marginRight: 14,
    marginTop: 6,
    marginBottom: 40,
    style: { background: 'transparent', color: 'inherit', fontSize: '11.5px', fontFamily: 'inherit' },
    ariaLabel: label,
    x,
    y: { domain: rows.map(({ level }) => level), label: null, tickSize: 0 },
    marks,
  });
  return plot.outerHTML;
}

/** Every sample of a measure, and the median of each level. */
export function distribution(rows: readonly Row[]): string {
  const unit = rows[0]?.measure.unit ?? '';
  const points = rows.flatMap(({ level, measure }) => measure.samples.map((value) => ({ level, value })));
  const medians = rows.map(({ level, measure }) => ({ level, value: measure.median }));
  const x = scaleOf(
    points.map(({ value }) => value),
    unit,
  );
  return draw(
    rows,
    x,
    [
      Plot.dot(points, { x: 'value', y: 'level', r: 3.5, fill: 'var(--accent)', fillOpacity: 0.45 }),
      Plot.tickX(medians, { x: 'value', y: 'level', stroke: 'currentColor', strokeWidth: 2, inset: 4 }),
    ],
    'each sample, and the median of each level',
  );
}

/** The median of each level, its interval, and the range from the 5th to the 95th percentile. */
export function intervals(rows: readonly Row[]): string {
  const unit = rows[0]?.measure.unit ?? '';
  const values = rows.flatMap(({ measure: { p5, p95, interval } }) => [p5, p95, ...interval]);
  const points = rows.map(({ level, measure: { median, p5, p95, interval } }) => {
    return { level, median, p5, p95, low: interval[0], high: interval[1] };
  });
  return draw(
    rows,
    scaleOf(values, unit),
    [
      Plot.ruleY(points, { x1: 'p5', x2: 'p95', y: 'level', stroke: 'currentColor', strokeOpacity: 0.45 }),
      Plot.ruleY(points, { x1: 'low', x2: 'high', y: 'level', stroke: 'var(--accent)', strokeWidth: 6 }),
      Plot.dot(points, { x: 'median', y: 'level', r: 4, fill: 'currentColor' }),
    ],
    'median, its interval, and 5th to 95th percentile of each level',
  );
}

/** A level by what it costs and by what it leaves of the host. */
export interface Point {
  level: string;
  cost: number;
  surface: number;
}

const SCATTER = 230;
/** Pixels between the middles of two labels. */
const LINE = 12;

/** Costs across, surfaces up. Labels that would cover each other, or a dot, move down. */
export function scatter(points: readonly Point[], unit: string): string {
  const x = scaleOf(
    points.map(({ cost }) => cost),
    unit,
  );
  const options: Plot.PlotOptions = {
    document: document as unknown as NonNullable<Plot.PlotOptions['document']>,
    ...{ width: WIDTH, height: SCATTER, marginLeft: 40, marginRight: 20, marginTop: 14, marginBottom: 40 },
    style: { background: 'transparent', color: 'inherit', fontSize: '11.5px', fontFamily: 'inherit' },
    ariaLabel: 'cost and allowed system calls of each level',
    x,
    y: { label: null, grid: true, zero: true, nice: true, ticks: 5 },
  };
  const dots = Plot.dot(points, { x: 'cost', y: 'surface', r: 4, fill: 'var(--accent)' });
  const bare = Plot.plot({ ...options, marks: [dots] });
  const pixel = (scale: 'x' | 'y', value: number) => Number(bare.scale(scale)?.apply(value));
  // No label covers a dot.
  const placed = points.map(({ cost, surface }) => {
    const at = pixel('x', cost);
    return { left: at - 5, right: at + 5, y: pixel('y', surface) };
  });
  const labels = points
    .toSorted((a, b) => b.surface - a.surface || a.cost - b.cost)
    .map((point) => {
      const [at, middle] = [pixel('x', point.cost), pixel('y', point.surface)];
      const width = 6.4 * point.level.length;
      const onLeft = at + 8 + width > WIDTH - 4;
      const [left, right] = onLeft ? [at - 8 - width, at - 8] : [at + 8, at + 8 + width];
      const covers = (y: number) =>
        placed.some((other) => left < other.right && right > other.left && Math.abs(y - other.y) < LINE);
      let y = middle;
      while (covers(y)) y += 1;
      placed.push({ left, right, y });
      return Plot.text([point], {
        ...{ x: 'cost', y: 'surface', text: 'level', fill: 'currentColor' },
        ...{ textAnchor: onLeft ? ('end' as const) : ('start' as const), dx: onLeft ? -8 : 8, dy: y - middle },
      });
    });
  return Plot.plot({ ...options, marks: [dots, ...labels] }).outerHTML;
}
