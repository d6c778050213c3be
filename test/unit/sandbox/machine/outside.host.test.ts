// The owner of a machine makes the sockets of its network, and gives a hostile machine process none that
// leads where its guest may not go.
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { MachineOutside } from '../../../../sandbox/machine/outside.js';
import type { MachineSpec } from '../../../../vmm/machine.js';
import { networkSpec, relay } from '../../vmm/devices/net/relay/relay-peer.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-outside-');
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

function specIn(own: string): MachineSpec {
  const file = join(own, 'file');
  writeFileSync(file, 'a kernel');
  return {
    ...{ accel: 'kvm', kernel: file, initramfs: file, commandLine: '', cpus: 1, memory: 2 ** 26, disks: [] },
    ...{ vsock: { guestCid: 3, path: join(own, 'vsock') }, console: false, logLevel: 'warn' },
    network: networkSpec(relay()),
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
