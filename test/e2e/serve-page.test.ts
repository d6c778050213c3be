// The page of tsvm serve in Chromium, with real jobs: login, the queue, a job's output as it arrives,
// its end, and what was used. What jobs say is text. It fits a phone, in light and dark.
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Browser } from '../fixtures/browser.js';
import { freePort } from '../fixtures/free-port.js';
import { send } from '../fixtures/service.js';
import { DEBIAN, uml } from './machine.js';
import { Served } from './served.js';

const HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
const served = new Served(uml);
let key: string;
let browser: Browser;

beforeAll(async () => {
  key = await served.tenant('acme');
  // It has the port again after its death.
  await served.start({}, await freePort());
  browser = await Browser.start(1280, 'light');
  browser.isExpected = (url) => url === 'about:blank' || url.startsWith(`${served.url}/`);
});

afterAll(async () => {
  await browser[Symbol.asyncDispose]();
  await served[Symbol.asyncDispose]();
});

/** Waits until an expression of the page is this. */
const shows = (expression: string, value: unknown) =>
  expect.poll(() => browser.evaluate(expression), { timeout: 200_000 }).toEqual(value);
const textOf = (selector: string) => `document.querySelector('${selector}')?.textContent`;
const click = (selector: string) => browser.evaluate(`document.querySelector('${selector}').click()`);

async function logIn(word: string): Promise<void> {
  await browser.open(`${served.url}/`);
  await shows('document.activeElement.id', 'key');
  await browser.type(word);
  await browser.press('Enter');
}

/** Nothing overflows, and the console is empty. `TSVM_TEST_PICTURES` names a folder for pictures. */
async function looksWell(name: string): Promise<void> {
  for (const [width, scheme] of [
    [390, 'light'],
    [390, 'dark'],
    [1280, 'light'],
    [1280, 'dark'],
  ] as const) {
    await browser.show(width, scheme);
    const { png, background, ...look } = await browser.look();
    expect(look).toEqual({ scrollWidth: look.width, width: look.width, overflowing: [], messages: [] });
    expect(background).toBe(scheme === 'light' ? 'rgb(251, 251, 250)' : 'rgb(17, 19, 21)');
    const { TSVM_TEST_PICTURES: folder } = process.env;
    if (folder !== undefined) writeFileSync(`${folder}/${name}-${width}-${scheme}.png`, png);
  }
  await browser.show(1280, 'light');
}

test('a wrong key is refused, and the right one opens the queue', async () => {
  await logIn(`${key.slice(0, -1)}_`);
  await shows(textOf('[role=alert]'), 'The key is wrong.');
  // The browser itself notes the answer in its console: nothing else is there.
  expect(browser.messages.splice(0)).toEqual([expect.stringContaining('status of 401')]);
  await looksWell('login');
  await logIn('two words');
  await shows(textOf('[role=alert]'), 'The key is wrong.');
  await logIn(key);
  await shows(textOf('h1'), 'Jobs');
  await shows(textOf('.who'), 'acme');
  await shows(textOf('.empty'), 'No jobs.');
  // The key is in no address and in no cookie.
  expect(await browser.evaluate('location.href + document.cookie')).not.toContain(key);
});

test('output arrives while a job runs, and what the job says is text', async () => {
  const script = `echo '${HOSTILE}'; printf '\\033[31mred\\033[0m \\342\\200\\256txt\\n'; echo bad >&2; sleep 1012`;
  const id = await served.submit(key, ['sh', '-c', script, HOSTILE], { metadata: { [HOSTILE]: HOSTILE } });
  await shows(textOf('tbody a'), id);
  await shows(textOf('tbody .badge'), 'running');
  expect(await browser.evaluate(textOf('tbody .what'))).toContain('<img src=x onerror=');
  await looksWell('jobs-one');
  await click('tbody a');
  await shows(textOf('h1'), id);
  await shows(textOf('.output'), `${HOSTILE}\nred \\u202etxt\nbad\n`);
  await shows(textOf('.output .stderr'), 'bad\n');
  expect(await browser.evaluate(textOf('.labels'))).toBe(`${HOSTILE}=${HOSTILE}`);
  expect(await browser.evaluate('document.querySelectorAll("img, script:not([src])").length')).toBe(0);
  expect(await browser.evaluate('document.title')).toBe('tsvm serve');
  await looksWell('job-running');

  // One click asks, and the second one ends the job.
  await click('.bar button');
  expect(await browser.evaluate(textOf('.bar button'))).toBe('End it now?');
  expect(await served.job(key, id)).toMatchObject({ status: 'running' });
  await click('.bar button');
  await shows(textOf('.facts .badge'), 'cancelled');
  await shows('document.querySelector(".bar button").hidden', true);
});

