// A job: what is known of it, its output as it arrives, and its end.
import type { Api, Job } from './api.js';
import { button, code, html, said } from './dom.js';
import { badge, took, waitsFor } from './jobs.js';
import { Output, wait } from './output.js';
import { bytes, commandLine, time } from './text.js';

/** Milliseconds between two looks. */
const PAUSE = 2000;
/** Facts that have a row of their own. */
const LONG: readonly string[] = ['Command', 'Metadata', 'Error'];

function facts(job: Job): HTMLElement {
  const { id: _, status, attempts, retries, ended, exitCode, oomKilled, error } = job;
  const rows: [string, Node | string | undefined][] = [
    ['State', badge(job)],
    ['Waits for', waitsFor(job)],
    ['Tenant', job.tenant === undefined ? undefined : html('a', { href: `#/tenants/${job.tenant}` }, job.tenant)],
    ['Exit code', exitCode === undefined ? undefined : `${exitCode}${oomKilled ? ', for lack of memory' : ''}`],
    ['Image', code(job.image)],
    ['Submitted', time(job.created)],
    ['Ended', ended === undefined ? undefined : time(ended)],
    [status === 'ended' ? 'Ran' : 'Runs for', took(job)],
    ['Runs', `${attempts} of ${retries + 1} at most`],
    ['Machine', `CPUs ${job.cpus}, memory ${bytes(job.memory)}, disk ${bytes(job.disk)}, network ${job.network}`],
    ['Error', error === undefined ? undefined : said(error)],
    ['Command', job.command.length === 0 ? undefined : code(commandLine(job.command))],
    ['Metadata', labels(job.metadata)],
  ];
  const shown = rows.flatMap(([name, value]) => {
    if (value === undefined) return [];
    const long = LONG.includes(name) ? 'long' : undefined;
    return [html('div', { class: long }, html('dt', {}, name), html('dd', {}, value))];
  });
  return html('dl', { class: 'facts' }, ...shown);
}

function labels(metadata: Record<string, string>): HTMLElement | undefined {
  const words = Object.entries(metadata).map(([name, value]) => code(`${name}=${value}`));
  return words.length === 0 ? undefined : html('span', { class: 'labels' }, ...words);
}

/** Shows a job until `signal` is aborted. */
export async function showJob(main: HTMLElement, api: Api, id: string, signal: AbortSignal): Promise<void> {
  // The stream ends with what is shown, also if that fails.
  const gone = new AbortController();
  try {
    await show(main, api, id, AbortSignal.any([signal, gone.signal]));
  } finally {
    gone.abort();
  }
}

async function show(main: HTMLElement, api: Api, id: string, signal: AbortSignal): Promise<void> {
  const path = `/jobs/${encodeURIComponent(id)}`;
  let job = await api.get<Job>(path, signal);
  const output = new Output();
  const problem = html('p', { class: 'warning', role: 'alert', hidden: '' });
  const details = html('div', { class: 'card' });
  const end = async () => {
    try {
      update(await api.cancel(id));
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
      problem.hidden = false;
    }
  };
  // A second click ends it.
  let isAsked = false;
  const cancel = button('Cancel job', () => {
    if (isAsked) {
      cancel.disabled = true;
      end();
      return;
    }
    isAsked = true;
    cancel.textContent = 'End it now?';
  });
  cancel.addEventListener('blur', () => {
    if (cancel.disabled) return;
    isAsked = false;
    cancel.textContent = 'Cancel job';
  });
  function update(latest: Job): void {
    job = latest;
    details.replaceChildren(facts(job));
    cancel.hidden = api.isOperator || job.status === 'ended';
  }
  update(job);
  main.replaceChildren(
    html('p', { class: 'back' }, html('a', { href: '#/jobs' }, 'All jobs')),
    html('div', { class: 'bar' }, html('h1', {}, job.id), cancel),
    problem,
    details,
    html('div', { class: 'bar' }, html('h2', {}, 'Output'), output.state),
    output.element,
  );
  const ended = output.follow(api, id, signal);
  // A failure is told once the loop ends.
  ended.then(
    (latest) => latest !== undefined && update(latest),
    () => {},
  );
  const isOver = ended.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([isOver, wait(PAUSE, signal).then(() => false)]))) {
    if (!document.hidden) update(await api.get<Job>(path, signal));
  }
  await ended;
}
