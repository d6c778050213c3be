// What a guest that has taken its machine process over may try at the control socket. Its owner keeps
// nothing of it, and ends the machine with one line.
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { openFiles } from '../../../fixtures/open-files.js';
import { BOOTED, scriptedMachine } from './scripted-machine.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const STATISTICS = { type: 'statistics', statistics: { exits: {}, ioctls: {} } };
const STOPPED = { type: 'stopped', reason: 'reset', statistics: { exits: {}, ioctls: {} } };
const REFUSED = { type: 'refused', refusal: { reason: 'closed', what: 'tcp' } };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-hostile-control-');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A machine process that answers the first request with these lines. */
const answering = (...lines: unknown[]) =>
  scriptedMachine(
    folder,
    `control.once('data', () => control.write(${JSON.stringify(lines.map((each) => `${JSON.stringify(each)}\n`).join(''))}));`,
  );

const isGone = (pid: number | undefined) => !existsSync(`/proc/${pid}`);

describe('the machine ends by', () => {
  test.each<[string, unknown[]]>([
    ['two answers to one question', [STATISTICS, STATISTICS]],
    ['an answer to another question', [{ type: 'joined' }]],
    ['a saved machine beside the answer', [STATISTICS, { type: 'saved' }]],
    ['a failed save that nobody asked for', [{ type: 'saved', error: 'no space' }]],
  ])('%s', async (_, lines) => {
    using it = answering(...lines);
    it.statistics().catch(() => {});
    const { error } = await it.ended;
    expect(error?.message).toBe('the machine process cannot be understood: an answer to no question');
    await it.gone;
    expect(isGone(it.pid)).toBe(true);
  });

  test.each([
    ['a line that never ends', "'x'.repeat(2 ** 20)"],
    ['bytes that are no text', 'Buffer.alloc(2 ** 20, 0xff)'],
    ['a text that never ends', `'{"type":"failed","code":"host","message":"' + '\\\\u0000'.repeat(2 ** 18)`],
    ['lists in lists', "'['.repeat(2 ** 20)"],
    ['lists in lists, closed', "'['.repeat(120_000) + ']'.repeat(120_000) + '\\n'"],
    ['objects in objects', `'{"type":'.repeat(25_000) + 'null' + '}'.repeat(25_000) + '\\n'`],
  ])('%s, of which its owner keeps little', async (_, piece) => {
    const before = process.memoryUsage.rss();
    using it = scriptedMachine(
      folder,
      `const piece = ${piece};
       const more = () => { while (control.write(piece)); control.once('drain', more); };
       more();`,
    );
    const { error } = await it.ended;
    expect(error?.message).toMatch(/^the machine process cannot be understood: [^\n]{1,200}$/);
    expect(error?.message).not.toContain('stack');
    await it.gone;
    expect(isGone(it.pid)).toBe(true);
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 2 ** 20);
  });
});

test('a field of any depth is refused like any other value', async () => {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  for (const field of ['refusal', 'statistics', 'asked', 'times', 'error', 'console']) {
    using it = scriptedMachine(
      folder,
      `control.write(${JSON.stringify(`{"type":"booted","accel":"kvm","${field}":`)} + ${JSON.stringify(deep)} + '}\\n');`,
    );
    const { error } = await it.ended;
    expect(error?.message).toBe('the machine process cannot be understood: times is not an object');
  }
});

test('nothing is heard of a machine that was disposed of', async () => {
  const it = scriptedMachine(
    folder,
    `${BOOTED} process.on('SIGTERM', () => {});
     setInterval(() => { for (let count = 0; count < 10; count++) say(${JSON.stringify(REFUSED)}); }, 1);`,
  );
  let refusals = 0;
  const heard = new Promise<void>((resolve) => {
    it.onRefusal = () => {
      refusals++;
      resolve();
    };
  });
  await heard;
  it[Symbol.dispose]();
  const before = refusals;
  await it.gone;
  expect(refusals).toBe(before);
});

test('the first end is the end, whatever follows', async () => {
  using it = answering(STOPPED, { type: 'failed', code: 'host', message: 'another' }, BOOTED);
  it.send({ type: 'statistics' });
  expect((await it.ended).error?.message).toMatch(/^the guest stopped by itself/);
  await it.gone;
});

test('files that come with what it says are closed', async () => {
  const program = join(folder, 'passes.mjs');
  await build({
    stdin: {
      contents: `
        import { openSync } from 'node:fs';
        import { passDescriptors, tryPassDescriptors } from './libc/pass-descriptors.ts';
        const files = Array.from({ length: 100 }, () => openSync('/dev/zero'));
        const line = Buffer.from(${JSON.stringify(`${JSON.stringify(REFUSED)}\n`)});
        for (let sent = 0; sent < 100; ) sent += tryPassDescriptors(3, files, line) > 0 ? 1 : 0;
        passDescriptors(3, files, Buffer.from('{'));
        setInterval(() => {}, 1000);`,
      resolveDir: root,
    },
    ...({ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] } as const),
    outfile: program,
  });
  using it = new MachineClient({ program, jail: 'off' });
  let refusals = 0;
  await new Promise<void>((resolve) => {
    it.onRefusal = () => {
      refusals++;
      if (refusals === 100) resolve();
    };
  });
  // 10,000 came.
  expect(openFiles('/dev/zero').length).toBeLessThan(200);
});

test('any lines end in one line about the machine, or in none', async () => {
  const events = [
    ...[STATISTICS, STOPPED, REFUSED, { type: 'joined' }, { type: 'saved' }, { type: 'network' }],
    ...[
      { type: 'arrivals', published: 0 },
      { type: 'connect', asked: [[1, 'vsock', 1024]] },
    ],
    ...[
      { type: 'kvm', result: { usable: true, reason: 'x' } },
      { type: 'failed', code: 'host', message: 'a\nb' },
    ],
    { type: 'booted', accel: 'tcg', times: { processStarted: 1, specReceived: 2, vcpusStarted: 3 } },
  ];
  const line = fc.oneof(
    { arbitrary: fc.constantFrom(...events).map((each) => JSON.stringify(each)), weight: 4 },
    fc.json(),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 8 }), async (lines) => {
      using it = scriptedMachine(folder, `control.end(${JSON.stringify(lines.map((each) => `${each}\n`).join(''))});`);
      const { error } = await it.ended;
      expect(error?.message).toMatch(/^[^\n]+$/);
      await it.gone;
    }),
    { numRuns: 40 },
  );
});
