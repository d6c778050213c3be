// Sets up what the chosen lanes need, then runs their tests.
//   npm test                       everything: set-up, type check, lint, every lane
//   npm test -- NAME...            the test files whose path contains a NAME
//   npm run test:unit -- NAME...   one lane, or its files whose path contains a NAME
// Options such as `-t 'words of a test name'` are passed to vitest.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

/** Everything in the lab is emulated. */
const PATIENCE_IN_LAB = ['--testTimeout=600000', '--hookTimeout=600000'];

/** The vitest options that take a value. */
const WITH_VALUE = ['-t', '--testNamePattern', '--reporter', '--testTimeout'];

/** Returns the lane of a test file. `vitest.config.ts` has the same rules as patterns. */
function laneOf(path) {
  if (path.startsWith('test/e2e/')) return 'e2e';
  if (path.startsWith('test/kvm/')) return 'kvm';
  return path.endsWith('.host.test.ts') ? 'host' : 'unit';
}

/** Runs a command in the project's root. Returns its exit status. */
function run([command, ...words]) {
  const { status, error } = spawnSync(command, words, { cwd: project, stdio: 'inherit' });
  if (error !== undefined) console.error(`test: ${command}: ${error.message}`);
  return status ?? 1;
}

/** Runs a command in the project's root. Exits with its status if it fails. */
function must(command) {
  const status = run(command);
  if (status !== 0) process.exit(status);
}

/**
 * Whether this machine has the KVM of a processor, and it can be opened. A KVM in software interprets
 * the guest's kernel, and does not know each instruction.
 */
function hasKvm() {
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'))) return false;
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
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
// A machine without such a KVM has one in the lab.
const inLab = lanes.includes('kvm') && !hasKvm() ? ['kvm'] : [];
const here = lanes.filter((name) => !inLab.includes(name));
must(inLab.length > 0 ? SET_UP.e2e : SET_UP[lanes.at(-1)]);
if (lane === undefined && words.length === 0) must(['npm', 'run', '--silent', 'check']);

// The reporter of each run of vitest adds a line to this file. The lab does not see /tmp.
const folder = mkdtempSync(join(project, 'dist/counts-'));
const counts = join(folder, 'counts');
const vitest = (names) => [
  ...['env', `TSVM_TEST_COUNTS=${counts}`, 'node_modules/.bin/vitest', 'run'],
  ...[...names.flatMap((name) => ['--project', name]), ...words],
];
const statuses = [
  ...(here.length > 0 ? [run(vitest(here))] : []),
  ...(inLab.length > 0 ? [run(['node', 'dist/lab.js', ...vitest(inLab), ...PATIENCE_IN_LAB])] : []),
];
const lines = existsSync(counts) ? readFileSync(counts, 'utf8').trimEnd().split('\n') : [];
rmSync(folder, { recursive: true });
const runs = lines.map((line) => JSON.parse(line));
const failures = runs.flatMap((one) => one.failures);
for (let missing = runs.length; missing < statuses.length; missing++) failures.push('a run ended without a count');
// Vitest ends with a status of its own if what all tests share was not left as it was.
if (failures.length === 0 && Math.max(...statuses) !== 0) failures.push('a run failed after its tests');
// Here too, as what a lane prints of a failure is far above what the next one prints.
for (const failure of failures) console.log(`failed: ${failure.replace(/\s+/g, ' ').slice(0, 3000)}`);
console.log(`${runs.reduce((sum, { passed }) => sum + passed, 0)} passed, ${failures.length} failed`);
process.exit(Math.max(...statuses));
