// Proves that output is logged in the format of json-file, rotated, and read back completely.
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ContainerEvent, EventLog } from '../../../../sandbox/home/event-log.js';
import { type LogEntry, LogWriter } from '../../../../sandbox/home/log-file.js';
import { type ReadLogOptions, readLog } from '../../../../sandbox/home/log-reader.js';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  path = join(folder, 'log.json');
});

afterEach(() => rmSync(folder, { recursive: true }));

async function entries(options?: ReadLogOptions): Promise<LogEntry[]> {
  const found: LogEntry[] = [];
  for await (const entry of readLog(path, options)) found.push(entry);
  return found;
}

async function text(options?: ReadLogOptions): Promise<string> {
  return (await entries(options)).map(({ log }) => log).join('');
}

function write(writer: LogWriter, ...chunks: (string | Buffer)[]): void {
  for (const chunk of chunks) writer.write('stdout', Buffer.from(chunk as string));
}

test('an entry is a line of JSON in the format of json-file', async () => {
  using writer = new LogWriter(path);
  writer.write('stdout', Buffer.from('one\ntwo\n'));
  writer.write('stderr', Buffer.from('three'));
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { log: 'one\n', stream: 'stdout', time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) },
    { log: 'two\n', stream: 'stdout', time: expect.any(String) },
    { log: 'three', stream: 'stderr', time: expect.any(String) },
  ]);
});

test.each([1, 2, 3])(
  'each file of %i that are kept says where it is in the whole log, whoever writes it',
  async (maxFiles) => {
    const all: string[] = [];
    for (let run = 0; run < 4; run++) {
      using writer = new LogWriter(path, { maxSize: 700, maxFiles });
      for (let n = 0; n < 12; n++) {
        write(writer, `${'é'.repeat(n)}\n`);
        let end = 0;
        let newest = '';
        for (const { offset = end, ...entry } of await entries()) {
          newest = `${JSON.stringify(entry)}\n`;
          end = offset + Buffer.byteLength(newest);
        }
        all.push(newest);
        expect(end).toBe(Buffer.byteLength(all.join('')));
      }
      // As if it had been killed between two files.
      if (maxFiles > 2 && run === 2) renameSync(path, `${path}.1`);
    }
  },
);

test('a character that arrives in pieces is decoded whole', async () => {
  const euro = Buffer.from('1 €\n');
  using writer = new LogWriter(path);
  write(writer, euro.subarray(0, 3), euro.subarray(3));
  expect(await text()).toBe('1 €\n');
});

test('output is read back as it was written, in whatever pieces it arrived', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ unit: 'grapheme' })), async (chunks) => {
      rmSync(path, { force: true });
      const writer = new LogWriter(path);
      write(writer, ...chunks);
      writer[Symbol.dispose]();
      expect(await text()).toBe(chunks.join(''));
    }),
    { numRuns: 50 },
  );
});

test('full files are rotated, and the wanted number is kept', async () => {
  using writer = new LogWriter(path, { maxSize: 1000, maxFiles: 3 });
  for (let line = 0; line < 100; line++) write(writer, `line ${line}\n`);
  expect(readdirSync(folder).sort()).toEqual(['log.json', 'log.json.1', 'log.json.2']);
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(1000);
  const lines = (await text()).trimEnd().split('\n');
  expect(lines.at(-1)).toBe('line 99');
  const first = Number(lines[0]?.slice(5));
  expect(lines).toEqual(Array.from({ length: 100 - first }, (_, index) => `line ${first + index}`));
});

test('a single file is kept if the limit is one', async () => {
  using writer = new LogWriter(path, { maxSize: 100, maxFiles: 1 });
  for (let line = 0; line < 10; line++) write(writer, `line ${line}\n`);
  expect(readdirSync(folder)).toEqual(['log.json']);
  expect(await text()).toBe('line 9\n');
});

test.each([
  [0, ''],
  [1, 'five'],
  [2, 'four\nfive'],
  [100, 'one\ntwo\nthree\nfour\nfive'],
])('the last %d lines are read', async (tail, expected) => {
  using writer = new LogWriter(path);
  write(writer, 'one\n', 'tw', 'o\n', 'three\nfour\n', 'five');
  expect(await text({ tail })).toBe(expected);
});

