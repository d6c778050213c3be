// A machine process is gone once nothing has its end of the control socket, whatever its owner does meanwhile.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, onTestFinished, test } from 'vitest';
import { BOOTED, scriptedMachine } from './scripted-machine.js';

const CLIENT = fileURLToPath(new URL('../../../../sandbox/machine/machine-client.ts', import.meta.url));

/** Stands for a machine whose launcher ends first: it has the socket for some seconds more. */
const heir = (seconds: number) => `
  import { spawn } from 'node:child_process';
  const { pid } = spawn('sleep', ['${seconds}'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', 3] });
`;

function emptyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-machine-end-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('files for a process that was ended do not count as its end', async () => {
  const heirPid = 'process.stderr.write(`heir ${pid}\\n`);';
  const it = scriptedMachine(emptyFolder(), `${heir(1000)} ${heirPid} ${BOOTED} setInterval(() => {}, 1000);`);
  const said = new Promise<string>((resolve) => {
    it.onStderr = resolve;
  });
  await it.booted;
  const holder = Number(/\d+/.exec(await said)?.[0]);
  const order: string[] = [];
  const gone = it.gone.then(() => order.push('gone'));
  // More than the socket holds: what is sent later waits.
  it.send({ type: 'leave', folder: 'x'.repeat(4 * 2 ** 20) });
  it[Symbol.dispose]();
  it.share([], []).catch(() => {});
  await expect.poll(() => isThere(it.groupPid!)).toBe(false);
  await new Promise(setImmediate);
  order.push('its heir ends');
  process.kill(holder, 'SIGKILL');
  await gone;
  expect(order).toEqual(['its heir ends', 'gone']);
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a program that does nothing but wait for the end of a machine does not end before', async () => {
  const folder = emptyFolder();
  const [program, client] = [join(folder, 'program.mjs'), join(folder, 'client.mjs')];
  await build({
    ...({ entryPoints: [CLIENT], outfile: client, bundle: true, format: 'esm', platform: 'node' } as const),
    ...({ external: ['koffi'], target: 'node20', logLevel: 'error' } as const),
  });
  writeFileSync(
    program,
    `${heir(1)}
     import { writeSync } from 'node:fs';
     const times = { processStarted: 1, specReceived: 2, vcpusStarted: pid };
     writeSync(3, JSON.stringify({ type: 'booted', accel: 'kvm', times }) + '\\n');
     setInterval(() => {}, 1000);`,
  );
  const script = `
    const { MachineClient } = await import(${JSON.stringify(client)});
    const it = new MachineClient({ program: ${JSON.stringify(program)}, jail: 'off' });
    await it.booted;
    it[Symbol.dispose]();
    await it.gone;
    process.stdout.write('gone');`;
  expect(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })).toBe('gone');
});
