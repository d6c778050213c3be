// tsvm serve with real machines: sandboxes take commands, end as they should, outlive the server, and
// a server that is killed at any moment leaves nothing behind that the next one does not know.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import { DEBIAN, fastestAndUml, run, TSVM, uml } from './machine.js';
import { list } from './own-home.js';
import { Served } from './served.js';

test.each(fastestAndUml)('$name: a sandbox takes commands until it is stopped', async (machine) => {
  await using served = new Served(machine);
  const key = await served.tenant('acme');
  await served.start();
  const id = await served.create(key, { env: { NAME: 'it' }, metadata: { of: 'me' } });
  const command = ['sh', '-c', 'echo "$NAME $HOW $(cat)"; pwd; id -u; echo no >&2; exit 3'];
  const more = { env: { HOW: 'is' }, stdin: 'näme', cwd: '/usr', user: '1000' };
  const { accelerator } = Container.find(served.home('acme'), id).state;
  expect(machine.name).toBe(`this machine by ${accelerator}`);
  expect(await served.exec(key, id, command, more)).toMatchObject({
    status: 200,
    body: { exitCode: 3, stdout: 'it is näme\n/usr\n1000\n', stderr: 'no\n', truncated: false, timedOut: false },
  });
  // What one command writes, the next one reads.
  await served.exec(key, id, ['sh', '-c', 'echo kept > /root/file']);
  expect(await served.exec(key, id, ['cat', '/root/file'])).toMatchObject({ body: { stdout: 'kept\n' } });
  expect(await served.exec(key, id, ['nothing'])).toMatchObject({ status: 400, body: { code: 'no-command' } });
  expect((await served.call(key, 'GET', '')).body.sandboxes).toMatchObject([{ id, metadata: { of: 'me' } }]);
  expect((await served.call(key, 'DELETE', `/${id}`)).status).toBe(204);
  expect(served.left('acme')).toEqual([]);
  expect((await served.call(key, 'GET', `/${id}`)).body).toMatchObject({ status: 'ended', reason: 'stopped' });
  expect(await served.exec(key, id, ['true'])).toMatchObject({ status: 409, body: { code: 'not-running' } });
  expect((await served.call(key, 'DELETE', `/${id}`)).status).toBe(204);
  expect(await served.end('SIGTERM')).toBe(0);
});

