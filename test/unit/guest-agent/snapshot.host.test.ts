// Proves that the agent freezes its containers, and that one which has lost its host takes itself for
// a copy: it connects again, and runs nothing before it was made different.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ContainerRequest,
  encodeFrame,
  type HelloFrame,
  type HostFrame,
  type ProcessRequest,
} from '../../../sandbox/agent/protocol.js';
import { cloned, continued } from '../../../sandbox/run/thaw.js';
import { AgentUnderTest, buildAgent } from './agent-under-test.js';
import { type LoopDevice, makeContainerImage } from './container-image.js';

let agent: string;
let image: LoopDevice;

beforeAll(() => {
  agent = buildAgent();
  image = makeContainerImage({ 'etc/machine-id': `${MACHINE_ID}\n` });
});

afterAll(() => image[Symbol.dispose]());

/** The id of the container. Each test has another one, as its agent may outlive it if it fails. */
let box = randomInt(1, 2 ** 30);
const MACHINE_ID = '0123456789abcdef0123456789abcdef';
/** Answers each line of its input. */
const ECHO = 'while read -r line; do echo "got $line"; done';

async function boot(process: Partial<ProcessRequest>, container: Partial<ContainerRequest> = {}) {
  const session = new AgentUnderTest();
  box++;
  await session.boot(agent);
  session.send({ type: 'machine', request: 1001 });
  const root = { device: image.device };
  session.send({ type: 'container', request: 1002, id: box, hostname: 'box', root, hosts: 'old\n', ...container });
  const argv = ['sh', '-c', ECHO];
  session.send({ type: 'process', request: 1, container: box, id: 1, argv, stdin: true, ...process });
  expect(await session.answer(1)).toMatchObject({ type: 'started' });
  return session;
}

/** What the kernel says of the container's cgroup. */
function isFrozen(session: AgentUnderTest): boolean {
  return session.inside('cat', `/sys/fs/cgroup/container-${box}/cgroup.events`).includes('frozen 1');
}

async function freeze(session: AgentUnderTest) {
  session.send({ type: 'freeze', request: 50 });
  expect(await session.answer(50)).toMatchObject({ type: 'done' });
  expect(isFrozen(session)).toBe(true);
}

/** Breaks the connections, as a restore does, and waits for the agent to come back. */
async function restore(session: AgentUnderTest): Promise<HelloFrame> {
  session.disconnect();
  return (await session.waitFor((frame) => frame.type === 'hello')) as HelloFrame;
}

/** Runs a shell script in the container. */
let lastProcess = 100;
async function shell(session: AgentUnderTest, script: string): Promise<string> {
  const id = ++lastProcess;
  session.send({ type: 'process', request: id, container: box, id, argv: ['sh', '-c', script] });
  return session.output(id, 'stdout');
}

async function ask(session: AgentUnderTest, line: string): Promise<string> {
  (await session.stream(1, 'stdin')).write(`${line}\n`);
  return session.outputUpTo(1, 'stdout', '\n');
}

describe('a frozen machine', () => {
  test('runs on when it is thawed, on the connections that it has', async () => {
    await using session = await boot({});
    expect(await ask(session, 'one')).toBe('got one\n');
    await freeze(session);
    session.send({ type: 'thaw', request: 51 });
    expect(await session.answer(51)).toMatchObject({ type: 'done' });
    expect(isFrozen(session)).toBe(false);
    expect(await ask(session, 'two')).toBe('got two\n');
  });

  test('stops processes that run, also in cgroups of their own', async () => {
    const argv = [
      'sh',
      '-c',
      'mkdir /sys/fs/cgroup/x; while :; do :; done & echo $! >/sys/fs/cgroup/x/cgroup.procs; wait',
    ];
    await using session = await boot({ argv }, { privileged: true });
    await freeze(session);
    session.send({ type: 'thaw', request: 51 });
    expect(await session.answer(51)).toMatchObject({ type: 'done' });
  });

  test('takes no request that would run something', async () => {
    await using session = await boot({});
    await freeze(session);
    session.send({ type: 'process', request: 2, container: box, id: 2, argv: ['true'] });
    session.send({ type: 'container', request: 3, id: box + 1, hostname: 'x', root: { device: image.device } });
    session.send({ type: 'remove', request: 4, container: box });
    session.send({ type: 'freeze', request: 5 });
    for (const request of [2, 3, 4, 5]) {
      expect(await session.error(request)).toMatchObject({ kind: 'bad-request', message: 'the machine is frozen' });
    }
  });

  test('is not frozen while a process is being started, and not thawed if it runs', async () => {
    await using session = await boot({});
    const frames: HostFrame[] = [
      { type: 'process', request: 2, container: box, id: 2, argv: ['true'] },
      { type: 'freeze', request: 3 },
      { type: 'thaw', request: 4 },
    ];
    // In one piece, which the agent reads before it looks at the process again.
    session.sendBytes(Buffer.concat(frames.map(encodeFrame)));
    expect(await session.error(3)).toMatchObject({ kind: 'bad-request' });
    expect(await session.error(4)).toMatchObject({ kind: 'bad-request', message: 'the machine is not frozen' });
    expect(isFrozen(session)).toBe(false);
  });

  test('lets its processes be killed, and stops when it is told to', async () => {
    await using session = await boot({});
    await freeze(session);
    session.send({ type: 'signal', request: 2, process: 1, signal: 9 });
    expect(await session.exited(1)).toMatchObject({ signal: 9 });
    session.send({ type: 'shutdown', request: 3 });
    await session.end();
  });
});

