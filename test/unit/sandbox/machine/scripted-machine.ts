// A machine process that runs a script, and its client.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';

/** Says that the machine has booted. */
export const BOOTED =
  "say({ type: 'booted', accel: 'kvm', times: { processStarted: 1, specReceived: 2, vcpusStarted: 3 } });";

/** @param script has `say` and `control` for its end of the control socket */
export function scriptedMachine(folder: string, script: string): MachineClient {
  const program = join(folder, `${Math.random()}.mjs`);
  writeFileSync(
    program,
    `import { Socket } from 'node:net';
     const control = new Socket({ fd: 3 });
     const say = (event) => control.write(JSON.stringify(event) + '\\n');
     ${script}`,
  );
  return new MachineClient({ program, jail: 'off' });
}
