// The owner of a machine makes the sockets of its network, and gives a hostile machine process none that
// leads where its guest may not go.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { cpSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { parseAddress } from '../../../../addresses/ip.js';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { MachineOutside } from '../../../../sandbox/machine/outside.js';
import type { MachineSpec, NetworkSpec } from '../../../../vmm/machine.js';
import { GATEWAY } from '../../../fixtures/frames.js';
import { networkSpec, relay } from '../../vmm/devices/net/relay/relay-peer.js';
import type { Attack } from './hostile-machine.js';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync('/tmp/tsvm-outside-');
  await build({
    entryPoints: [fileURLToPath(new URL('hostile-machine.ts', import.meta.url))],
    ...({ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] } as const),
    outfile: join(folder, 'program', 'hostile-machine.mjs'),
  });
  // The jail has the folder of its program alone.
  for (const name of ['koffi', '@koromix']) {
    const modules = fileURLToPath(new URL(`../../../../node_modules/${name}`, import.meta.url));
    cpSync(modules, join(folder, 'program', 'node_modules', name), { recursive: true });
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A machine process that asks for closed addresses, and then, after each answer, for more than a relay has. */
const HOSTILE = `
  import { Socket } from 'node:net';
  const control = new Socket({ fd: 3 });
  const say = (event) => control.write(JSON.stringify(event) + '\\n');
  const to = (...address) => [address[3] % 1000, kinds[asked++ % 3], 40000, 80, ...address];
  const kinds = ['tcp', 'udp', 'ping'];
  let asked = 0;
  let text = '';
  control.on('data', (chunk) => {
    text += chunk;
    const lines = text.split('\\n');
    text = lines.pop();
    for (const line of lines.map((each) => JSON.parse(each))) {
      if (line.type === 'boot') {
        const ipv4 = [0x7f000001, 0x0a000001, 0xa9fea9fe, 0xc6130001, 0].map((last) => to(0, 0, 0xffff, last));
        say({ type: 'connect', asked: [...ipv4, to(0, 0, 0, 1), to(0xfe800000, 0, 0, 1)] });
      }
      if (line.type !== 'connected') continue;
      say({ type: 'refused', refusal: { reason: 'closed', what: line.answers.map(([, errno]) => errno).join() } });
      const asked = JSON.stringify({ type: 'connect', asked: Array(64).fill(to(0, 0, 0xffff, 1)) }) + '\\n';
      control.write(asked.repeat(10));
    }
  });`;

function specIn(own: string, changes: Partial<NetworkSpec> = {}): MachineSpec {
  const file = join(own, 'file');
  writeFileSync(file, 'a kernel');
  return {
    ...{ accel: 'kvm', kernel: file, initramfs: file, commandLine: '', cpus: 1, memory: 2 ** 26, disks: [] },
    ...{ vsock: { guestCid: 3, path: join(own, 'vsock') }, console: false, logLevel: 'warn' },
    network: { ...networkSpec(relay()), ...changes },
  };
}

test('a machine that asks for closed addresses gets none, and one that asks for too many ends', async () => {
  const own = mkdtempSync(join(realpathSync(folder), 'case-'));
  const program = join(own, 'program.mjs');
  writeFileSync(program, HOSTILE);
  using machine = new MachineClient({ program });
  let answers: string | undefined;
  machine.onRefusal = ({ what }) => {
    answers ??= what;
  };
  machine.boot(new MachineOutside(specIn(own), []));
  const { error } = await machine.ended;
  expect(String(error)).toMatch(/cannot be understood: too many connections are asked for/);
  expect(answers).toBe(Array(7).fill(13).join());
});

/** A socket of the host's loopback interface. */
interface Receiver {
  port: number;
  /** Resolves to what has come so far. */
  came(): Promise<string[]>;
}

async function receiver(carried: Attack['carried']): Promise<Receiver> {
  const came: string[] = [];
  const last = 'last';
  const untilLast = async () => {
    while (!came.includes(last)) await new Promise((resolve) => setTimeout(resolve, 2));
    return came.filter((word) => word !== last);
  };
  if (carried === 'udp') {
    const socket = createSocket('udp4', (bytes) => came.push(bytes.toString()));
    onTestFinished(() => void socket.close());
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    return {
      port,
      came() {
        socket.send(last, port, '127.0.0.1');
        return untilLast();
      },
    };
  }
  const server = createServer((socket) => {
    socket.on('error', () => {}).on('data', (bytes) => came.push(bytes.toString()));
  });
  onTestFinished(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    came() {
      connect(port, '127.0.0.1')
        .on('error', () => {})
        .end(last);
      return untilLast();
    },
  };
}

/** The end of a machine that has a socket for one port of the host, and turns it to another one. */
async function attacked(carried: Attack['carried'], isFiltered: boolean): Promise<{ error: string; came: string[] }> {
  const own = mkdtempSync(join(realpathSync(folder), 'case-'));
  const [allowed, closed] = [await receiver(carried), await receiver(carried)];
  const rules = [{ allow: true, range: GATEWAY.ipv4, ports: [allowed.port, allowed.port] as [number, number] }];
  const attack: Attack = {
    ...{ carried, isFiltered, closed: closed.port },
    allowed: [[...parseAddress(GATEWAY.ipv4)], allowed.port],
  };
  using machine = new MachineClient({ program: join(folder, 'program', 'hostile-machine.mjs'), jail: 'auto' });
  machine.boot(new MachineOutside({ ...specIn(own, { rules }), commandLine: JSON.stringify(attack) }, []));
  const { error } = await machine.ended;
  await machine.gone;
  return { error: String(error), came: await closed.came() };
}

// The hostile program is real: without the filter it reaches what its owner would not connect it with.
test('without the filter of system calls, a machine process turns a socket of UDP to another port', async () => {
  expect(await attacked('udp', false)).toEqual({ error: expect.stringContaining('exit code 9'), came: ['udp'] });
});

test.each(['tcp', 'udp'] as const)('with it, turning a socket of %s ends the machine process', async (carried) => {
  const error = expect.stringContaining('made a system call that is not on its list');
  expect(await attacked(carried, true)).toEqual({ error, came: [] });
});