describe('a restored machine', () => {
  test('connects again, says what runs, and continues with every byte that the agent held', async () => {
    await using session = await boot({});
    expect(await ask(session, 'one')).toBe('got one\n');
    await freeze(session);
    const before = await session.stream(1, 'stdin');
    expect(await restore(session)).toMatchObject({ frozen: true, processes: 1 });
    const running = await session.waitFor((frame) => frame.type === 'running');
    expect(running).toMatchObject({ process: 1, container: box });
    expect(isFrozen(session)).toBe(true);
    session.send({ ...continued(), type: 'thaw', request: 51 });
    expect(await session.answer(51)).toMatchObject({ type: 'done' });
    expect(await session.stream(1, 'stdin')).not.toBe(before);
    expect(await ask(session, 'two')).toBe('got two\n');
    (await session.stream(1, 'stdin')).end();
    expect(await session.exited(1)).toMatchObject({ code: 0 });
  });

  test('keeps what it has taken from stdin before it froze', async () => {
    await using session = await boot({});
    const argv = ['sh', '-c', 'trap "cat; exit" USR1; echo ready; while :; do sleep 0.01; done'];
    session.send({ type: 'process', request: 2, container: box, id: 2, argv, stdin: true });
    await session.outputUpTo(2, 'stdout', 'ready\n');
    (await session.stream(2, 'stdin')).end('to be read later\n');
    session.send({ type: 'ping', request: 40 });
    await session.answer(40);
    await freeze(session);
    await restore(session);
    session.send({ ...continued(), type: 'thaw', request: 51 });
    await session.answer(51);
    session.send({ type: 'signal', request: 52, process: 2, signal: 10 });
    expect(await session.output(2, 'stdout')).toBe('to be read later\n');
  });

  test.each([
    ['nothing', () => ({})],
    ['no entropy', () => ({ ...continued(), entropy: undefined })],
    ['too little entropy', () => ({ ...continued(), entropy: 'ab'.repeat(63) })],
    ['entropy that is no hex', () => ({ ...continued(), entropy: 'xy'.repeat(64) })],
    ['no clock', () => ({ ...continued(), clock: undefined })],
    ['no generation', () => ({ ...continued(), generation: undefined })],
    ['a generation in seconds', () => ({ ...continued(), generation: '1790000000' })],
    ['an identity for no container', () => cloned([])],
    ['a boot_id that is none', () => ({ ...cloned([{ container: box, hostname: 'clone' }]), bootId: 'new' })],
  ])('stays frozen when it is given %s', async (_, thaw) => {
    await using session = await boot({});
    await freeze(session);
    await restore(session);
    session.send({ ...thaw(), type: 'thaw', request: 51 });
    expect(await session.error(51)).toMatchObject({ kind: 'bad-request' });
    expect(isFrozen(session)).toBe(true);
  });

  test('whose generator cannot be reseeded thaws nothing, also when it is asked again', async () => {
    await using session = await boot({});
    await freeze(session);
    session.inside('mount', '--bind', '/dev/null', '/dev/urandom');
    await restore(session);
    session.send({ ...continued(), type: 'thaw', request: 51 });
    expect(await session.error(51)).toMatchObject({
      kind: 'setup-failed',
      message: expect.stringMatching('add entropy'),
    });
    session.send({ ...continued(), type: 'thaw', request: 52 });
    expect(await session.error(52)).toMatchObject({ message: 'the machine could not be thawed before' });
    expect(isFrozen(session)).toBe(true);
  });

  test('ends the streams whose listener is gone, and keeps the others', async () => {
    await using session = await boot({});
    const listener = await session.listen(2000);
    session.send({ type: 'process', request: 2, container: box, id: 2, argv: ['cat'], stdin: true, port: 2000 });
    expect(await session.answer(2)).toMatchObject({ type: 'started' });
    await session.stream(2, 'stdin');
    await freeze(session);
    listener[Symbol.dispose]();
    await restore(session);
    session.send({ ...continued(), type: 'thaw', request: 51 });
    expect(await session.answer(51)).toMatchObject({ type: 'done' });
    expect(await session.exited(2)).toMatchObject({ code: 0 });
    expect(await ask(session, 'two')).toBe('got two\n');
  });

  test('stops if it loses its host while it runs', async () => {
    await using session = await boot({});
    await freeze(session);
    await restore(session);
    session.send({ ...continued(), type: 'thaw', request: 51 });
    await session.answer(51);
    session.control?.end();
    await session.end();
  });
});