test('secrets reach jobs and sandboxes as they are when these start, and lie nowhere as they are', async () => {
  await using served = new Served(uml);
  const key = await served.tenant('acme');
  const [first, second] = ['the value of the first run', 'the value of the second run'];
  const set = (value: string) => {
    const words = ['tenant', 'secret', '--data', served.data, 'set', 'acme', 'TOKEN'];
    return run(uml, [TSVM, ...words], { stdin: value });
  };
  expect(await set(first)).toMatchObject({ code: 0, stdout: 'TOKEN\n', stderr: '' });
  await served.start();
  const secrets = [
    { name: 'TOKEN', env: 'API_TOKEN' },
    { name: 'TOKEN', file: '/run/secrets/token' },
  ];
  const show = 'printf %s "$API_TOKEN" | sha256sum; sha256sum < /run/secrets/token';
  const shown = (value: string) => `${createHash('sha256').update(value).digest('hex')}  -\n`.repeat(2);

  const sandbox = await served.create(key, { secrets });
  expect((await served.exec(key, sandbox, ['sh', '-c', show])).body).toMatchObject({ stdout: shown(first) });
  const others = await served.exec(key, sandbox, ['cat', '/run/secrets/token'], { user: '1000', env: { A: 'b' } });
  expect(others.body).toMatchObject({ stdout: first, exitCode: 0 });
  const job = await served.submit(key, ['sh', '-c', `${show}; exec sleep 1006`], { secrets, retries: 1 });
  await served.jobThatIs(key, job, 'running');
  const logged = async () => (await served.output(key, job)).map(({ log }) => log).join('');
  while ((await logged()) !== shown(first)) await sleep(50);

  const container = Container.find(served.home('acme'), `${job}-1`);
  const told = [container.describe(), container.config, container.state, await served.job(key, job)];
  expect(JSON.stringify(told)).not.toContain(first);
  expect(JSON.stringify(told)).toContain('API_TOKEN');
  const stderr = text(served.stderr);
  await served.end('SIGKILL');
  expect(await set(second)).toMatchObject({ code: 0 });
  await served.start();
  process.kill(container.state.machinePid!, 'SIGKILL');
  while ((await served.job(key, job)).attempts < 2) await sleep(50);
  await served.jobThatIs(key, job, 'running');
  while ((await logged()) !== shown(second)) await sleep(50);

  const flags = [
    '--secret',
    'source=TOKEN,env=API_TOKEN',
    '--secret',
    'source=TOKEN,target=token',
    '--secret',
    'TOKEN',
  ];
  const same = `${show}; cmp /run/secrets/token /run/secrets/TOKEN`;
  const client = await served.client(key, ['run', '-m', '128m', ...flags, DEBIAN, 'sh', '-c', same]);
  expect(client).toMatchObject({ code: 0, stdout: shown(second), stderr: '' });
  const wrong = await served.client(key, ['run', '--secret', 'source=TOKEN,env=A,target=b', DEBIAN]);
  expect([wrong.code, wrong.stderr.includes('for --secret: expected NAME')]).toEqual([125, true]);

  const lacking = [{ name: 'NONE', env: 'X' }];
  const failed = await served.submit(key, ['true'], { secrets: lacking });
  const error = 'the tenant has no secret NONE';
  expect(await served.jobThatIs(key, failed, 'ended')).toMatchObject({ reason: 'not-started', error, attempts: 1 });
  const refused = await served.call(key, 'POST', '', { image: DEBIAN, secrets: lacking });
  expect(refused).toMatchObject({ status: 400, body: { code: 'no-secret', detail: error } });

  const searched = await run(uml, ['grep', '-rlaF', '-f', '-', served.data], { stdin: 'API_TOKEN' });
  expect(searched.stdout).toContain('service.db');
  for (const value of [first, second, Buffer.from(first).toString('base64')]) {
    // The pattern comes by stdin, so this search is none of what is found.
    expect((await run(uml, ['grep', '-rlaF', '-f', '-', served.data], { stdin: value })).stdout).toBe('');
    // What the processes of the host were started with.
    const seen = list('/proc').filter((pid) =>
      ['cmdline', 'environ'].some((name) => says(`/proc/${pid}/${name}`, value)),
    );
    expect(seen).toEqual([]);
  }
  await served.call(key, 'POST', `/${job}/cancel`, undefined, {}, 'jobs');
  await served.jobThatIs(key, job, 'ended');
  await served.call(key, 'DELETE', `/${sandbox}`);
  const rest = text(served.stderr);
  await served.end('SIGTERM');
  expect(`${await stderr}${await rest}`).not.toContain('the value of');
});

/** Whether a file has a text. One that is gone or another's has none. */
function says(path: string, value: string): boolean {
  try {
    return readFileSync(path, 'latin1').includes(value);
  } catch {
    return false;
  }
}

test('the administrator is told once that there is no KVM', async () => {
  await using served = new Served(uml);
  const key = await served.tenant('acme');
  await served.start({ TSVM_ACCEL: 'auto' });
  const ids = [await served.create(key), await served.create(key)];
  const { accelerator } = Container.find(served.home('acme'), ids[0]!).state;
  for (const id of ids) await served.call(key, 'DELETE', `/${id}`);
  const said = text(served.stderr);
  await served.end('SIGTERM');
  const warning = `tsvm: warning: sandboxes run on ${accelerator}, a weaker wall than KVM between tenants`;
  expect((await said).split(warning).length - 1).toBe(accelerator === 'kvm' ? 0 : 1);
});