test('a log is followed across rotations to its end without loss', async () => {
  let end!: () => void;
  const follow = new Promise<void>((resolve) => {
    end = resolve;
  });
  const reading = text({ follow });
  const writer = new LogWriter(path, { maxSize: 5000, maxFiles: 3 });
  let written = '';
  for (let line = 0; line < 100; line++) {
    write(writer, `line ${line}\n`);
    written += `line ${line}\n`;
    if (line % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  writer[Symbol.dispose]();
  end();
  expect(await reading).toBe(written);
});

test('a log is read between two times', async () => {
  using writer = new LogWriter(path);
  write(writer, 'early\n');
  await new Promise((resolve) => setTimeout(resolve, 20));
  const between = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 5));
  write(writer, 'late\n');
  expect(await text({ since: between })).toBe('late\n');
  expect(await text({ until: between })).toBe('early\n');
});

test('what is damaged loses only itself', async () => {
  using first = new LogWriter(path);
  write(first, ...['one\n', 'two\n', 'three\n', 'four\n']);
  const bytes = readFileSync(path);
  const [start, end] = [bytes.indexOf('\n') + 1, bytes.indexOf('three')];
  // A host that goes down leaves zeros where it had not written yet, and half an entry at the end.
  bytes.fill(0, start, bytes.lastIndexOf('\n', end) + 1);
  writeFileSync(path, bytes.subarray(0, -10));
  using second = new LogWriter(path);
  write(second, 'five\n', 'six\n');
  expect(await text()).toBe('one\nthree\nfive\nsix\n');
  expect(await text({ tail: 3 })).toBe('three\nfive\nsix\n');
  expect(await text({ since: 1 })).toBe('one\nthree\nfive\nsix\n');
});

describe('a full disk', () => {
  test('fails no writer, though nothing can be taken back', () => {
    symlinkSync('/dev/full', path);
    using writer = new LogWriter(path);
    write(writer, 'lost\n');
  });

  test('leaves whole entries of what was written at once, and half of none', async () => {
    using writer = new LogWriter(path);
    const limit = (bytes: string) => execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`]);
    const ignore = () => {};
    process.on('SIGXFSZ', ignore);
    limit('200');
    try {
      write(writer, 'one\ntwo\nthree\nfour\n');
    } finally {
      limit('unlimited');
      process.off('SIGXFSZ', ignore);
    }
    expect(await text()).toBe('one\ntwo\n');
    expect(readFileSync(path, 'utf8')).toMatch(/\n$/);
    write(writer, 'five\n');
    expect(await text()).toBe('one\ntwo\nfive\n');
  });

  test('takes half an entry from a reader that follows, and nothing else', async () => {
    using writer = new LogWriter(path);
    write(writer, 'one\n');
    const { size } = statSync(path);
    appendFileSync(path, `{"log":"${'half'.repeat(100)}`);
    let end!: () => void;
    const follow = new Promise<void>((resolve) => {
      end = resolve;
    });
    const found: string[] = [];
    for await (const { log } of readLog(path, { follow })) {
      found.push(log);
      if (log === 'one\n') {
        setTimeout(() => {
          truncateSync(path, size);
          write(writer, 'two\n');
        }, 50);
      } else end();
    }
    expect(found).toEqual(['one\n', 'two\n']);
  });
});

test('an event after half an event is not lost with it', async () => {
  const events = new EventLog(folder);
  events.record('1', 'create');
  appendFileSync(join(folder, 'events.json'), '{"time":"2026-01-');
  events.record('2', 'start');
  const actions: string[] = [];
  for await (const { Action } of readLog<ContainerEvent>(join(folder, 'events.json'))) actions.push(Action);
  expect(actions).toEqual(['create', 'start']);
});

test('a missing log is empty', async () => {
  expect(await entries()).toEqual([]);
  expect(await entries({ follow: Promise.resolve() })).toEqual([]);
});