describe('the generation', () => {
  test('is a file that programs can watch and none can write', async () => {
    await using session = await boot({}, { privileged: false });
    const first = await shell(session, 'cat /dev/tsvm/generation');
    expect(first).toMatch(/^[0-9a-f-]{36}\n$/);
    expect(await shell(session, 'echo x >/dev/tsvm/generation || echo refused')).toBe('refused\n');
    session.send({ type: 'process', request: 2, container: box, id: 2, argv: ['watch', '/dev/tsvm'], tool: true });
    expect(await session.outputUpTo(2, 'stdout', '\0')).toBe('ready \0');
    await freeze(session);
    await restore(session);
    const thaw = continued();
    session.send({ ...thaw, type: 'thaw', request: 51 });
    await session.answer(51);
    expect(await session.outputUpTo(2, 'stdout', 'generation\0')).toContain('change generation\0');
    expect(await shell(session, 'cat /dev/tsvm/generation')).toBe(`${thaw.generation}\n`);
  });
});

describe('a clone', () => {
  const READ = 'cat /proc/sys/kernel/random/boot_id; hostname; cat /etc/hostname /etc/hosts /etc/machine-id';
  const thawAsClone = () => cloned([{ container: box, hostname: 'clone', hosts: 'new\n' }]);

  async function becomeClone(session: AgentUnderTest, thaw = thawAsClone()) {
    await freeze(session);
    await restore(session);
    session.send({ ...thaw, type: 'thaw', request: 51 });
    expect(await session.answer(51)).toMatchObject({ type: 'done' });
    session.frames.length = 0;
    return [thaw.bootId, 'clone', 'clone', 'new', thaw.identities?.[0]?.machineId, ''].join('\n');
  }

  test('has another boot_id, host name, hosts and machine-id, once and again', async () => {
    await using session = await boot({});
    const kernel = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8');
    expect(await shell(session, READ)).toBe(`${kernel}box\nbox\nold\n${MACHINE_ID}\n`);
    for (let time = 0; time < 2; time++) {
      const expected = await becomeClone(session);
      expect(await shell(session, READ)).toBe(expected);
    }
  });

  test('with a read-only root has another machine-id too', async () => {
    await using session = await boot({}, { root: { device: image.device, readonly: true } });
    const expected = await becomeClone(session);
    expect(await shell(session, READ)).toBe(expected);
  });

  test.each(['', 'uninitialized\n'])('keeps a machine-id that is %j: it gets one of its own', async (text) => {
    await using session = await boot({});
    await shell(session, `printf '${text}' >/etc/machine-id`);
    await becomeClone(session);
    expect(await shell(session, 'cat /etc/machine-id')).toBe(text);
  });

  test('has the addresses and the hardware address that it is given, and no others', async () => {
    const network = {
      interface: 'eth0',
      addresses: ['198.19.0.2/32', 'fd74:7376:6d::2/128'],
      gateways: ['198.19.0.1'],
    };
    const session = new AgentUnderTest();
    await using _ = session;
    await session.boot(agent);
    session.inside('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other');
    session.send({ type: 'machine', request: 1001, network });
    expect(await session.answer(1001)).toMatchObject({ type: 'done' });
    session.send({ type: 'freeze', request: 50 });
    await session.answer(50);
    await restore(session);
    const own = { ...network, addresses: ['198.19.0.9/32', 'fd74:7376:6d::9/128'], mac: '52:54:00:aa:bb:cc' };
    session.send({ ...cloned([], own), type: 'thaw', request: 51 });
    expect(await session.answer(51)).toMatchObject({ type: 'done' });
    const [link] = JSON.parse(session.inside('ip', '-j', 'address', 'show', 'eth0'));
    const addresses = link.addr_info.map(({ local }: { local: string }) => local);
    expect(link.address).toBe(own.mac);
    expect(addresses.filter((address: string) => !address.startsWith('fe80'))).toEqual([
      '198.19.0.9',
      'fd74:7376:6d::9',
    ]);
    expect(session.inside('ip', 'route', 'show', 'default')).toContain('via 198.19.0.1');
  });
});
