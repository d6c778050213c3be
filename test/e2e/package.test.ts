// The npm package is enough on a minimal Debian with Node.js: an ordinary user and root install it
// without a network, and run an image on the kernel that it brings.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { enterBareDebian, makeBareDebian, type Release, type User } from '../fixtures/bare-debian.js';
import { makePackage } from '../fixtures/package.js';
import { DEBIAN, fastestProcessor, run, TSVM } from './machine.js';

/** What the package has to do without. */
const NOT_THERE = ['cc', 'gcc', 'make', 'python3', 'git', 'xz', 'zstd', 'tsvm'];

let folder: string;
let root: string;
let tgz: string;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  root = join(folder, 'root');
  tgz = makePackage(join(folder, 'package/checkout'));
  makeBareDebian(root);
  const env = { ...process.env, TSVM_HOME: inject('homes').here };
  execFileSync(TSVM, ['save', '-o', join(folder, 'package/image.tar'), DEBIAN], { env });
  chmodSync(join(folder, 'package/image.tar'), 0o644);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** A command on the bare computer, which sees the package and the image. */
function enter(argv: string[], who: { release: Release; user: User }, options: { isOnline?: boolean } = {}): string[] {
  const folders = { '/srv/package': dirname(tgz) };
  return enterBareDebian(root, argv, { ...who, ...options, folders });
}

function here([program = '', ...words]: string[]): void {
  execFileSync(program, words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

const WHO: { release: Release; user: User }[] = [
  { release: '20.15.0', user: 'root' },
  { release: '24', user: 'user' },
  { release: '26', user: 'user' },
];

describe.each(fastestProcessor)('on $name', (machine) => {
  test.each(WHO)('with Node.js $release, $user installs it without a network and runs an image', async (who) => {
    here(enter(['sh', '-c', NOT_THERE.map((name) => `! command -v ${name}`).join(' && ')], who));

    const prefix = `on-${who.release}`;
    const install = ['npm', 'install', '--global', '--offline', '--no-audit', '--no-fund', '--prefix', prefix];
    here(enter([...install, `/srv/package/${basename(tgz)}`], who, { isOnline: false }));

    const tsvm = `${prefix}/bin/tsvm`;
    here(enter([tsvm, 'load', '-i', '/srv/package/image.tar'], who));
    const words = ['run', '--rm', '-i', DEBIAN, 'sh', '-c', 'cat; uname -r; exit 7'];
    const ended = await run(machine, enter([tsvm, ...words], who), { stdin: 'said\n' });
    expect(ended).toEqual({ code: 7, stdout: expect.stringMatching(/^said\n\d\S*-tsvm\n$/), stderr: '' });
  });
});
