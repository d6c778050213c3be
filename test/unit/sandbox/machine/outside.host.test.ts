// The owner of a machine starts passt for it, in the jail's absence from the host's network: the
// machine asks for another one and gets its socket.
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { MachineOutside } from '../../../../sandbox/machine/outside.js';
import type { MachineSpec } from '../../../../vmm/machine.js';
import { networkSpec, passt } from '../../vmm/devices/net/passt-peer.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-outside-');
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A machine process that has passt killed and asks for another, and then says which lines came. */
const PROGRAM = `
  import { Socket } from 'node:net';
  const control = new Socket({ fd: 3 });
  const say = (event) => control.write(JSON.stringify(event) + '\\n');
  const came = [];
  let text = '';
  control.on('data', (chunk) => {
    text += chunk;
    const lines = text.split('\\n');
    text = lines.pop();
    for (const line of lines.map((each) => JSON.parse(each))) {
      came.push(line.type === 'files' ? 'files ' + line.names.filter((name) => name === 'network') : line.type);
      if (line.type === 'boot') say({ type: 'passt-kill', reason: 'killed' });
      if (line.type === 'passt-ended') say({ type: 'passt-restart' });
      if (line.type === 'passt-started') say({ type: 'refused', refusal: { reason: 'closed', what: came.join() } });
    }
  });`;

test.each(['auto', 'off'] as const)('with jail %s, a machine gets the socket of each passt', async (jail) => {
  const own = mkdtempSync(join(realpathSync(folder), 'case-'));
  const file = join(own, 'file');
  writeFileSync(file, 'a kernel');
  const program = join(own, 'program.mjs');
  writeFileSync(program, PROGRAM);
  const spec: MachineSpec = {
    ...{ accel: 'auto', kernel: file, initramfs: file, commandLine: '', cpus: 1, memory: 2 ** 26, disks: [] },
    ...{ vsock: { guestCid: 3, path: join(own, 'vsock') }, console: false, logLevel: 'warn' },
    network: networkSpec(passt()),
  };
  using machine = new MachineClient({ program, jail });
  const came = new Promise<string>((resolve) => {
    machine.onRefusal = ({ what }) => resolve(what);
  });
  machine.boot(new MachineOutside(spec, [], { jail }));
  const ended = machine.ended.then(({ error }) => String(error));
  const lines = (await Promise.race([came, ended])).split(',');
  expect(lines.filter((line) => line !== 'files ')).toEqual([
    ...['files network', 'boot', 'passt-ended', 'files network', 'passt-started'],
  ]);
  expect(machine.passtPid).toBeGreaterThan(0);
});
