// A plot of bars, as SVG. Its colours are the page's, so that they follow light and dark.
import { svg } from './dom.js';
import { amount } from './text.js';

/** Pixels: a plot fits a phone. */
const [WIDTH, HEIGHT] = [358, 170];
const MARGIN = { left: 40, right: 8, top: 10, bottom: 24 };
/** Names below the bars, at most. */
const NAMES = 5;

export interface Bar {
  name: string;
  value: number;
}

/** The least of 1, 2 and 5 times a power of ten that is not below the value. */
function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return (([1, 2, 5].find((step) => step * power >= value) ?? 10) as number) * power;
}

export function bars(all: readonly Bar[], label: string): SVGSVGElement {
  const most = Math.max(...all.map(({ value }) => value));
  const top = most > 0 ? nice(most) : 1;
  const y = (value: number) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const step = (WIDTH - MARGIN.left - MARGIN.right) / all.length;
  const x = (index: number) => MARGIN.left + index * step;
  const grid = (most > 0 ? [0, top / 2, top] : [0]).flatMap((value) => {
    const at = String(y(value));
    return [
      svg('line', { class: 'grid', x1: String(MARGIN.left), x2: String(WIDTH - MARGIN.right), y1: at, y2: at }),
      svg('text', { x: String(MARGIN.left - 6), y: at, dy: '.35em', 'text-anchor': 'end' }, amount(value)),
    ];
  });
  const drawn = all.map(({ name, value }, index) => {
    const height = value > 0 ? Math.max(1.5, y(0) - y(value)) : 0;
    const size = { width: String(Math.max(1, step - 2)), height: String(height), rx: '1.5' };
    const place = { x: String(x(index) + 1), y: String(y(0) - height) };
    return svg('rect', { class: 'bar', ...place, ...size }, svg('title', {}, `${name}: ${amount(value)}`));
  });
  const every = Math.ceil(all.length / NAMES);
  const names = all.flatMap(({ name }, index) => {
    // The newest has its name.
    if ((all.length - 1 - index) % every !== 0) return [];
    const isLast = index === all.length - 1;
    const place = { x: String(isLast ? WIDTH - MARGIN.right : x(index) + step / 2), y: String(HEIGHT - 6) };
    return [svg('text', { ...place, 'text-anchor': isLast ? 'end' : 'middle' }, name)];
  });
  const total = `${label}: ${
    all
      .filter(({ value }) => value > 0)
      .map(({ name, value }) => `${name} ${amount(value)}`)
      .join(', ') || 'nothing'
  }`;
  return svg(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': total },
    ...grid,
    ...drawn,
    ...names,
  );
}
