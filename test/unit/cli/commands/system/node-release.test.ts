// Proves which releases of Node.js `tsvm doctor` warns of.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { nodeRelease } from '../../../../../cli/commands/system/node-release.js';

const on = (version: string, date: string) => nodeRelease(version, new Date(`${date}T12:00:00Z`));

test.each([
  ['v20.19.0', '2026-04-30', 'Node.js v20.19.0, supported until 2026-04-30'],
  ['v26.1.0', '2026-06-01', 'Node.js v26.1.0, supported until 2029-04-30'],
  ['v24.0.0', '2020-01-01', 'Node.js v24.0.0, supported until 2028-04-30'],
  ['v31.0.0', '2026-11-28', 'Node.js v31.0.0, a line that this tsvm does not know'],
  ['v27.0.0-alpha.1', '2099-01-01', 'Node.js v27.0.0-alpha.1, a line that this tsvm does not know'],
])('%s on %s is not warned of', (version, date, found) => {
  expect(on(version, date)).toEqual({ found });
});

test.each([
  ['v20.20.2', '2026-05-01', '2026-04-30', 'Node.js 24'],
  ['v20.20.2', '2026-11-28', '2026-04-30', 'Node.js 26'],
  ['v25.3.0', '2026-06-02', '2026-06-01', 'Node.js 24'],
  // A tsvm that is older than all lines with support.
  ['v26.1.0', '2035-01-01', '2029-04-30', 'the newest Node.js with long-term support'],
])('%s on %s gets no updates since %s', (version, date, end, wanted) => {
  expect(on(version, date)).toEqual({
    found: `Node.js ${version} gets no security updates since ${end}`,
    advice: `install ${wanted}: https://nodejs.org`,
  });
});

test('every line that the package allows has an end, up to the newest of the table', () => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
  const oldest = Number(/^\^(\d+)\./.exec(engines.node)?.[1]);
  for (let major = oldest; major <= 26; major++) expect(on(`v${major}.0.0`, '2020-01-01').found).toContain('supported');
});
