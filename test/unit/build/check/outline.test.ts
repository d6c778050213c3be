// The outline of a hostile Dockerfile.
import { expect, test } from 'vitest';
import { outlineDockerfile } from '../../../../build/check/outline.js';
import { outlineText } from '../../../../cli/commands/image/build-call-text.js';

const options = { buildArgs: {}, baseConfig: async () => ({}) };

test('an argument may need more others, and a table may have more rows, than a call has arguments', async () => {
  const needs = Array.from({ length: 200_000 }, (_, index) => `$v${index}`).join('');
  const outline = await outlineDockerfile(`ARG v0=b\nARG a=${needs}\nFROM $a`, options);
  expect(outline.args.map(({ name }) => name)).toEqual(['v0', 'a']);
  const args = Array.from({ length: 200_000 }, () => outline.args[0]!);
  expect(outlineText({ ...outline, args }).split('\n').length).toBeGreaterThan(200_000);
});
