// Proves that events outlive rotations, whatever another container of the home causes meanwhile.
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ContainerEvent, EventLog } from '../../../../sandbox/home/event-log.js';
import { keepFairly } from '../../../../sandbox/home/fair-history.js';

const QUIET = 'a'.repeat(64);
const NOISY = 'b'.repeat(64);
/** More events than the files of the log hold. */
const FLOOD = 16_000;

let folder: string;
let log: EventLog;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  log = new EventLog(folder);
});

afterEach(() => rmSync(folder, { recursive: true }));

async function events(since = 0): Promise<ContainerEvent[]> {
  const found: ContainerEvent[] = [];
  for await (const event of log.read({ since, until: Date.now() + 1 })) found.push(event);
  return found;
}

async function actionsOf(id: string): Promise<string[]> {
  return (await events()).filter(({ Actor }) => Actor.ID === id).map(({ Action }) => Action);
}

/** What a guest causes that tries many addresses, changes its health, and is restarted for more. */
function flood(): void {
  for (let life = 0; life < FLOOD / 256; life++) {
    log.record(NOISY, 'start', { image: 'debian:12', name: 'noisy' });
    for (let count = 0; count < 128; count++) {
      log.record(NOISY, 'network-refused', { reason: 'private', what: 'TCP', destination: `10.0.${life}.${count}:22` });
      log.record(NOISY, `health_status: ${count % 2 === 0 ? 'un' : ''}healthy`, { image: 'debian:12', name: 'noisy' });
    }
    log.record(NOISY, 'die', { image: 'debian:12', name: 'noisy', exitCode: '1' });
  }
}

test('a container that is refused again and again flushes no event of another', async () => {
  for (const action of ['create', 'start', 'oom', 'die', 'destroy']) log.record(QUIET, action, { image: 'debian:12' });
  flood();
  expect(await actionsOf(QUIET)).toEqual(['create', 'start', 'oom', 'die', 'destroy']);
  const noisy = await actionsOf(NOISY);
  // Its refusals and its health did not flush its own starts and ends either.
  expect(noisy.filter((action) => action === 'start')).toHaveLength(Math.ceil(FLOOD / 256));
  expect(noisy.length).toBeLessThan(FLOOD);
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).size).toBeLessThan(1_001_000);
});

test('an event is read once and in its order, also while files are rotated', async () => {
  const reader = log.read({ since: 0 });
  const number = async () => Number((await reader.next()).value?.Actor.Attributes.number);
  const text = 'x'.repeat(1000);
  const record = (from: number, to: number) => {
    for (let count = from; count < to; count++) log.record(QUIET, 'start', { number: String(count), text });
  };
  record(0, 2500);
  const first = await number();
  for (let expected = first + 1; expected < 1900; expected++) expect(await number()).toBe(expected);
  record(2500, 3000);
  for (let expected = Math.max(first + 1, 1900); expected < 3000; expected++) expect(await number()).toBe(expected);
  await reader.return(undefined);
});

test('events of an old home, and lines that were cut when the host went down, do no harm', async () => {
  const line = (id: string, time: string) =>
    JSON.stringify({ time, Type: 'container', Action: 'start', Actor: { ID: id, Attributes: {} } });
  writeFileSync(join(folder, 'events.json.1'), `${line(QUIET, '2026-01-31T08:00:00.000Z')}\n{"time":"2026-0\n`);
  writeFileSync(join(folder, 'events.json'), `${line(NOISY, '2026-01-31T09:00:00.000Z')}\n`);
  expect((await events()).map(({ Actor }) => Actor.ID)).toEqual([QUIET, NOISY]);
  flood();
  expect(await actionsOf(QUIET)).toEqual(['start']);
  expect(await events(Date.now() + 60_000)).toEqual([]);
});

test('a party with no more than its share loses nothing, and no more than the budget is kept', () => {
  const party = fc.record({ group: fc.constantFrom('a', 'b', 'c', 'd'), length: fc.nat(3000) });
  fc.assert(
    fc.property(fc.array(party, { maxLength: 60 }), fc.integer({ min: 16_384, max: 60_000 }), (parties, budget) => {
      const lines = parties.map(({ group, length }, index) => `${group}${index}-${'x'.repeat(length)}`);
      const size = (some: string[]) => some.reduce((sum, line) => sum + line.length + 1, 0);
      const kept = keepFairly(lines, { groupOf: (line) => line[0], budget });
      expect(size(kept)).toBeLessThanOrEqual(budget);
      expect(kept).toEqual(lines.filter((line) => kept.includes(line)));
      for (const group of ['a', 'b', 'c', 'd']) {
        const all = lines.filter((line) => line[0] === group);
        const own = kept.filter((line) => line[0] === group);
        expect(own).toEqual(all.slice(all.length - own.length));
        if (size(all) <= budget / 4) expect(own).toEqual(all);
      }
      if (size(lines) <= budget) expect(kept).toEqual(lines);
    }),
  );
});

test('of very many parties the newest are kept', () => {
  const lines = Array.from({ length: 2000 }, (_, index) => `${index} ${'x'.repeat(100)}`);
  const kept = keepFairly([...lines, 'cut'], { groupOf: (line) => /^\d+ /.exec(line)?.[0], budget: 50_000 });
  expect(kept).toEqual(lines.slice(-kept.length));
  expect(kept.length).toBeGreaterThan(400);
});
