// Proves that the real agent starts a process as OCI runtimes ask for it: in a root that is a folder of
// the host, with exactly the ids, capabilities, environment and mask of the request.
import { randomInt } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ContainerRequest, HostFrame, ProcessSpec } from '../../../sandbox/agent/protocol.js';
import { AgentUnderTest, buildAgent } from './agent-under-test.js';
import { populate } from './container-image.js';

/** Also in the name of its cgroup, which agents under test share. */
const BOX = randomInt(1, 2 ** 31);
const SHARE = 7;

let directory: string;
let root: string;
let agent: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agent-oci-'));
  root = join(directory, 'root');
  mkdirSync(root);
  populate(root);
  agent = buildAgent();
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Boots an agent whose machine has the root as its share. */
async function boot(): Promise<AgentUnderTest> {
  const session = new AgentUnderTest();
  await session.boot(agent);
  session.inside('mkdir', '-p', `/run/shares/${SHARE}`);
  session.inside('mount', '--bind', root, `/run/shares/${SHARE}`);
  session.send({ type: 'machine', request: 1 });
  return session;
}

function container(more: Partial<ContainerRequest> = {}): HostFrame {
  return { type: 'container', request: 2, id: BOX, hostname: 'box', root: { share: SHARE }, ...more };
}

async function run(process: Partial<ProcessSpec>, more: Partial<ContainerRequest> = {}): Promise<string> {
  await using session = await boot();
  session.send(container(more));
  session.send({ type: 'process', request: 3, container: BOX, id: 1, argv: ['true'], ...process });
  const [stdout, stderr] = await Promise.all([session.output(1, 'stdout'), session.output(1, 'stderr')]);
  expect(stderr).toBe('');
  return stdout;
}

const PATH = 'PATH=/bin';
const shell = (script: string, process: Partial<ProcessSpec> = {}, more: Partial<ContainerRequest> = {}) =>
  run({ argv: ['sh', '-c', script], env: [PATH], exact: true, user: '0:0', ...process }, more);

test('a container writes straight to a root that is shared, and is removed from it', async () => {
  await using session = await boot();
  session.send(container());
  const script = 'cat /etc/image-file; echo made >/opt/made; chmod u+s /opt/made; exit 4';
  session.send({ type: 'process', request: 3, container: BOX, id: 1, argv: ['sh', '-c', script] });
  expect(await session.output(1, 'stdout')).toBe('from the image\n');
  expect(await session.exited(1)).toMatchObject({ code: 4 });
  expect(readFileSync(join(root, 'opt/made'), 'utf8')).toBe('made\n');
  expect(statSync(join(root, 'opt/made')).mode & 0o7777).toBe(0o4644);
  session.send({ type: 'remove', request: 4, container: BOX });
  expect(await session.answer(4)).toMatchObject({ type: 'done' });
  expect(session.inside('ls', '-A', '/run/containers')).toBe('');
  expect(existsSync(join(root, 'bin/sh'))).toBe(true);
});

test('a shared root can be read-only, and opens no device node of its own', async () => {
  expect(await shell('touch /opt/x 2>&1; echo $?', {}, { root: { share: SHARE, readonly: true } })).toMatch(
    /Read-only file system\n1\n$/,
  );
  const script = 'mknod /opt/zero c 1 5 && head -c 1 /opt/zero 2>&1; rm /opt/zero';
  expect(await shell(script)).toContain('Permission denied');
});

test.each([
  ['neither', {}],
  ['both', { device: '/dev/vda', share: SHARE }],
])('a root of %s a disk and a share is refused', async (_, spec) => {
  await using session = await boot();
  session.send(container({ root: spec }));
  expect(await session.error(2)).toMatchObject({
    kind: 'bad-request',
    message: 'root: either a device or a share',
  });
});

test('ids are exactly those of the request, whatever the image says of them', async () => {
  const ids = 'id -u; id -g; grep Groups /proc/self/status; echo $HOME';
  expect(await shell(ids, { user: '1000:0', groups: ['7', '4294967294'] })).toBe(
    '1000\n0\nGroups:\t7 4294967294 \n/home/sam\n',
  );
  expect(await shell(ids, { user: '4294967294:5' })).toBe('4294967294\n5\nGroups:\t \n/\n');
});

test.each([
  ['sam:sam', [], 'user sam:sam: not two numbers'],
  ['1000', [], 'user 1000: not two numbers'],
  ['0:4294967295', [], 'user 0:4294967295: not two numbers'],
  ['0:0', ['video'], 'group video: not a number'],
])('the exact user %s with groups %j is refused', async (user, groups, message) => {
  await using session = await boot();
  session.send(container());
  session.send({ type: 'process', request: 3, container: BOX, id: 1, argv: ['true'], exact: true, user, groups });
  expect(await session.error(3)).toMatchObject({ kind: 'bad-request', message });
});

test('the environment gets nothing but a home, and the mask is that of the request', async () => {
  expect(await run({ argv: ['/bin/env'], env: ['A=1'], exact: true, user: '0:0' })).toBe('A=1\nHOME=/root\n');
  expect(await shell('umask', { umask: 0o77 })).toBe('0077\n');
});

test('each set of capabilities is that of the request, for root and for others', async () => {
  const script = 'grep -E "Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status | tr "\\t\\n" "  "';
  const given = (user: string, more: Partial<ProcessSpec> = {}) =>
    shell(`exec ${script}`, {
      ...{ user, capabilities: ['CHOWN', 'KILL', 'NET_BIND_SERVICE'] },
      capabilitySets: {
        permitted: ['KILL', 'NET_BIND_SERVICE'],
        effective: ['KILL'],
        inheritable: ['KILL', 'NET_BIND_SERVICE'],
        ambient: ['NET_BIND_SERVICE'],
      },
      ...more,
    });
  const ambient = '0000000000000400';
  // Executed by a user, a program has the ambient set; root gets the bounding and inheritable sets.
  const user = `CapInh: 0000000000000420 CapPrm: ${ambient} CapEff: ${ambient} CapBnd: 0000000000000421 CapAmb: ${ambient} `;
  expect(await given('1000:1000')).toBe(user);
  const allow = [{ code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }];
  expect(await given('1000:1000', { seccomp: allow })).toBe(user);
  expect(await given('0:0')).toContain('CapPrm: 0000000000000421 CapEff: 0000000000000421');
  expect(await given('1000:1000', { capabilitySets: {} })).toContain('CapPrm: 0000000000000000');
});
