// The page of a tenant: login by key, its jobs, and what it uses. The key is in the memory of the
// tab until its end or logout.
import { Api, ApiError, type Tenant } from './api.js';
import { button, html } from './dom.js';
import { showJob } from './job.js';
import { showJobs } from './jobs.js';
import { wait } from './output.js';
import { showUsage } from './usage.js';

const STORED = 'tsvm-key';
/** Milliseconds until a view that failed is tried again. */
const PAUSE = 3000;

const header = html('header');
const problem = html('p', { class: 'warning', role: 'alert', hidden: '' });
const main = html('main', { id: 'main', tabindex: '-1' });
/** Ends what is shown now. */
let shown = new AbortController();

function tell(message: string): void {
  problem.textContent = message;
  problem.hidden = message === '';
}

const messageOf = (error: unknown): string => {
  if (error instanceof ApiError) return error.message;
  return 'The server is not reached.';
};

function showLogin(message = ''): void {
  shown.abort();
  header.replaceChildren(html('span', { class: 'brand' }, 'tsvm'));
  const input = html('input', {
    ...{ id: 'key', type: 'password', name: 'key', required: '', autocomplete: 'current-password' },
    ...{ spellcheck: 'false', autocapitalize: 'off', placeholder: 'tsvm_…' },
  });
  const submit = html('button', { type: 'submit', class: 'primary' }, 'Log in');
  const form = html('form', { class: 'card login' }, html('label', { for: 'key' }, 'API key'), input, submit);
  const note = html('p', { class: 'soft' }, 'The key stays in this tab until it is closed. ');
  note.append(html('code', {}, 'tsvm tenant key'), ' makes one.');
  form.append(note);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const key = input.value.trim();
      // What is none of these is no key, and no header either.
      if (!/^[\w-]{1,256}$/.test(key)) throw new ApiError(401, 'That is not a key.');
      const tenant = await new Api(key).get<Tenant>('/v1/tenant');
      sessionStorage.setItem(STORED, key);
      showTenant(new Api(key), tenant.name);
    } catch (error) {
      const isWrong = error instanceof ApiError && error.status === 401;
      tell(isWrong ? 'The key is wrong.' : messageOf(error));
      submit.disabled = false;
      input.focus();
    }
  });
  tell(message);
  main.replaceChildren(html('h1', {}, 'Log in'), form);
  input.focus();
}

function logOut(message = ''): void {
  window.onhashchange = null;
  sessionStorage.removeItem(STORED);
  history.replaceState(null, '', location.pathname);
  showLogin(message);
}

function showTenant(api: Api, name: string): void {
  const links = [html('a', { href: '#/jobs' }, 'Jobs'), html('a', { href: '#/usage' }, 'Usage')];
  const skip = button('Skip to content', () => main.focus(), { class: 'skip' });
  const who = html('span', { class: 'who' }, name);
  header.replaceChildren(
    skip,
    html('span', { class: 'brand' }, 'tsvm'),
    html('nav', { 'aria-label': 'Views' }, ...links),
    who,
    button('Log out', () => logOut()),
  );
  window.onhashchange = () => show();

  async function show(): Promise<void> {
    shown.abort();
    shown = new AbortController();
    const { signal } = shown;
    const [, view = 'jobs', id] = location.hash.split('/');
    for (const link of links) {
      if (link.hash === `#/${view}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    while (!signal.aborted) {
      try {
        tell('');
        if (view === 'usage') await showUsage(main, api, signal);
        else if (id !== undefined) await showJob(main, api, id, signal);
        else await showJobs(main, api, signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.status === 401) return logOut('The key is no longer valid.');
        tell(messageOf(error));
        if (error instanceof ApiError && error.status < 500 && error.status !== 429) {
          main.replaceChildren(html('p', {}, html('a', { href: '#/jobs' }, 'All jobs')));
          return;
        }
        await wait(PAUSE, signal);
      }
    }
  }
  show();
}

async function start(): Promise<void> {
  document.body.replaceChildren(header, problem, main);
  const key = sessionStorage.getItem(STORED);
  if (key === null) return showLogin();
  try {
    const api = new Api(key);
    showTenant(api, (await api.get<Tenant>('/v1/tenant')).name);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return logOut('The key is no longer valid.');
    showLogin(messageOf(error));
  }
}

start();
