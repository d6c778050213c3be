// Each public report of test/reports.md names a test that exists.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const tests = new URL('../../', import.meta.url);
const rows = readFileSync(new URL('reports.md', tests), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .slice(2);

test.each(rows)('%s', (row) => {
  const [, path, name] = /\| `([\w./-]+)`: ([^|]+) \|$/.exec(row)!;
  const source = readFileSync(new URL(path!, tests), 'utf8');
  expect(source.replaceAll('\\', '')).toContain(name);
});
