// Commands stay truthful, and nothing is left, when processes are killed at random under them.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, isLab, type Machine, machines, run, TSVM } from './machine.js';

const PROGRAM = fileURLToPath(new URL('../../dist/random-kills.js', import.meta.url));
const KILLS = 40;
/** Those in the lab, and of TSVM_KILLS=200 as many, in about six seconds each. */
const SAVED_KILLS = Number(process.env.TSVM_KILLS ?? 12);
const SEED = process.env.TSVM_KILLS_SEED ?? '1';

/** Runs the program. Returns what it killed. */
async function killAtRandom(machine: Machine, kills: number, what: string, timeout: number): Promise<string[]> {
  const argv = [process.execPath, PROGRAM, TSVM, DEBIAN, SEED, String(kills), what];
  const { code, stdout, stderr } = await run(machine, argv, { timeout });
  expect(code, stderr).toBe(0);
  const { faults, done } = JSON.parse(stdout);
  expect(faults, JSON.stringify(done)).toEqual([]);
  return Object.keys(done).filter((name) => name.startsWith('killed '));
}

describe.each(fastest)('on $name', (machine) => {
  test(`commands beside ${KILLS} random kills report the truth or a one-line error, and nothing is left`, async () => {
    const killed = await killAtRandom(machine, KILLS, 'any', 900_000);
    const roles = ['caller', 'decompressor', 'machine', 'supervisor'].map((role) => `killed ${role}`);
    expect(killed).toEqual(expect.arrayContaining(roles));
  }, 960_000);
});

describe.each(machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm')))('on $name', (machine) => {
  const timeout = 600_000 + SAVED_KILLS * 30_000;
  test(`snapshots, clones, suspended containers and templates beside ${SAVED_KILLS} random kills are whole or not there`, {
    timeout: timeout + 60_000,
  }, async () => {
    const killed = await killAtRandom(machine, SAVED_KILLS, 'saved', timeout);
    expect(killed).toEqual(expect.arrayContaining(['killed caller', 'killed machine', 'killed supervisor']));
  });
});