test('output goes on after a server that is killed, and the page holds the newest part of it', async () => {
  const script = 'seq 5000; i=0; while [ $i -lt 80 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; echo end';
  const id = await served.submit(key, ['sh', '-c', script]);
  await browser.evaluate(`location.hash = '#/jobs/${id}'`);
  const last = '(document.querySelector(".output")?.textContent ?? "").includes("line 1\\n")';
  await shows(last, true);
  const port = new URL(served.url).port;
  await served.end('SIGKILL');
  await served.start({}, Number(port));
  await shows(textOf('.facts .badge'), 'succeeded');
  // The job's record and its output come by requests of their own.
  await shows('(document.querySelector(".output")?.textContent ?? "").endsWith("\\nend\\n")', true);
  const text = await browser.evaluate<string>(textOf('.output'));
  const lines = Array.from({ length: 80 }, (_, n) => `line ${n + 1}\n`).join('');
  expect(text.endsWith(`\n5000\n${lines}end\n`)).toBe(true);
  expect(text.startsWith('1\n')).toBe(false);
  expect(await browser.evaluate('document.querySelector(".output").childElementCount')).toBe(2000);
  // The page has told of the connection: the browser notes what it could not reach.
  for (const message of browser.messages.splice(0)) expect(message).toMatch(/net::ERR_/);
});

test('the queue is filtered and paged, and what was used is drawn', async () => {
  // They end at once, and have a place in the list.
  const body = { jobs: Array.from({ length: 30 }, () => ({ image: 'nothing', memory: 128 * 2 ** 20 })) };
  expect(await send(`${served.url}/v1/jobs/batch`, { method: 'POST', key, body })).toMatchObject({ status: 201 });
  await served.submit(key, ['true'], { image: DEBIAN, cpus: 8, deadline: 3_600_000 });
  await click('nav a');
  const count = 'document.querySelectorAll("tbody tr").length';
  await shows(count, 25);
  await shows('document.querySelectorAll(".pager button")[0].disabled', true);
  await browser.evaluate('document.querySelectorAll(".pager button")[1].click()');
  await shows(count, 8);
  await browser.evaluate('document.querySelectorAll(".pager button")[0].click()');
  await shows(count, 25);
  await shows(
    '[...document.querySelectorAll("tbody .badge")].filter((each) => each.textContent === "not-started").length',
    24,
  );
  await looksWell('jobs');
  const select = 'const select = document.querySelector("select")';
  await browser.evaluate(`{ ${select}; select.value = 'queued'; select.dispatchEvent(new Event('change')); }`);
  await shows('document.querySelector("table").hidden && !document.querySelector(".empty").hidden', true);

  await click('nav a:last-child');
  await shows(textOf('h1'), 'Share and use');
  await shows('document.querySelectorAll("figure").length', 4);
  await shows('document.querySelectorAll("meter").length', 5);
  const jobs = 'document.querySelectorAll("figure svg")[1].getAttribute("aria-label")';
  await shows(`/: .* 33$/.test(${jobs})`, true);
  await looksWell('usage');
});

