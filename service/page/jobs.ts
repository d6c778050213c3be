// The list of jobs, newest first. The newest page follows what happens.
import { type Api, type Job, STATUSES } from './api.js';
import { button, choice, code, html } from './dom.js';
import { wait } from './output.js';
import { commandLine, duration, time } from './text.js';

const LIMIT = 25;
/** Characters of a command in the list. */
const MAX_COMMAND = 120;
/** Milliseconds between two looks. */
const PAUSE = 2000;

type Filter = Job['status'] | 'all' | 'alive';
type Choices = readonly (readonly [Filter, string])[];
const FILTERS: Choices = [['all', 'all'], ...STATUSES.map((status) => [status, status] as const)];
/** The first one is shown at first. */
const OPERATOR_FILTERS: Choices = [['alive', 'not ended'], ...FILTERS];
const WAITS = { share: 'its share', room: 'room on the host', turn: 'its turn' } as const;

/** Why it is queued. */
export function waitsFor({ waits }: Job): string | undefined {
  return waits === undefined ? undefined : WAITS[waits];
}

/** What it came to, in a word. */
export function badge({ status, reason }: Job): HTMLElement {
  const word = reason ?? status;
  const kinds: Record<string, string> = { succeeded: 'good', queued: '', starting: 'busy', running: 'busy' };
  return html('span', { class: `badge ${kinds[word] ?? 'bad'}` }, word);
}

/** How long its program has run. Undefined: it has not begun. */
export function took({ started, ended }: Job): string | undefined {
  if (started === undefined) return undefined;
  return duration((ended === undefined ? Date.now() : Date.parse(ended)) - Date.parse(started));
}

/** A command may be a whole script. */
function short(text: string): string {
  return text.length > MAX_COMMAND ? `${text.slice(0, MAX_COMMAND)}…` : text;
}

function row(job: Job): HTMLElement {
  const link = html('a', { href: `#/jobs/${job.id}` }, job.id);
  const { tenant } = job;
  const waits = waitsFor(job);
  const whose = tenant === undefined ? undefined : html('a', { href: `#/tenants/${tenant}` }, tenant);
  return html(
    'tr',
    {},
    html('th', { scope: 'row' }, link),
    html('td', { class: 'status' }, badge(job), waits && html('span', { class: 'soft' }, ` for ${waits}`)),
    whose && html('td', { class: 'whose' }, whose),
    html('td', { class: 'what' }, code(job.image), ' ', code(short(commandLine(job.command)))),
    html('td', { class: 'when' }, time(job.created)),
    html('td', { class: 'took' }, took(job) ?? ''),
  );
}

/** Shows the jobs until `signal` is aborted. */
export async function showJobs(main: HTMLElement, api: Api, signal: AbortSignal): Promise<void> {
  const filters = api.isOperator ? OPERATOR_FILTERS : FILTERS;
  let filter: Filter = api.isOperator ? 'alive' : 'all';
  /** Where the pages begin. The last one is shown. */
  const pages: (string | undefined)[] = [undefined];
  let next: string | undefined;
  let changed = new AbortController();
  const change = () => changed.abort();
  const body = html('tbody');
  const heads = ['Job', 'State', ...(api.isOperator ? ['Tenant'] : []), 'Image and command', 'Submitted', 'Ran'];
  const head = html('thead', {}, html('tr', {}, ...heads.map((text) => html('th', { scope: 'col' }, text))));
  const table = html('table', { class: 'jobs' }, head, body);
  const empty = html('p', { class: 'empty soft', hidden: '' }, 'No jobs.');
  const newer = button('Newer', () => {
    pages.pop();
    change();
  });
  const older = button('Older', () => {
    if (next === undefined) return;
    pages.push(next);
    change();
  });
  const select = choice('State', {
    ...{ words: filters, value: filter },
    onChange: (value) => {
      filter = value;
      pages.length = 1;
      change();
    },
  });
  const bar = html('div', { class: 'bar' }, html('h1', {}, api.isOperator ? 'Queue' : 'Jobs'), select);
  main.replaceChildren(
    bar,
    html('div', { class: 'card' }, table, empty),
    html('div', { class: 'bar pager' }, newer, older),
  );

  while (!signal.aborted) {
    changed = new AbortController();
    const either = AbortSignal.any([signal, changed.signal]);
    if (!document.hidden || body.childElementCount === 0) {
      const query = new URLSearchParams({ limit: String(LIMIT) });
      const before = pages.at(-1);
      if (before !== undefined) query.set('before', before);
      if (filter !== 'all') query.set('status', filter);
      try {
        const page = await api.get<{ jobs: Job[]; next?: string }>(`/jobs?${query}`, either);
        next = page.next;
        replaceRows(body, page.jobs.map(row));
        table.hidden = page.jobs.length === 0;
        empty.hidden = page.jobs.length > 0;
        newer.disabled = pages.length === 1;
        older.disabled = next === undefined;
      } catch (error) {
        if (!either.aborted) throw error;
      }
    }
    await wait(PAUSE, either);
  }
}

/** Rows that are as they were stay, with the focus that they have. */
export function replaceRows(body: HTMLElement, rows: readonly HTMLElement[]): void {
  const known = [...body.children];
  rows.forEach((made, index) => {
    const old = known[index];
    if (old === undefined) body.append(made);
    else if (!old.isEqualNode(made)) {
      const isFocused = old.contains(document.activeElement);
      old.replaceWith(made);
      if (isFocused) made.querySelector('a')?.focus();
    }
  });
  for (const old of known.slice(rows.length)) old.remove();
}
