// Sets up what the chosen lanes need, then runs their tests.
//   npm test                       everything: set-up, type check, lint, every lane
//   npm test -- NAME...            the test files whose path contains a NAME
//   npm run test:unit -- NAME...   one lane, or its files whose path contains a NAME
// Options such as `-t 'words of a test name'` are passed to vitest.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = dirname(dirname(fileURLToPath(import.meta.url)));

/** The set-up command of each lane. It includes the set-up of the lanes before it. */
const SET_UP = {
  unit: ['node', 'build.mjs', '--programs'],
  host: ['./quickstart', '--setup-only', '--test=host'],
  kvm: ['./quickstart', '--setup-only', '--test=host'],
  e2e: ['./quickstart', '--setup-only', '--test'],
};
const LANES = Object.keys(SET_UP);

/** The vitest options that take a value. */
const WITH_VALUE = ['-t', '--testNamePattern', '--reporter', '--testTimeout'];

/** Returns the lane of a test file. `vitest.config.ts` has the same rules as patterns. */
function laneOf(path) {
  if (path.startsWith('test/e2e/')) return 'e2e';
  if (path.startsWith('test/kvm/')) return 'kvm';
  return path.endsWith('.host.test.ts') ? 'host' : 'unit';
}

/** Runs a command in the project's root. Exits with its status if it fails. */
function must([command, ...words]) {
  const { status, error } = spawnSync(command, words, { cwd: project, stdio: 'inherit' });
  if (error !== undefined) console.error(`test: ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

const words = process.argv.slice(2);
const lane = LANES.find((name) => words[0] === `--lane=${name}`);
if (lane !== undefined) words.shift();
const names = words.filter((word, at) => !word.startsWith('-') && !WITH_VALUE.includes(words[at - 1]));

const files = readdirSync(`${project}/test`, { recursive: true })
  .map((path) => `test/${path}`)
  .filter((path) => path.endsWith('.test.ts') && (lane === undefined || laneOf(path) === lane))
  .filter((path) => names.length === 0 || names.some((name) => path.includes(name)));
if (files.length === 0) {
  console.error(`test: no path of a test file contains ${names.join(' or ')}`);
  process.exit(1);
}
const lanes = LANES.filter((name) => files.some((path) => laneOf(path) === name));
// The set-up of the other lanes installs the modules.
if (lanes.at(-1) === 'unit' && !existsSync(`${project}/node_modules/.package-lock.json`)) {
  console.error('test: the npm modules are missing: run `npm ci`');
  process.exit(1);
}
must(SET_UP[lanes.at(-1)]);
if (lane === undefined && words.length === 0) must(['npm', 'run', '--silent', 'check']);
must(['node_modules/.bin/vitest', 'run', ...lanes.flatMap((name) => ['--project', name]), ...words]);
