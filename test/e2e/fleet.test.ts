// Fifty sandboxes of a program at once answer, stop, and leave nothing behind.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { machines, run } from './machine.js';

const COUNT = 50;
const FLEET = fileURLToPath(new URL('../../dist/fleet.js', import.meta.url));

/** The lab does not have the memory for so many. */
const here = machines.filter(({ name }) => name !== 'the lab');

describe.each(here)('on $name', (machine) => {
  test(`${COUNT} sandboxes of 64 MB at once answer, stop, and leave nothing behind`, async () => {
    const { code, stdout } = await run(machine, [process.execPath, FLEET, String(COUNT)], { timeout: 900_000 });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      accelerators: [machine.name.split(' ').at(-1)],
      listed: COUNT,
      answers: COUNT,
      atLeastOneProcessEach: true,
      left: { processes: 0, containers: 0 },
    });
  }, 960_000);
});
