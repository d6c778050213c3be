// The tenants by name, for the operator: their shares, and what they hold of them.
import type { Api, Tenant } from './api.js';
import { button, html } from './dom.js';
import { replaceRows } from './jobs.js';
import { wait } from './output.js';
import { amount, bytes } from './text.js';
import { meter, sum } from './usage.js';

const LIMIT = 25;
/** Milliseconds between two looks. */
const PAUSE = 5000;

function row({ name, limits, held, jobs, sandboxes }: Tenant): HTMLElement {
  const cell = (...of: Parameters<typeof meter>) => html('td', {}, meter(...of));
  const { queued = 0, ...placed } = jobs;
  return html(
    'tr',
    {},
    html('th', { scope: 'row' }, html('a', { href: `#/tenants/${name}` }, name)),
    html('td', { class: 'count' }, `${queued} queued, ${sum(placed)} running`),
    cell('Jobs', sum(jobs), limits.jobs, String),
    cell('Sandboxes', sum(sandboxes), limits.sandboxes, String),
    cell('CPUs', held.cpus, limits.cpus, amount),
    cell('Memory', held.memory, limits.memory, bytes),
    cell('Disk', held.disk, limits.disk, bytes),
  );
}

/** Shows the tenants until `signal` is aborted. */
export async function showTenants(main: HTMLElement, api: Api, signal: AbortSignal): Promise<void> {
  /** The names that the pages begin after. The last one is shown. */
  const pages: (string | undefined)[] = [undefined];
  let next: string | undefined;
  let changed = new AbortController();
  const body = html('tbody');
  const head = html('tr', {}, html('th', { scope: 'col' }, 'Tenant'), html('th', { scope: 'col' }, 'Queue'));
  head.append(html('th', { scope: 'colgroup', colspan: '5' }, 'Holds of its share'));
  const table = html('table', { class: 'jobs tenants' }, html('thead', {}, head), body);
  const before = button('Before', () => {
    pages.pop();
    changed.abort();
  });
  const after = button('After', () => {
    if (next === undefined) return;
    pages.push(next);
    changed.abort();
  });
  main.replaceChildren(
    html('div', { class: 'bar' }, html('h1', {}, 'Tenants')),
    html('div', { class: 'card' }, table),
    html('div', { class: 'bar pager' }, before, after),
  );
  while (!signal.aborted) {
    changed = new AbortController();
    const either = AbortSignal.any([signal, changed.signal]);
    if (!document.hidden || body.childElementCount === 0) {
      const query = new URLSearchParams({ limit: String(LIMIT) });
      const last = pages.at(-1);
      if (last !== undefined) query.set('after', last);
      try {
        const page = await api.get<{ tenants: Tenant[]; next?: string }>(`/tenants?${query}`, either);
        next = page.next;
        replaceRows(body, page.tenants.map(row));
        before.disabled = pages.length === 1;
        after.disabled = next === undefined;
      } catch (error) {
        if (!either.aborted) throw error;
      }
    }
    await wait(PAUSE, either);
  }
}
