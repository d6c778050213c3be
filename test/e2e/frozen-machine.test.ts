// Proves on a real kernel that a machine is frozen, that its agent comes back over vsock after its
// host was lost, and that nothing runs before the machine is different.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { AgentSession } from '../../sandbox/agent/session.js';
import { Home } from '../../sandbox/home/home.js';
import { SocketFolder } from '../../sandbox/home/socket-folder.js';
import { SILENT } from '../../sandbox/log.js';
import { MachineClient } from '../../sandbox/machine/machine-client.js';
import { bootMachine } from '../../sandbox/run/boot.js';
import { GuestMachine } from '../../sandbox/run/guest-machine.js';
import { cloned, continued } from '../../sandbox/run/thaw.js';
import { Trace } from '../../sandbox/run/trace.js';
import { DEBIAN } from './machine.js';

const BOX = 1;
const MACHINE_ID = '0123456789abcdef0123456789abcdef';
const READ = 'hostname; cat /proc/sys/kernel/random/boot_id /etc/machine-id /dev/tsvm/generation; date +%s';

let root: string;
let folder: SocketFolder;
let machine: GuestMachine;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'tsvm-'));
  folder = await SocketFolder.make('0123456789ab', root);
  const parts = { trace: new Trace(), log: SILENT };
  const home = new Home(inject('homes').here);
  const image = await home.images.resolve(DEBIAN);
  machine = new GuestMachine(new MachineClient(), parts);
  const spec = { image: DEBIAN, command: [], accel: 'tcg', network: { mode: 'none' } } as const;
  await bootMachine(machine, spec, { image, folder, home, online: false }, parts);
  await machine.hello();
  machine.setUp({});
});

afterEach(async () => {
  machine[Symbol.dispose]();
  await machine.gone;
  rmSync(root, { recursive: true });
});

/** A container that echoes its input, and holds a machine-id. */
async function echo() {
  const container = machine.createContainer({ id: BOX, hostname: 'box', root: { device: '/dev/vda' } });
  const script = `echo ${MACHINE_ID} >/etc/machine-id; while read -r line; do echo "got $line"; done`;
  const process = container.start({ id: 1, argv: ['sh', '-c', script], stdin: true });
  await process.started();
  const [stdin, stdout] = await Promise.all([process.stream('stdin'), process.stream('stdout')]);
  stdin.write('one\n');
  for await (const chunk of stdout.iterator({ destroyOnReturn: false })) {
    expect(String(chunk)).toBe('got one\n');
    break;
  }
  return { container, process, stdin };
}

/** The guest loses its host; another one takes its place. */
async function loseHost(): Promise<AgentSession> {
  const { state } = machine;
  if (state.name !== 'frozen') throw new Error(`the machine is ${state.name}`);
  // The machine is given up, but its process runs on until it is disposed of.
  machine.lost.catch(() => {});
  state.session[Symbol.dispose]();
  return AgentSession.listen(folder.agentSocket);
}

async function run(session: AgentSession, id: number, script: string): Promise<string[]> {
  await session.start({ container: BOX, id, argv: ['sh', '-c', script] });
  return (await text(await session.stream(id, 'stdout'))).trim().split('\n');
}

test('a machine that is frozen and thawed runs on', async () => {
  const { process, stdin } = await echo();
  await machine.freeze();
  stdin.end('two\n');
  await machine.thaw({});
  expect(await text(await process.stream('stdout'))).toBe('got two\n');
  expect(await process.exited()).toMatchObject({ code: 0 });
});

test('a clone connects again, is made different, and its process continues', async () => {
  await echo();
  await machine.freeze();
  using session = await loseHost();
  expect(await session.hello).toMatchObject({ frozen: true, processes: 1 });
  expect(await session.running).toMatchObject([{ process: 1, container: BOX }]);
  session.adopt({ id: 1, stdin: true });
  const tomorrow = (Date.now() + 86_400_000) * 1000;
  const thaw = { ...cloned([{ container: BOX, hostname: 'clone' }]), clock: tomorrow };
  await session.thaw(thaw);
  const read = await run(session, 2, READ);
  const seconds = Number(read.pop());
  expect(read).toEqual(['clone', thaw.bootId, thaw.identities?.[0]?.machineId, thaw.generation]);
  expect(seconds).toBeGreaterThanOrEqual(Math.floor(tomorrow / 1e6));
  const stdin = await session.stream(1, 'stdin');
  stdin.end('two\n');
  expect(await text(await session.stream(1, 'stdout'))).toBe('got two\n');
  expect(await session.exited(1)).toMatchObject({ code: 0 });
});

test('a restored machine that gets too little entropy runs nothing', async () => {
  await echo();
  await machine.freeze();
  using session = await loseHost();
  expect(await session.hello).toMatchObject({ frozen: true });
  await expect(session.thaw({ ...continued(), entropy: 'ab' })).rejects.toMatchObject({ code: 'agent' });
  const start = session.start({ container: BOX, id: 2, argv: ['true'] });
  await expect(start).rejects.toMatchObject({ message: 'the machine is frozen' });
});
