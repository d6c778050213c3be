// The report: its published schema is the one that the program checks, and the table shows what it
// has, and says what it lacks.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { formatTable, type Report, ReportSchema } from '../../../compare/index.js';
import { formatNumber } from '../../../compare/table.js';
import { report } from '../../fixtures/compare-report.js';

const published = new URL('../../../docs/compare.schema.json', import.meta.url);

test('docs/compare.schema.json is the schema of the report', () => {
  expect(JSON.parse(readFileSync(published, 'utf8'))).toEqual(z.toJSONSchema(ReportSchema));
});

test('a report that fits the schema is taken, and one with a number for what was not measured is refused', () => {
  expect(ReportSchema.parse(report)).toEqual(report);
  const wrong = { ...report, levels: [{ ...report.levels[0], measures: [{ name: 'start', median: -1 }] }] };
  expect(ReportSchema.safeParse(wrong).success).toBe(false);
});

test('the table has each measure with its figures, and bars in proportion', () => {
  const lines = formatTable(report).split('\n');
  expect(lines[0]).toBe('debian:12, 3 rounds on a CPU, 2 CPUs, Linux 6.1.0');
  const at = lines.indexOf('start: create to first output, ms');
  expect(lines[at + 1]).toMatch(/^ {2}process +10\.0 +9\.00 to 11\.0 +9\.00 to 11\.0 +1\.00x +██▍$/);
  expect(lines[at + 2]).toMatch(/^ {2}runc +100 +90\.0 to 110 +90\.0 to 110 +10\.0x +█{24}$/);
});

test('a ratio is in parentheses if a difference was looked for, and none was found', () => {
  const withDifference = (sign: -1 | 0 | 1) => {
    const [process, runc, ...others] = report.levels;
    const measures = runc!.measures.map((each) => ({ ...each, difference: { sign } }));
    return formatTable({ ...report, levels: [process!, { ...runc!, measures }, ...others] });
  };
  expect(withDifference(0)).toContain(' (10.0x) ');
  for (const sign of [-1, 1] as const) expect(withDifference(sign)).toContain(' 10.0x ');
});

test('what is missing, has failed or was not measured is said in words', () => {
  const text = formatTable(report);
  expect(text).toContain('gvisor-ptrace   missing: runsc is not installed (apt-get install runsc)');
  expect(text).toContain('uml             failed: there is no kernel');
  expect(text).toContain('runc            memory not measured: permission denied');
  expect(text).toContain('warning: other programs used the CPUs');
});

test('the surface has a row for each level that was looked at', () => {
  const lines = formatTable(report).split('\n');
  const at = lines.findIndex((line) => line.startsWith('Surface of the host'));
  expect(lines.slice(at + 1, at + 5)).toEqual([
    '                  allowed   tried   made   calls   reached   capabilities   files   namespaces',
    '  process               2       2      1      40         3             40       1            1',
    '  runc                  1       1      -       -         -              -       -            -',
    '',
  ]);
});

test('the probes are a matrix of levels', () => {
  const lines = formatTable(report).split('\n');
  const at = lines.findIndex((line) => line.startsWith('What a command inside sees and reaches'));
  expect(lines.slice(at + 1, at + 3)).toEqual([
    '                      process   runc',
    '  setting the clock   host      closed',
  ]);
});

test('what a level says is made harmless for a terminal', () => {
  const hostile: Report = { ...report, levels: [{ ...report.levels[2]!, reason: 'a\u001b[2Jb' }] };
  expect(formatTable(hostile)).not.toContain('\u001b');
});

test('numbers have three digits', () => {
  expect([0, 0.01234, 0.5, 12.345, 999, 123456].map(formatNumber)).toEqual([
    '0',
    '0.0123',
    '0.500',
    '12.3',
    '999',
    '123456',
  ]);
});