describe('one server', () => {
  const served = new Served(uml);
  let key: string;
  let otherKey: string;
  let id: string;

  beforeAll(async () => {
    key = await served.tenant('acme');
    otherKey = await served.tenant('other');
    await served.start();
    id = await served.create(key);
  });

  afterAll(() => served[Symbol.asyncDispose]());

  test('an image that the tenant does not have is none, and leaves a record alone', async () => {
    const answer = await served.call(key, 'POST', '', { image: 'nothing' });
    expect(answer).toMatchObject({ status: 400, body: { code: 'no-image' } });
    expect((await served.call(key, 'GET', '?limit=1')).body.sandboxes).toMatchObject([
      { status: 'ended', reason: 'failed', error: 'no such image' },
    ]);
  });

  test('another tenant gets the answers of an ID that does not exist', async () => {
    for (const [method, path, body] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/exec', { command: ['true'] }],
      ['GET', '/files?path=/etc'],
      ['PUT', '/files?path=/etc'],
    ] as const) {
      const answers = await Promise.all(
        [id, 'sb-0000000000000000'].map((each) => served.call(otherKey, method, `/${each}${path}`, body)),
      );
      expect(answers[0]?.status).toBe(404);
      expect(answers[0]?.body).toEqual(answers[1]?.body);
    }
    expect((await served.call(otherKey, 'GET', '')).body.sandboxes).toEqual([]);
    expect((await served.exec(key, id, ['true'])).status).toBe(200);
  });

  test('of an output without an end, the first part is kept', async () => {
    const { body } = await served.exec(key, id, ['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" x; echo end >&2']);
    expect(body).toMatchObject({ exitCode: 0, stderr: 'end\n', truncated: true, timedOut: false });
    expect(body.stdout).toBe('x'.repeat(2 ** 20));
  });

  /** Whether a program with these words runs in the sandbox. */
  const runs = async (words: string) => {
    const look = `for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2> /dev/null`;
    const { body } = await served.exec(key, id, ['sh', '-c', look]);
    return body.stdout.split('\n').some((line) => line.startsWith(words));
  };

  test('a command is killed at its timeout, and its output so far is told', async () => {
    const command = ['sh', '-c', 'echo begun; exec sleep 1001'];
    // On a busy host it may be over before the program begins.
    for (let timeout = 3000, said = ''; said === ''; timeout *= 2) {
      const { status, body } = await served.exec(key, id, command, { timeout });
      const stdout = expect.stringMatching(/^(begun\n)?$/);
      expect({ status, body }).toMatchObject({ status: 200, body: { exitCode: 137, stdout, timedOut: true } });
      said = body.stdout;
    }
    // The server waits two seconds for the end of what it kills.
    await expect.poll(() => runs('sleep 1001')).toBe(false);
  });

  test('a command whose caller goes away is killed', async () => {
    const caller = new AbortController();
    const abandoned = served.abandon(key, `/${id}/exec`, { command: ['sleep', '1002'] }, caller.signal);
    while (!(await runs('sleep 1002'))) await sleep(50);
    caller.abort();
    await abandoned;
    while (await runs('sleep 1002')) await sleep(50);
  });

  test('files go in and out as tar archives', async () => {
    const folder = mkdtempSync(join(served.data, 'files-'));
    mkdirSync(join(folder, 'sent'));
    writeFileSync(join(folder, 'sent/bytes'), Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
    symlinkSync('/etc/passwd', join(folder, 'sent/link'));
    const archive = execFileSync('tar', ['-c', '-C', folder, 'sent'], { maxBuffer: 2 ** 20 });
    const put = await served.fetch(key, `/${id}/files?path=/root`, { method: 'PUT', body: archive });
    expect([put.status, await put.text()]).toEqual([204, '']);
    expect((await served.exec(key, id, ['sh', '-c', 'stat -c %u:%s /root/sent/bytes'])).body.stdout).toBe('0:256\n');
    const got = await served.fetch(key, `/${id}/files?path=/root/sent`);
    expect([got.status, got.headers.get('Content-Type')]).toEqual([200, 'application/x-tar']);
    const back = mkdtempSync(join(served.data, 'back-'));
    execFileSync('tar', ['-x', '-C', back], { input: Buffer.from(await got.arrayBuffer()) });
    expect(readFileSync(join(back, 'sent/bytes'))).toEqual(readFileSync(join(folder, 'sent/bytes')));
    // It is a link of the sandbox, and nothing of the host.
    expect(readlinkSync(join(back, 'sent/link'))).toBe('/etc/passwd');
  });

  test.each([
    ['a file that there is not', 'GET', '/nothing', undefined, 'no-file'],
    ['no directory', 'PUT', '/nothing', '', 'no-file'],
    ['no archive', 'PUT', '/root', 'x'.repeat(10_000), 'files'],
  ])('%s is refused', async (_name, method, path, body, code) => {
    const request = body === undefined ? { method } : { method, body };
    const answer = await served.fetch(key, `/${id}/files?path=${path}`, request);
    expect([answer.status, await answer.json()]).toMatchObject([400, { code }]);
  });

  test('an archive breaks off if its machine ends, and is not taken for whole', async () => {
    const broken = await served.create(key);
    await served.exec(key, broken, ['truncate', '-s', '500M', '/root/large']);
    const answer = await served.fetch(key, `/${broken}/files?path=/root`);
    const reader = answer.body!.getReader();
    expect((await reader.read()).done).toBe(false);
    process.kill(Container.find(served.home('acme'), broken).state.machinePid!, 'SIGKILL');
    const rest = (async () => {
      while (!(await reader.read()).done);
    })();
    await expect(rest).rejects.toThrow();
    expect(await served.ended(key, broken)).toMatchObject({ reason: 'failed' });
  });

  test('a sandbox ends with its lifetime', async () => {
    const short = await served.create(key, { lifetime: 1000 });
    expect(await served.ended(key, short)).toMatchObject({ reason: 'expired' });
    expect(served.left('acme').filter((name) => name === short)).toEqual([]);
  });

  test('one whose machine is killed has failed, and gives its share back', async () => {
    const killed = await served.create(key);
    process.kill(Container.find(served.home('acme'), killed).state.machinePid!, 'SIGKILL');
    expect(await served.ended(key, killed)).toMatchObject({ reason: 'failed', error: 'its machine ended' });
    expect(served.left('acme').filter((name) => name === killed)).toEqual([]);
  });

  test('a second server on the same folder is refused', async () => {
    const second = await run(uml, [TSVM, 'serve', '--data', served.data, '--listen', '127.0.0.1:0']);
    expect(second).toMatchObject({ code: 125, stderr: `tsvm: another tsvm serve uses ${served.data}\n` });
  });

  test('a server that is killed loses no sandbox, and the next one ends what was starting', async () => {
    const newest = async () => (await served.call(otherKey, 'GET', '?limit=1')).body.sandboxes[0];
    const delays = [undefined, 300, 1500];
    for (const delay of delays) {
      const before = (await newest())?.id;
      const spec = { image: DEBIAN, memory: 128 * 2 ** 20 };
      const abandoned = served.abandon(otherKey, '', spec, AbortSignal.timeout(60_000));
      if (delay !== undefined) await sleep(delay);
      else while ((await newest())?.id === before);
      await served.end('SIGKILL');
      await abandoned;
      await served.start();
      const record = await newest();
      // A busy host may have let it start before the kill: that is one of the others.
      if (delay === undefined && record?.status !== 'ended') delays.push(undefined);
      if (record?.status === 'running') expect((await served.exec(otherKey, record.id, ['true'])).status).toBe(200);
      else expect(record).toMatchObject({ reason: 'failed', error: 'the server ended while it started' });
      const alive = (await served.call(otherKey, 'GET', '?status=running')).body.sandboxes.map((each) => each.id);
      expect([...new Set(served.left('other'))].filter((name) => name.startsWith('sb-')).sort()).toEqual(alive.sort());
      expect((await served.exec(key, id, ['echo', 'here'])).body).toMatchObject({ stdout: 'here\n' });
    }
  });

  test('what ends while no server runs is told by the next one', async () => {
    const [ends, expires] = [await served.create(key), await served.create(key, { lifetime: 1500 })];
    expect(await served.end('SIGTERM')).toBe(0);
    await Container.find(served.home('acme'), ends).stop({ timeout: 0 });
    await sleep(1500);
    await served.start();
    expect(await served.ended(key, ends)).toMatchObject({ reason: 'failed', error: 'it ended while no server ran' });
    expect(await served.ended(key, expires)).toMatchObject({ reason: 'expired' });
    expect((await served.exec(key, id, ['echo', 'here'])).body).toMatchObject({ stdout: 'here\n' });
  });

  /** How often the program of each job has begun, by a line that it writes first. */
  const begins = (lines: { log: string }[]) => lines.filter(({ log }) => log === 'begun\n').length;

  test('a job runs to its end, and its output and exit code are kept', async () => {
    const command = ['sh', '-c', 'echo begun; echo "$WORD" >&2; id -u; pwd; exit 3'];
    const more = { env: { WORD: 'wörd' }, user: '1000', cwd: '/usr', metadata: { of: 'me' } };
    const once = { 'Idempotency-Key': 'one' };
    const ended = await served.submit(key, command, more, once);
    expect(await served.jobThatIs(key, ended, 'ended')).toMatchObject({
      ...{ reason: 'failed', exitCode: 3, attempts: 1, metadata: { of: 'me' } },
    });
    expect(await served.submit(key, command, more, once)).toBe(ended);
    const lines = await served.output(key, ended);
    const of = (name: string) => lines.filter(({ stream }) => stream === name).map(({ log }) => log);
    expect([of('stdout'), of('stderr')]).toEqual([['begun\n', '1000\n', '/usr\n'], ['wörd\n']]);
    expect(served.left('acme').filter((name) => name.startsWith('job-'))).toEqual([]);
  });

  test('a job reads its input and files, and leaves files, whenever the server is killed', async () => {
    const folder = mkdtempSync(join(served.data, 'in-'));
    mkdirSync(join(folder, 'app'));
    writeFileSync(join(folder, 'app/word'), 'file\n');
    const archive = execFileSync('tar', ['-c', '-C', folder, 'app']);
    // Later than its program has begun, so that a server is killed while it reads.
    const script = 'cat; cat word; mkdir out; cp word out; echo made > out/new; sleep 1; exit 3';
    const more = {
      stdin: 'input\n',
      files: { base64: archive.toString('base64') },
      ...{ cwd: '/app', outputs: '/app/out' },
    };
    for (const delay of [undefined, 300, 2500]) {
      const id = await served.submit(key, ['sh', '-c', script], more);
      if (delay !== undefined) {
        await sleep(delay);
        await served.end('SIGKILL');
        await served.start();
      }
      expect(await served.jobThatIs(key, id, 'ended')).toMatchObject({ reason: 'failed', exitCode: 3, attempts: 1 });
      expect((await served.output(key, id)).map(({ log }) => log)).toEqual(['input\n', 'file\n']);
      const to = mkdtempSync(join(served.data, 'out-'));
      expect(await served.client(key, ['cp', id, to])).toMatchObject({ code: 0, stderr: '' });
      expect([readFileSync(join(to, 'out/word'), 'utf8'), readFileSync(join(to, 'out/new'), 'utf8')]).toEqual([
        'file\n',
        'made\n',
      ]);
      expect(await served.client(otherKey, ['cp', id, to])).toMatchObject({ code: 125, stderr: 'tsvm: no such job\n' });
      expect(await served.client(key, ['rm', id])).toMatchObject({ code: 0, stdout: `${id}\n` });
      expect(list(`${served.data}/files/acme`)).toEqual([]);
    }
  });

  test('an archive that is none, and outputs that there are not, are told', async () => {
    const broken = await served.submit(key, ['true'], {
      files: { base64: Buffer.alloc(2000, 'x').toString('base64') },
    });
    expect(await served.jobThatIs(key, broken, 'ended')).toMatchObject({ reason: 'not-started' });
    const nowhere = await served.submit(key, ['true'], { files: { base64: '' }, filesPath: '/nothing' });
    expect(await served.jobThatIs(key, nowhere, 'ended')).toMatchObject({
      ...{ reason: 'not-started', error: expect.stringContaining('/nothing') },
    });
    const without = await served.submit(key, ['true'], { outputs: '/nothing' });
    expect(await served.jobThatIs(key, without, 'ended')).toMatchObject({
      reason: 'succeeded',
      leftError: expect.stringContaining('/nothing'),
    });
  });

  test('tsvm job run sends stdin and files', async () => {
    const folder = mkdtempSync(join(served.data, 'sent-'));
    writeFileSync(join(folder, 'word'), 'file\n');
    const words = ['-m', '128m', '-i', '--file', `${folder}:/srv/in`, DEBIAN, 'sh', '-c', 'cat - /srv/in/word'];
    expect(await served.client(key, ['run', ...words], 'input\n')).toMatchObject({ code: 0, stdout: 'input\nfile\n' });
  });

  test('one whose image or program there is not never starts', async () => {
    const jobs = [await served.submit(key, [], { image: 'nothing' }), await served.submit(key, ['nothing'])];
    for (const each of jobs) {
      expect(await served.jobThatIs(key, each, 'ended')).toMatchObject({ reason: 'not-started', attempts: 1 });
    }
  });

  test('a job runs again as often as it may, then its timeout is its end', async () => {
    const command = ['sh', '-c', 'echo begun; exec sleep 1003'];
    // On a busy host it may be over before the program begins.
    for (let timeout = 3000, begun = 0; begun === 0; timeout *= 2) {
      const slow = await served.submit(key, command, { timeout, retries: 1 });
      expect(await served.jobThatIs(key, slow, 'ended')).toMatchObject({
        reason: 'timed-out',
        attempts: 2,
        exitCode: 124,
      });
      // The output is that of the last run.
      begun = begins(await served.output(key, slow));
      expect(begun).toBeLessThan(2);
    }
  });

  test('a job whose machine is killed is lost', async () => {
    const lost = await served.submit(key, ['sleep', '1004']);
    await served.jobThatIs(key, lost, 'running');
    process.kill(Container.find(served.home('acme'), `${lost}-1`).state.machinePid!, 'SIGKILL');
    expect(await served.jobThatIs(key, lost, 'ended')).toMatchObject({ reason: 'lost', error: 'its machine ended' });
  });

  test('of an output without an end, the newest part is kept', async () => {
    const flood = await served.submit(key, ['sh', '-c', 'seq 200000; echo end']);
    expect(await served.jobThatIs(key, flood, 'ended')).toMatchObject({ reason: 'succeeded', truncated: true });
    const lines = await served.output(key, flood);
    expect(lines.map(({ log }) => log).slice(-2)).toEqual(['200000\n', 'end\n']);
    expect(JSON.stringify(lines).length).toBeLessThan(1.2 * 2 ** 20);
  });

  test('a server that is killed loses no job, and no program of one begins twice', async () => {
    const command = (seconds: number) => ['sh', '-c', `echo begun; sleep ${seconds}; echo done`];
    const held = await served.submit(key, command(1005));
    await served.jobThatIs(key, held, 'running');
    while (begins(await served.output(key, held)) === 0) await sleep(50);
    for (const delay of [0, 400, 1500]) {
      const id = await served.submit(key, command(0));
      await sleep(delay);
      await served.end('SIGKILL');
      await served.start();
      expect(await served.jobThatIs(key, id, 'ended')).toMatchObject({ reason: 'succeeded', attempts: 1 });
      const lines = await served.output(key, id);
      expect(lines.map(({ log }) => log)).toEqual(['begun\n', 'done\n']);
    }
    expect(await served.job(key, held)).toMatchObject({ status: 'running', attempts: 1 });
    expect(begins(await served.output(key, held))).toBe(1);
    // What ends, and what is cancelled, while no server runs.
    await served.end('SIGKILL');
    await Container.find(served.home('acme'), `${held}-1`).signal('SIGKILL');
    await served.start();
    expect(await served.jobThatIs(key, held, 'ended')).toMatchObject({ reason: 'failed', exitCode: 137 });
    expect(served.left('acme').filter((name) => name.startsWith('job-'))).toEqual([]);
  });

  test('tsvm job logs -f goes on after connections that break off and a server that is killed', async () => {
    const command = ['sh', '-c', 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.1; done'];
    const id = await served.submit(key, command);
    using way = await served.brokenWay(1500);
    const following = served.client(key, ['logs', '-f', id], undefined, way.url);
    await served.jobThatIs(key, id, 'running');
    await served.end('SIGKILL');
    await served.start();
    const lines = Array.from({ length: 60 }, (_, n) => `line ${n + 1}\n`).join('');
    expect(await following).toMatchObject({ code: 0, stdout: lines, stderr: '' });
    expect(way.connections()).toBeGreaterThan(3);
  });

  test('tsvm job runs, lists, shows, follows and cancels', async () => {
    const words = ['-m', '128m', DEBIAN, 'sh', '-c', 'echo out; echo err >&2; exit 7'];
    expect(await served.client(key, ['run', ...words])).toMatchObject({ code: 7, stdout: 'out\n', stderr: 'err\n' });
    const detached = await served.client(key, ['run', '-d', '-m', '128m', DEBIAN, 'sh', '-c', 'echo on; sleep 1006']);
    const id = detached.stdout.trim();
    await served.jobThatIs(key, id, 'running');
    while ((await served.output(key, id)).length === 0) await sleep(50);
    const following = served.client(key, ['logs', '-f', id]);
    expect((await served.client(key, ['ls', '-q', '--status', 'running'])).stdout).toBe(`${id}\n`);
    expect(await served.client(otherKey, ['show', id])).toMatchObject({ code: 125, stderr: 'tsvm: no such job\n' });
    expect(await served.client(key, ['cancel', id])).toMatchObject({ code: 0, stdout: `${id}\n` });
    expect(await following).toMatchObject({ code: 0, stdout: 'on\n' });
    expect(await served.client(key, ['wait', id])).toMatchObject({
      code: 125,
      stderr: 'tsvm: the job was cancelled\n',
    });
    expect(JSON.parse((await served.client(key, ['show', id])).stdout)).toMatchObject({ id, reason: 'cancelled' });
  });
});
