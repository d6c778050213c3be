// Clients of tsvm serve with real machines: tsvm sandbox, at a terminal too, and the one in Python
// that docs/serve.md has.
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEBIAN, readUntil, run, TSVM, uml } from './machine.js';
import { Served } from './served.js';
import { Terminal } from './tmux.js';

const DOCS = new URL('../../docs/serve.md', import.meta.url);

let served: Served;
let key: string;
let otherKey: string;
let id: string;
let folder: string;

const env = (of = key) => ({ TSVM_KEY: of, TSVM_SERVER: served.url });
const sandbox = (words: string[], stdin?: string | Buffer, of?: string) =>
  run(uml, [TSVM, 'sandbox', ...words], { env: env(of), ...(stdin === undefined ? {} : { stdin }) });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-client-'));
  served = new Served(uml);
  [key, otherKey] = [await served.tenant('acme'), await served.tenant('other')];
  await served.start();
  const words = ['-m', '128m', '-e', 'GIVEN=a b', '--metadata', 'of=me', '--lifetime', '10m'];
  const made = await sandbox(['create', ...words, DEBIAN]);
  expect(made).toEqual({ code: 0, stdout: expect.stringMatching(/^sb-[0-9a-f]{16}\n$/), stderr: '' });
  id = made.stdout.trim();
});

