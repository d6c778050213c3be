// The page of a tenant: login by key, its jobs, and what it uses. A key of the operator shows those
// of all tenants. The key is in the memory of the tab until its end or logout.
import { Api, ApiError, type Tenant } from './api.js';
import { button, html } from './dom.js';
import { showJob } from './job.js';
import { showJobs } from './jobs.js';
import { wait } from './output.js';
import { showTenants } from './tenants.js';
import { type Place, showUsage } from './usage.js';

const STORED = 'tsvm-key';
/** Milliseconds until a view that failed is tried again. */
const PAUSE = 3000;

const VIEWS = [
  ['jobs', 'Jobs'],
  ['usage', 'Usage'],
] as const;
const OPERATOR_VIEWS = [
  ['jobs', 'Queue'],
  ['tenants', 'Tenants'],
  ['usage', 'Usage'],
] as const;
const OWN: Place = { title: 'Share and use', tenant: '/tenant', usage: '/usage' };
const ALL: Place = { title: 'All tenants', usage: '/usage' };

/** @param name of a tenant, as a link has it */
function placeOf(name: string): Place {
  const path = `/tenants/${encodeURIComponent(name)}`;
  return { title: name, tenant: path, usage: `${path}/usage` };
}

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
      await showWho(key);
      sessionStorage.setItem(STORED, key);
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

/** Shows what the key opens. @throws as `Api.get` */
async function showWho(key: string): Promise<void> {
  const { name, scope } = await new Api(key).get<Tenant>('/tenant');
  const isOperator = scope === 'operator';
  showViews(new Api(key, { isOperator }), isOperator ? `operator (${name})` : name);
}

function showViews(api: Api, name: string): void {
  const views = api.isOperator ? OPERATOR_VIEWS : VIEWS;
  const links = views.map(([view, title]) => html('a', { href: `#/${view}` }, title));
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
        if (view === 'usage') await showUsage(main, api, api.isOperator ? ALL : OWN, signal);
        else if (view === 'tenants' && id !== undefined) await showUsage(main, api, placeOf(id), signal);
        else if (view === 'tenants') await showTenants(main, api, signal);
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
    await showWho(key);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return logOut('The key is no longer valid.');
    showLogin(messageOf(error));
  }
}

start();