test('all is reached by the keyboard, and logout forgets the key', async () => {
  // Another document, so that the focus begins at its top.
  await browser.open('about:blank');
  await browser.open(`${served.url}/#/jobs`);
  await shows('document.querySelectorAll("tbody tr").length', 25);
  const reached: string[] = [];
  for (let n = 0; n < 6; n++) {
    await browser.press('Tab');
    reached.push(await browser.evaluate('document.activeElement.textContent'));
    expect(await browser.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid');
  }
  expect(reached.slice(0, 4)).toEqual(['Skip to content', 'Jobs', 'Usage', 'Log out']);
  await click('header > button:last-child');
  await shows(textOf('h1'), 'Log in');
  expect(await browser.evaluate('sessionStorage.length')).toBe(0);
  await browser.open(`${served.url}/`);
  await shows(textOf('h1'), 'Log in');
  expect(browser.messages).toEqual([]);
});

test('a key that is revoked logs out', async () => {
  const other = await served.tenant('other');
  await logIn(other);
  await shows(textOf('.who'), 'other');
  // What is no address of a job is told once, as a job that there is not.
  await browser.evaluate("location.hash = '#/jobs/%'");
  await shows(textOf('[role=alert]'), 'no such job');
  expect(browser.messages.splice(0)).toEqual([expect.stringContaining('status of 404')]);
  await browser.evaluate("location.hash = '#/jobs'");
  await shows(textOf('[role=alert]'), '');
  await served.revoke('other');
  await shows(textOf('[role=alert]'), 'The key is no longer valid.');
  expect(browser.messages.splice(0)).toEqual([expect.stringContaining('status of 401')]);
});

test('the operator sees the jobs of all tenants, why they wait, their output, shares and use', async () => {
  const beta = await served.tenant('beta', ['--cpus', '1']);
  await served.tenant('ops');
  const script = `echo '${HOSTILE}'; printf '\\342\\200\\256txt\\n'; sleep 1013`;
  const id = await served.submit(beta, ['sh', '-c', script], { metadata: { [HOSTILE]: '\u202eevil' } });
  await served.jobThatIs(beta, id, 'running');
  const waiting = await served.submit(beta, ['true']);
  await logIn(await served.key('ops', 'operator'));
  await shows(textOf('h1'), 'Queue');
  await shows(textOf('.who'), 'operator (ops)');
  const cells = 'th, .status, .whose';
  await shows(
    `[...document.querySelectorAll('tbody tr')].map((row) => [...row.querySelectorAll('${cells}')].map((each) => each.textContent).join(' '))`,
    [`${waiting} queued for its share beta`, `${id} running beta`],
  );
  await looksWell('operator-queue');
  await click(`a[href="#/jobs/${id}"]`);
  await shows(textOf('.output'), `${HOSTILE}\n\\u202etxt\n`);
  expect(await browser.evaluate(textOf('.labels'))).toBe(`${HOSTILE}=\\u202eevil`);
  expect(await browser.evaluate('getComputedStyle(document.querySelector(".labels bdi")).unicodeBidi')).toBe('isolate');
  expect(await browser.evaluate('document.querySelectorAll("img, script:not([src])").length')).toBe(0);
  expect(await browser.evaluate('document.querySelector(".bar button").hidden')).toBe(true);
  await looksWell('operator-job');

  await click('.facts a');
  await shows(textOf('h1'), 'beta');
  await shows('document.querySelectorAll("meter").length', 5);
  await shows('document.querySelectorAll("figure").length', 4);
  await looksWell('operator-tenant');
  await click('nav a:nth-child(2)');
  await shows(textOf('a[href="#/tenants/beta"]'), 'beta');
  expect(
    await browser.evaluate('document.querySelector("a[href=\'#/tenants/beta\']").closest("tr").textContent'),
  ).toContain('1 queued, 1 running');
  await looksWell('operator-tenants');

  for (const each of [waiting, id])
    expect((await served.call(beta, 'POST', `/${each}/cancel`, {}, {}, 'jobs')).status).toBe(200);
  await served.jobThatIs(beta, id, 'ended');
  await click('nav a:last-child');
  await shows(textOf('h1'), 'All tenants');
  await shows('document.querySelectorAll("figure").length', 4);
  await looksWell('operator-usage');
  expect(browser.messages).toEqual([]);
});

test('the policy of the page allows nothing but its own files', async () => {
  const answer = await fetch(`${served.url}/`);
  const policy = answer.headers.get('Content-Security-Policy') ?? '';
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|\*|https?:|data:/);
  expect(await answer.text()).not.toMatch(/<script(?![^>]* src="page\.js")|<style|style=|onclick/);
  // An answer of the API is no page.
  const api = await fetch(`${served.url}/v1/jobs`, { headers: { Authorization: `Bearer ${key}` } });
  expect(api.headers.get('Content-Security-Policy')).toBe("default-src 'none'; sandbox");
  expect(api.headers.get('X-Content-Type-Options')).toBe('nosniff');
});