afterAll(async () => {
  await served[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

test('it is made as it was asked for, and listed', async () => {
  expect((await served.call(key, 'GET', `/${id}`)).body).toMatchObject({
    ...{ memory: 128 * 2 ** 20, env: { GIVEN: 'a b' }, metadata: { of: 'me' }, lifetime: 600_000 },
  });
  expect(await sandbox(['ls', '-q', '--status', 'running'])).toEqual({ code: 0, stdout: `${id}\n`, stderr: '' });
  const { stdout } = await sandbox(['ls']);
  expect(stdout).toMatch(/^SANDBOX ID +IMAGE +STATUS +CREATED +EXPIRES\n/);
  expect(stdout).toMatch(new RegExp(`\n${id} +${DEBIAN} +running +20.*Z +20.*Z\n$`));
  expect((await sandbox(['ls', '-q'], undefined, otherKey)).stdout).toBe('');
});

test('all of it is shown, and what its machine cannot do is refused', async () => {
  const { code, stdout, stderr } = await sandbox(['show', id]);
  expect({ code, stderr, shown: JSON.parse(stdout) }).toMatchObject({
    ...{ code: 0, stderr: '', shown: { id, status: 'running', metadata: { of: 'me' } } },
  });
  expect(await sandbox(['pause', id])).toEqual({
    ...{ code: 125, stdout: '' },
    stderr: 'tsvm: a sandbox on User-Mode Linux cannot be paused: one on KVM or the emulator can\n',
  });
  expect(await sandbox(['resume', id])).toEqual({ code: 125, stdout: '', stderr: 'tsvm: the sandbox is not paused\n' });
});

test('a command has its words, streams and exit code', async () => {
  const script = 'echo "$GIVEN $MORE $PWD $(id -u)"; echo err >&2; exit 7';
  const more = ['-e', 'MORE=c', '-w', '/tmp', '-u', '65534'];
  expect(await sandbox(['exec', ...more, id, 'sh', '-c', script])).toEqual({
    ...{ code: 7, stdout: 'a b c /tmp 65534\n', stderr: 'err\n' },
  });
  const bytes = randomBytes(3_000_000);
  const hash = createHash('sha256').update(bytes).digest('hex');
  expect(await sandbox(['exec', '-i', id, 'sha256sum'], bytes)).toMatchObject({ code: 0, stdout: `${hash}  -\n` });
  expect(await sandbox(['exec', id, 'cat'], 'no input without -i')).toMatchObject({ code: 0, stdout: '' });
  expect(await sandbox(['exec', id, 'sh', '-c', 'kill -9 $$'])).toMatchObject({ code: 137 });
  expect(await sandbox(['exec', '-t', id, 'sh', '-c', 'test -t 1; stty size'])).toMatchObject({
    ...{ code: 0, stdout: '24 80\r\n' },
  });
  expect(await sandbox(['exec', '--timeout', '1s', id, 'sleep', '1000'])).toEqual({
    ...{ code: 137, stdout: '', stderr: 'tsvm: the command has timed out\n' },
  });
});

test('what is refused is told, and exits with 125', async () => {
  const refused = { code: 125, stdout: '' };
  const none = { ...refused, stderr: 'tsvm: no such sandbox\n' };
  expect(await sandbox(['exec', id, 'true'], undefined, otherKey)).toEqual(none);
  expect(await sandbox(['rm', id], undefined, otherKey)).toEqual(none);
  expect(await sandbox(['cp', `${id}:/etc`, folder], undefined, otherKey)).toEqual(none);
  expect(await sandbox(['exec', id, '/none'])).toEqual({ ...refused, stderr: expect.stringMatching(/^tsvm: .*none/) });
  expect(await sandbox(['exec', '-it', id, 'sh'])).toEqual({
    ...refused,
    stderr: expect.stringContaining('not a TTY'),
  });
  const nobody = await run(uml, [TSVM, 'sandbox', 'exec', '--server', 'http://127.0.0.1:9', id, 'true'], {
    env: env(),
  });
  expect(nobody).toEqual({ ...refused, stderr: 'tsvm: cannot reach http://127.0.0.1:9: nothing listens there\n' });
});

test('Ctrl-C goes to the command, which decides', async () => {
  const script = 'trap "echo got; exit 4" INT; echo up; while :; do sleep 0.1; done';
  const command = uml.spawn([TSVM, 'sandbox', 'exec', id, 'sh', '-c', script], { env: env() });
  await readUntil(command.stdout, 'up\n');
  command.kill('SIGINT');
  await readUntil(command.stdout, 'got\n');
  expect(await command.exit).toBe(4);
});

test('files and folders are copied in and out, to the places that Docker would give them', async () => {
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'below'), { recursive: true });
  writeFileSync(join(tree, 'below', 'a b'), 'content\n');
  chmodSync(join(tree, 'below', 'a b'), 0o750);
  const done = { code: 0, stdout: '', stderr: '' };
  // Into a directory, as another name, and what is in it.
  for (const [from, to] of [
    [tree, '/srv'],
    [tree, '/srv/other'],
    [`${tree}/.`, '/srv/other/'],
    [join(tree, 'below', 'a b'), '/srv/file'],
    [join(tree, 'below', 'a b'), '/srv/file'],
  ]) {
    expect(await sandbox(['cp', `${from}`, `${id}:${to}`])).toEqual(done);
  }
  const { stdout } = await sandbox([
    'exec',
    id,
    'sh',
    '-c',
    'cd /srv && find . -type f | sort && stat -c "%a %u" file',
  ]);
  expect(stdout).toBe('./file\n./other/below/a b\n./tree/below/a b\n750 0\n');
  expect(await sandbox(['cp', `${tree}`, `${id}:/none/`])).toMatchObject({
    ...{ code: 125, stderr: 'tsvm: no such directory: /none\n' },
  });
  const back = join(folder, 'back');
  expect(await sandbox(['cp', `${id}:/srv/other`, back])).toEqual(done);
  expect(readFileSync(join(back, 'below', 'a b'), 'utf8')).toBe('content\n');
  expect(statSync(join(back, 'below', 'a b')).mode & 0o777).toBe(0o750);
  // Over a connection that breaks off.
  for (const to of [join(folder, 'part'), '-']) {
    using way = await served.brokenWay(2000);
    expect(await sandbox(['cp', '--server', way.url, `${id}:/usr/bin`, to])).toMatchObject({
      ...{ code: 125, stderr: `tsvm: the answer of ${way.url} broke off\n` },
    });
  }
  // As a tar from stdin, and to stdout.
  const piped = `'${TSVM}' sandbox cp ${id}:/srv/tree - | '${TSVM}' sandbox cp - ${id}:/tmp`;
  expect(await run(uml, ['bash', '-o', 'pipefail', '-c', piped], { env: env() })).toEqual(done);
  expect((await sandbox(['exec', id, 'cat', '/tmp/tree/below/a b'])).stdout).toBe('content\n');
});

test('a shell at a terminal follows its size and Ctrl-C, and ends with its code', async () => {
  const exec = `TSVM_KEY=${key} TSVM_SERVER=${served.url} '${TSVM}' sandbox exec -it ${id} bash --norc`;
  await using terminal = await Terminal.open(uml, `${exec}; echo "code $?"; sleep 1000`, [80, 24]);
  await terminal.shows(/bash-5\.2#$/m);
  await terminal.type('stty size');
  await terminal.press('Enter');
  await terminal.shows(/^24 80$/m);
  await terminal.resize(100, 30);
  await terminal.shows(/^30 100$/m, async () => {
    await terminal.type('stty size');
    await terminal.press('Enter');
  });
  await terminal.type('sh -c "echo up $((6 * 7)); exec sleep 1000"');
  await terminal.press('Enter');
  await terminal.shows(/^up 42$/m);
  await terminal.press('C-c');
  await terminal.shows(/\^C\nbash-5\.2#$/m);
  await terminal.type('exit 7');
  await terminal.press('Enter');
  await terminal.shows(/^code 7$/m);
});

test('the client in Python that the documentation has does what it says there', async () => {
  const [, program = '', said = ''] =
    /```python\n(.*?)```\n\n((?: {4}[^\n]*\n)+)/s.exec(readFileSync(DOCS, 'utf8')) ?? [];
  expect(await run(uml, ['python3', '-c', program], { env: env() })).toEqual({
    ...{ code: 0, stdout: said.replace(/^ {4}/gm, ''), stderr: '' },
  });
});

test('jobs are queued by a file, all of them or none, and run as they say', async () => {
  const job = (words: string[], stdin?: string) =>
    run(uml, [TSVM, 'job', ...words], { env: env(), ...(stdin === undefined ? {} : { stdin }) });
  const jobs = [7, 0].map((code) => ({ image: DEBIAN, command: ['sh', '-c', `exit ${code}`] }));
  const all = async () => (await job(['ls', '-q'])).stdout.split('\n').filter(Boolean).sort();
  const before = await all();
  const file = join(folder, 'jobs.json');
  writeFileSync(file, JSON.stringify({ jobs }));
  const made = await job(['batch', '--idempotency-key', 'both', file]);
  expect(made).toEqual({ code: 0, stdout: expect.stringMatching(/^(job-[0-9a-f]{16}\n){2}$/), stderr: '' });
  expect(await job(['batch', '--idempotency-key', 'both', '-'], JSON.stringify({ jobs }))).toEqual(made);
  const ids = made.stdout.trim().split('\n');
  const codes = await Promise.all(ids.map((each) => job(['wait', each])));
  expect(codes.map(({ code }) => code)).toEqual([7, 0]);
  // A batch with one that is none, and a file that is none.
  expect(await job(['batch', '-'], JSON.stringify({ jobs: [...jobs, { image: DEBIAN, cpus: 'x' }] }))).toEqual({
    ...{ code: 125, stdout: '', stderr: expect.stringMatching(/^tsvm: .*jobs.*2.*cpus.*\n$/) },
  });
  expect(await job(['batch', '-'], 'no JSON')).toEqual({
    ...{ code: 125, stdout: '', stderr: expect.stringMatching(/^tsvm: cannot read stdin: .*JSON.*\n/) },
  });
  expect(await all()).toEqual([...ids, ...before].sort());
  expect(await job(['run', '--callback', 'ftp://127.0.0.1/', DEBIAN, 'true'])).toEqual({
    ...{ code: 125, stdout: '', stderr: expect.stringContaining('an http or https URL is needed') },
  });
  const hook = 'https://hook.invalid/ended';
  const { stdout } = await job(['run', '-d', '--callback', hook, DEBIAN, 'true']);
  expect(JSON.parse((await job(['show', stdout.trim()])).stdout)).toMatchObject({ callback: hook });
});

test('it ends', async () => {
  expect(await sandbox(['rm', id])).toEqual({ code: 0, stdout: `${id}\n`, stderr: '' });
  expect(await sandbox(['exec', id, 'true'])).toMatchObject({ code: 125, stderr: expect.stringContaining('tsvm: ') });
  expect((await sandbox(['ls', '-q', '--status', 'running'])).stdout).toBe('');
});
