// A tenant's share, what it holds of it, and what it has used. The operator sees those of each
// tenant, and what all of them together have used.
import type { Api, Tenant, Usage } from './api.js';
import { bars } from './bars.js';
import { choice, html } from './dom.js';
import { wait } from './output.js';
import { amount, bytes } from './text.js';

/** Milliseconds between two looks. */
const PAUSE = 5000;
const HOUR = 3_600_000;
const PERIODS = {
  hour: { count: 24, length: HOUR, characters: 13, label: 'the last 24 hours' },
  day: { count: 30, length: 24 * HOUR, characters: 10, label: 'the last 30 days' },
} as const;
type Period = keyof typeof PERIODS;
const WORDS: readonly (readonly [Period, string])[] = [
  ['hour', PERIODS.hour.label],
  ['day', PERIODS.day.label],
];

export const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, count) => all + count, 0);

export function meter(name: string, held: number, most: number, show: (value: number) => string): HTMLElement {
  const text = `${show(held)} of ${show(most)}`;
  const bar = html('meter', {
    min: '0',
    max: String(Math.max(most, held, 1)),
    value: String(held),
    'aria-label': name,
  });
  return html('div', { class: 'share' }, html('span', {}, name), html('span', { class: 'soft' }, text), bar);
}

function shares({ limits, held, sandboxes, jobs }: Tenant): HTMLElement[] {
  return [
    meter('CPUs', held.cpus, limits.cpus, amount),
    meter('Memory', held.memory, limits.memory, bytes),
    meter('Disk', held.disk, limits.disk, bytes),
    meter('Sandboxes', sum(sandboxes), limits.sandboxes, String),
    meter('Jobs, with the queue', sum(jobs), limits.jobs, String),
  ];
}

/** All periods of the plot, also those in which nothing ended. */
function filled(usage: readonly Usage[], by: Period): Usage[] {
  const { count, length, characters } = PERIODS[by];
  const known = new Map(usage.map((each) => [each.period, each]));
  return Array.from({ length: count }, (_, index) => {
    const period = new Date(Date.now() - (count - 1 - index) * length).toISOString().slice(0, characters);
    return known.get(period) ?? { period, jobs: 0, succeeded: 0, sandboxes: 0, cpuSeconds: 0 };
  });
}

function plots(usage: readonly Usage[], by: Period): HTMLElement[] {
  const periods = filled(usage, by);
  const nameOf = ({ period }: Usage) => (by === 'hour' ? `${period.slice(11)}:00` : period.slice(5));
  const plot = (title: string, unit: string, of: (each: Usage) => number) => {
    const drawn = bars(
      periods.map((each) => ({ name: nameOf(each), value: of(each) })),
      `${title}, ${PERIODS[by].label}`,
    );
    return html('figure', {}, html('h3', {}, title), html('p', { class: 'soft' }, unit), drawn);
  };
  return [
    plot('CPU time', 'CPU-minutes held by what ended', ({ cpuSeconds }) => cpuSeconds / 60),
    plot('Jobs', 'ended', ({ jobs }) => jobs),
    plot('Jobs without success', 'ended, not succeeded', ({ jobs, succeeded }) => jobs - succeeded),
    plot('Sandboxes', 'ended', ({ sandboxes }) => sandboxes),
  ];
}

/** Where the API tells of a tenant. */
export interface Place {
  title: string;
  /** Undefined: of all tenants together, who have no share. */
  tenant?: string;
  usage: string;
}

/** Shows a tenant until `signal` is aborted. */
export async function showUsage(
  main: HTMLElement,
  api: Api,
  { title, tenant: path, usage: used }: Place,
  signal: AbortSignal,
): Promise<void> {
  let by: Period = 'day';
  let changed = new AbortController();
  const share = html('div', { class: 'card shares', hidden: path === undefined ? '' : undefined });
  const rate = html('p', { class: 'soft' });
  const drawn = html('div', { class: 'plots' });
  const select = choice('Period', {
    ...{ words: WORDS, value: by },
    onChange: (value) => {
      by = value;
      changed.abort();
    },
  });
  const bar = html('div', { class: 'bar' }, html('h2', {}, 'Used'), select);
  const note = html('p', { class: 'soft' }, 'Hours and days are those of UTC.');
  main.replaceChildren(html('h1', {}, title), share, rate, bar, drawn, note);
  let last = '';
  while (!signal.aborted) {
    changed = new AbortController();
    const either = AbortSignal.any([signal, changed.signal]);
    try {
      const [tenant, usage] = await Promise.all([
        path === undefined ? undefined : api.get<Tenant>(path, either),
        api.get<{ periods: Usage[] }>(`${used}?by=${by}`, either),
      ]);
      if (tenant !== undefined) {
        share.replaceChildren(...shares(tenant));
        rate.textContent = `Requests: ${tenant.limits.rate === 'none' ? 'no limit' : tenant.limits.rate}.`;
      }
      const now = JSON.stringify([by, filled(usage.periods, by)]);
      if (now !== last) drawn.replaceChildren(...plots(usage.periods, by));
      last = now;
    } catch (error) {
      if (!either.aborted) throw error;
    }
    await wait(PAUSE, either);
  }
}
