// Commands stay truthful, and nothing is left, when processes are killed at random under them.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, run, TSVM } from './machine.js';

const PROGRAM = fileURLToPath(new URL('../../dist/random-kills.js', import.meta.url));
const KILLS = 40;
const SEED = process.env.TSVM_KILLS_SEED ?? '1';

describe.each(fastest)('on $name', (machine) => {
  test(`commands beside ${KILLS} random kills report the truth or a one-line error, and nothing is left`, async () => {
    const argv = [process.execPath, PROGRAM, TSVM, DEBIAN, SEED, String(KILLS)];
    const { code, stdout, stderr } = await run(machine, argv, { timeout: 900_000 });
    expect(code, stderr).toBe(0);
    const { faults, done } = JSON.parse(stdout);
    expect(faults, JSON.stringify(done)).toEqual([]);
    const killed = Object.keys(done).filter((what) => what.startsWith('killed '));
    const roles = ['caller', 'decompressor', 'machine', 'supervisor'].map((role) => `killed ${role}`);
    expect(killed).toEqual(expect.arrayContaining(roles));
  }, 960_000);
});
