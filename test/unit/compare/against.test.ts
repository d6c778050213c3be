// A report against an older one: a change is told if the samples show it, and not if they do not.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { changesBetween, formatTable, isWorse, type Report, readReport } from '../../../compare/index.js';
import { summarize } from '../../../compare/statistics.js';
import { report } from '../../fixtures/compare-report.js';
import { Random } from '../../fixtures/random.js';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

/** A report of one level, with samples for each measure. */
function withSamples(measures: Record<string, readonly number[]>): Report {
  const [level] = report.levels;
  if (level === undefined) throw new Error('the fixture has no level');
  const found = Object.entries(measures).map(([name, samples]) => {
    return { name, title: name, unit: 'ms' as const, samples: [...samples], warmUp: [], ...summarize(samples) };
  });
  return { ...report, levels: [{ ...level, measures: found }] };
}

const numbers = new Random(41);
/** Times as a host gives them: most are alike, and one in ten takes up to three times as long. */
const times = (factor = 1, count = 10) =>
  Array.from({ length: count }, () => {
    return factor * (10 + numbers.fraction() + (numbers.fraction() < 0.1 ? 20 * numbers.fraction() : 0));
  });

test('of 20 comparisons of a level with itself, in four figures each, at most one finds a change', () => {
  const names = Array.from({ length: 4 }, (_, index) => `measure-${index}`);
  const any = () => withSamples(Object.fromEntries(names.map((name) => [name, times()])));
  const changes = Array.from({ length: 20 }, () => changesBetween(any(), any()));
  expect(changes.every(({ compared }) => compared === 4)).toBe(true);
  expect(changes.flatMap(({ measures }) => measures).length).toBeLessThanOrEqual(1);
});

test('what takes 30 % longer or shorter is found, and the interval of 99 percent has the ratio', () => {
  let missed = 0;
  for (let turn = 0; turn < 100; turn++) {
    const changes = changesBetween(
      withSamples({ slower: times(1, 20), faster: times(1, 20) }),
      withSamples({ slower: times(1.3, 20), faster: times(0.7, 20) }),
    );
    expect(changes.measures.map(({ name, verdict }) => [name, verdict])).toEqual([
      ['slower', 'worse'],
      ['faster', 'better'],
    ]);
    const [low, high] = changes.measures[0]?.ratio ?? [0, 0];
    expect(low).toBeGreaterThan(1);
    if (low > 1.3 || high < 1.3) missed++;
    expect(isWorse(changes)).toBe(true);
  }
  // 1 of 100, and three times the standard deviation of that count.
  expect(missed).toBeLessThanOrEqual(4);
});

test('a cost that was nothing and is something is a change without a ratio', () => {
  const changes = changesBetween(withSamples({ disk: [0, 0, 0, 0, 0] }), withSamples({ disk: [4, 4, 4, 4, 4] }));
  expect(changes.measures).toEqual([{ level: 'process', name: 'disk', unit: 'ms', from: 0, to: 4, verdict: 'worse' }]);
  expect(formatTable({ ...report, changes })).toContain('  process   disk   worse   0 -> 4.00 ms\n');
});

test('a figure of too few rounds is not judged, however many samples a round gave', () => {
  const crowd = (value: number): Report => {
    const { levels, ...others } = withSamples({ 'start-10': Array.from({ length: 20 }, () => value) });
    const [level] = levels;
    const rounds = Array.from({ length: 20 }, (_, index) => Math.floor(index / 10));
    return { ...others, levels: [{ ...level!, measures: level!.measures.map((each) => ({ ...each, rounds })) }] };
  };
  const changes = changesBetween(crowd(10), crowd(20));
  expect(changes).toMatchObject({ compared: 0, unjudged: ['process start-10'], measures: [] });
  expect(formatTable({ ...report, changes })).toContain('  too few rounds to judge: process start-10\n');
});

test('what got better alone is not worse', () => {
  expect(isWorse(changesBetween(withSamples({ start: times() }), withSamples({ start: times(0.5) })))).toBe(false);
});

test('a door that opened is worse, one that closed is not', () => {
  const probed = (verdict: 'host' | 'closed') => {
    const [level] = withSamples({}).levels;
    return { ...report, levels: [{ ...level!, probes: [{ name: 'kvm', title: '', verdict, found: '' }] }] };
  };
  const opened = changesBetween(probed('closed'), probed('host'));
  expect(opened.probes).toEqual([{ level: 'process', name: 'kvm', from: 'closed', to: 'host' }]);
  expect(isWorse(opened)).toBe(true);
  expect(isWorse(changesBetween(probed('host'), probed('closed')))).toBe(false);
});

test('another kernel, another image, and a figure that is gone are said', () => {
  const before = withSamples({ start: times(), memory: times() });
  const after = { ...withSamples({ start: times() }), host: { ...report.host, kernel: '6.2.0' } };
  const changes = changesBetween(before, after);
  expect(changes).toMatchObject({ differences: ['kernel'], absent: ['process memory'], compared: 1 });
  const text = formatTable({ ...after, changes });
  expect(text).toContain('Since 2026-11-28T06:00:00.000Z: 0 of 1 figures changed');
  expect(text).toContain('  not measured any more: process memory');
  expect(text).toContain('  beside the levels differs: kernel');
});

test('a level given twice is compared place by place', () => {
  const [level] = withSamples({ start: times() }).levels;
  const [other] = withSamples({ start: times(2) }).levels;
  const twice = { ...report, levels: [level!, other!] };
  expect(changesBetween(twice, twice)).toMatchObject({ compared: 2, measures: [] });
});

test.each([
  ['missing.json', undefined, /^cannot read .*missing\.json: ENOENT/],
  ['text.json', 'no', /^cannot read .*text\.json: Unexpected token/],
  [
    'older.json',
    JSON.stringify({ ...report, format: 'tsvm-compare-1' }),
    /has the format "tsvm-compare-1", and this needs tsvm-compare-2$/,
  ],
  ['other.json', '{"a": 1}', /^.*other\.json is not a report of tsvm compare: .* at format$/],
  ['wrong.json', JSON.stringify({ ...report, rounds: 'many' }), /is not a report of tsvm compare: .* at rounds$/],
  ['folder', undefined, /^cannot read /],
])('%s is refused in one line', (name, text, message) => {
  const path = name === 'folder' ? folder : join(folder, name);
  if (text !== undefined) writeFileSync(path, text);
  expect(() => readReport(path)).toThrow(message);
  expect(() => readReport(path)).toThrow(/^[^\n]*$/);
});

test('a report in JSON is read as it was written', () => {
  const path = join(folder, 'report.json');
  writeFileSync(path, JSON.stringify(report));
  expect(readReport(path)).toEqual(report);
});
