// Named contexts: FROM and COPY --from find a folder, an image or a layout by its name, in place of a
// stage or an image that has it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { tar } from './archive.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let shop: Workshop;
let other: string;

beforeEach(() => {
  shop = new Workshop();
  other = join(shop.folder, 'other');
  mkdirSync(join(other, 'd'), { recursive: true });
  writeFileSync(join(other, 'd/f'), 'F', { mode: 0o640 });
  writeFileSync(join(other, 'hidden'), 'H');
  writeFileSync(join(other, '.dockerignore'), 'hidden\n.*');
  writeLayout(join(shop.folder, 'layout'), [tar({ path: 'l', text: 'L' })], { tag: 'one', config: { Env: ['A=b'] } });
});

afterEach(() => shop[Symbol.dispose]());

function tsvm(dockerfile: string, ...contexts: string[]) {
  shop.write({ Dockerfile: dockerfile, a: 'A' });
  const words = contexts.flatMap((text) => ['--build-context', text]);
  const argv = ['build', '--progress', 'quiet', '-t', 'made', ...words, shop.context];
  const { status, stdout, stderr } = spawnSync(TSVM, argv, { env: { ...process.env, TSVM_HOME: shop.home.path } });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

const FILES = ['755 0:0 /d/', '640 0:0 /d/f "F"'];
const LAYOUT = ['644 0:0 /l "L"'];

test.each<[string, string, string, string[]]>([
  ['a source of COPY', 'FROM scratch\nCOPY --from=src . /', 'src=@other', FILES],
  ['a base', 'FROM src', 'src=@other', FILES],
  [
    'a base with steps',
    'FROM src\nCOPY a /\nCOPY --from=src /d/f /',
    'src=@other',
    ['644 0:0 /a "A"', ...FILES, '640 0:0 /f "F"'],
  ],
  ['a base in place of an image', 'FROM docker.io/library/alpine:latest', 'alpine=@other', FILES],
  ['a stage', 'FROM nowhere.invalid/x AS src\nRUN none\nFROM scratch\nCOPY --from=src / /', 'src=@other', FILES],
  ['a stage by number', 'FROM scratch AS src\nFROM scratch\nCOPY --from=0 / /', 'src=@other', FILES],
  ['a stage that another continues', 'FROM scratch AS src\nFROM src', 'src=@other', FILES],
  ['a layout', 'FROM src', 'src=oci-layout://@layout', LAYOUT],
  ['a layout by its tag', 'FROM scratch\nCOPY --from=src:2 l /', 'src:2=oci-layout://@layout:one', LAYOUT],
])('%s', async (_, dockerfile, context, expected) => {
  expect(tsvm(dockerfile, context.replace('@', `${shop.folder}/`))).toMatchObject({ status: 0, stderr: '' });
  const made = await shop.open('made');
  const files = await made.files();
  expect(files.sort()).toEqual([...expected].sort());
  if (dockerfile === 'FROM src' && expected === LAYOUT)
    expect(made.config).toMatchObject({ Env: ['A=b', expect.stringMatching(/^PATH=/)] });
});

test('an image of the store has another name in the build', async () => {
  expect(tsvm('FROM scratch\nCOPY a /a\nLABEL c=d').status).toBe(0);
  await shop.home.images.tag('made', 'base:1');
  const { status } = tsvm(
    'FROM nowhere.invalid/x\nCOPY --from=y a /b',
    'nowhere.invalid/x=docker-image://base:1',
    'y=docker-image://base:1',
  );
  expect(status).toBe(0);
  const made = await shop.open('made');
  expect(await made.files()).toEqual(['644 0:0 /a "A"', '644 0:0 /b "A"']);
  expect(made.config).toMatchObject({ Labels: { c: 'd' } });
});

test('the files of a folder are in the cache by their contents', async () => {
  const first = tsvm('FROM src', `src=${other}`).stdout;
  expect(tsvm('FROM src', `src=${other}`).stdout).toBe(first);
  writeFileSync(join(other, 'd/f'), 'G');
  expect(tsvm('FROM src', `src=${other}`).stdout).not.toBe(first);
});

test.each([
  ['src', 'expected NAME=CONTEXT'],
  ['src=', 'expected NAME=CONTEXT'],
  ['A B=/tmp', 'invalid context name A B'],
  ['src=/none', '/none is not a folder'],
  ['src=docker-image://A B', 'invalid image name A B'],
  ['src=oci-layout://d@sha256:0', 'expected oci-layout://DIR[:TAG]'],
])('%s is refused', (context, why) => {
  const { status, stderr } = tsvm('FROM scratch', context);
  expect(status).toBe(125);
  expect(stderr).toContain(`tsvm: invalid argument '${context}' for --build-context: ${why}`);
});

test('a URL of another kind is refused', () => {
  const { status, stderr } = tsvm('FROM scratch', 'src=ftp://example.org/x.tar');
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(
      /^tsvm: a context is a folder, -, a URL of http or https, or a repository: [^\n]*\n$/,
    ),
  });
});
