// Runs commands in loops against two containers while their machines, supervisors and callers are
// killed at random. Prints, as JSON, what went wrong and what was done. Built to
// dist/random-kills.js. Arguments: path of tsvm, an image, seed, number of kills, and which commands:
// `any`, or `saved` for those that save machines and continue them, which needs KVM.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { mountedHierarchy } from '../../sandbox/cgroup/hierarchy.js';
import { isCgroupOf } from '../../sandbox/cgroup/machine-cgroup.js';
import { Random } from '../fixtures/random.js';
import { foldersBelow } from './folders.js';
import { heldImages, list, OwnHome } from './own-home.js';

const NAMES = ['one', 'two'];
const TICKS = 'i=0; while :; do echo "tick $((i += 1))"; sleep 0.2; done';
const SNAPSHOTS = ['early', 'late'];
/** Of the writable disk of a container that is copied. In the lab, holes of a file are read as data. */
const DISK = '32m';
/** Exit code of a container whose machine was lost. */
const LOST = 255;
/** Exit code of a container that `rm -f` killed, and of a process that ended with its container. */
const KILLED = 137;

interface Kind {
  words(name: string): string[];
  /** Below ours. Default: ours. */
  home?: string;
  /** Matches all of stdout if the command succeeds or ends with its container. */
  answer: RegExp;
  /** Exit codes that count as success too, besides 0. */
  codes?: readonly number[];
}

/** What is run, and killed. */
interface Plan {
  kinds: readonly Kind[];
  /** Commands that run at once, besides those that restart the containers. */
  loops: number;
  /** Maximum time between two kills, in milliseconds. */
  pause: number;
  /**
   * Maximum time for a command to end, or for a killed process to disappear, in milliseconds: longer
   * than either takes on a busy machine.
   */
  patience: number;
  /** What starts a container that has ended. */
  starts: readonly string[];
}

const STATE = '(created|running|exited|suspended)';
const KINDS: readonly Kind[] = [
  { words: () => ['ps', '-a', '--format', '{{.Names}} {{.State}}'], answer: RegExp(`^((one|two) ${STATE}\n){2}$`) },
  { words: (name) => ['inspect', '-f', '{{.State.Status}}', name], answer: RegExp(`^${STATE}\n$`) },
  { words: (name) => ['logs', '-f', '--tail', '5', name], answer: /^(tick \d+\n)*$/ },
  { words: (name) => ['attach', '--no-stdin', name], answer: /^(tick \d+\n)*(tick \d*)?$/, codes: [LOST, KILLED] },
  { words: (name) => ['start', '-a', name], answer: /^(tick \d+\n)*(tick \d*)?$/, codes: [LOST, KILLED] },
  { words: (name) => ['wait', name], answer: /^(0|125|137|255)\n$/ },
  { words: (name) => ['exec', name, 'echo', 'said'], answer: /^(said\n)?$/, codes: [KILLED] },
  { words: (name) => ['stats', '--no-stream', '--format', '{{.Name}}', name], answer: /^(one|two)\n$/ },
  { words: (name) => ['cp', `${name}:/etc/debian_version`, '-'], answer: /^debian_version/ },
  { words: (name) => ['cp', '/etc/hostname', `${name}:/tmp`], answer: /^$/ },
  { words: (name) => ['top', name], answer: /sleep 0\.2|sh -c/ },
];
const MEMORY = '96m';
const AS_CLONE = ['run', '-d', '--rm', '-l', 'clone'];
/** Commands that save machines, and continue them. */
const SAVED: readonly Kind[] = [
  { words: () => ['ps', '-a', '--format', '{{.State}}'], answer: RegExp(`^(${STATE}\n){2,}$`) },
  { words: (name) => ['snapshot', 'create', name, random.pick(SNAPSHOTS)], answer: /^(early|late)\n$/ },
  { words: (name) => ['snapshot', 'create', name, random.pick(SNAPSHOTS)], answer: /^(early|late)\n$/ },
  { words: () => ['snapshot', 'rm', random.pick(SNAPSHOTS)], answer: /^(early|late)\n$/ },
  { words: () => [...AS_CLONE, '--snapshot', random.pick(SNAPSHOTS)], answer: /^[0-9a-f]{64}\n$/ },
  { words: () => [...AS_CLONE, '--snapshot', random.pick(SNAPSHOTS)], answer: /^[0-9a-f]{64}\n$/ },
  { words: (name) => ['fork', name], answer: /^[a-z_]+\n$/ },
  { words: (name) => ['suspend', name], answer: /^(one|two)\n$/ },
  { words: (name) => ['resume', name], answer: /^(one|two)\n$/ },
  { words: () => ['template', 'create', '-m', MEMORY], answer: /^[0-9a-f]{32}\n$/ },
  { words: () => ['template', 'prune', '-f'], answer: /^(Deleted Templates:\n([0-9a-f]{32}\n)+\n)?Total reclaimed / },
];
const PLANS: Record<string, Plan> = {
  any: { kinds: KINDS, loops: 3, pause: 2500, patience: 120_000, starts: ['start'] },
  // In the lab a command takes seconds.
  saved: { kinds: SAVED, loops: 2, pause: 12_000, patience: 300_000, starts: ['start', 'resume'] },
};
/** Into a store of its own: the other one is the user's. */
const IMPORT: Kind = {
  words: () => ['import', random.pick(archives), 'imported'],
  home: 'importer',
  answer: /^sha256:[0-9a-f]{64}\n$/,
};
/** Bytes of an archive to import. */
const ARCHIVE = 8 * 2 ** 20;

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

const [tsvm = '', image = '', seed, kills, what = 'any'] = process.argv.slice(2);
const plan = PLANS[what]!;
const isSaved = plan.kinds === SAVED;
using home = new OwnHome(isSaved);
const runtime = mkdtempSync('/tmp/tsvm-kills-');
/** The environment that marks our processes: `processes` looks for its TSVM_HOME. */
const env: NodeJS.ProcessEnv = { ...process.env, TSVM_HOME: home.path, XDG_RUNTIME_DIR: runtime };
// Templates are made and used.
if (isSaved) env.TSVM_TEMPLATES_SIZE = '';
const random = new Random(Number(seed));
const callers = new Set<ChildProcess>();
const faults: string[] = [];
const done: Record<string, number> = {};
let ending = false;

/** Runs a command until it ends, or for its patience. @param below its home, if it is not ours but below it */
async function run(words: readonly string[], below = ''): Promise<Result> {
  const own = { ...env, TSVM_HOME: join(home.path, below) };
  const child = spawn(tsvm, words, { stdio: ['ignore', 'pipe', 'pipe'], env: own });
  callers.add(child);
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      said[name] += text;
    });
  }
  const timer = setTimeout(() => {
    faults.push(`${words.join(' ')}: hangs`);
    child.kill('SIGKILL');
  }, plan.patience);
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  callers.delete(child);
  return { code, ...said };
}

/** What is wrong on this host, such as a /dev/kvm that cannot be used, is no fault of a command. */
const WARNING = /^tsvm: warning: [^\n]+\n/gm;

/** Whether a command ended with a valid answer or with a one-line error. */
function isClear({ code, stdout, stderr }: Result, { answer, codes = [] }: Pick<Kind, 'answer' | 'codes'>): boolean {
  // The command itself was killed.
  if (code === null) return true;
  const errors = stderr.replace(WARNING, '');
  if (code === 0 || codes.includes(code)) return answer.test(stdout) && errors === '';
  return code === 125 && /^tsvm: (?!internal error)[^\n]+\n$/.test(errors);
}

async function runKind(kind: Kind): Promise<void> {
  const words = kind.words(random.pick(NAMES));
  const result = await run(words, kind.home);
  const [command = ''] = words;
  done[command] = (done[command] ?? 0) + 1;
  if (!isClear(result, kind)) faults.push(`${words.join(' ')}: ${JSON.stringify(result)}`);
}

async function runMany(kinds: readonly Kind[]): Promise<void> {
  while (!ending) await runKind(random.pick(kinds));
}

/** Names of the containers besides ours. */
async function clones(): Promise<string[]> {
  const { stdout } = await run(['ps', '-a', '--format', '{{.Names}}']);
  return stdout.split('\n').filter((name) => name !== '' && !NAMES.includes(name));
}

/** Removes a clone whenever there are a few. */
async function removeClones(): Promise<void> {
  while (!ending) {
    const found = await clones();
    if (found.length > 2) await runKind({ words: () => ['rm', '-f', random.pick(found)], answer: /^[a-z_]+\n$/ });
    await sleep(2000);
  }
}

/** Makes an archive for each decompressor. */
function makeArchives(): string[] {
  writeFileSync(join(runtime, 'file'), randomBytes(ARCHIVE).toString('base64').slice(0, ARCHIVE));
  const archive = execFileSync('tar', ['-C', runtime, '-c', 'file'], { maxBuffer: 2 * ARCHIVE });
  return ['zstd', 'xz'].map((program) => {
    const path = join(runtime, `file.tar.${program}`);
    writeFileSync(path, execFileSync(program, ['-1cq'], { input: archive, maxBuffer: 2 * ARCHIVE }));
    return path;
  });
}

/** Starts the container again whenever it has ended, so that there is always something to kill. */
async function keepStarting(name: string): Promise<void> {
  while (!ending) {
    await runKind({ words: () => [random.pick(plan.starts), name], answer: RegExp(`^${name}\n$`) });
    await sleep(500);
  }
}

interface Process {
  pid: number;
  role: string;
}

const ROLES: readonly [role: string, program: RegExp][] = [
  // QEMU; User-Mode Linux; the launcher of either.
  ['companion', /^([^\0]*qemu|[^\0]*\0mem=|[^\0]*tsvm-jail\0--start\0)/],
  // The launcher too.
  ['machine', /dist\/machine\.cjs/],
  ['passer', /tsvm-jail\0pass\0/],
  // Its launcher too.
  ['decompressor', /^([^\0]*tsvm-jail\0.*\0)?([^\0]*\/)?(zstd|xz)\0-dcq\0/s],
  ['supervisor', /dist\/supervisor\.cjs/],
  ['template', /dist\/template\.js/],
];

/** The command line of User-Mode Linux, which the processes of its guest's programs have too. */
const UML = /^[^\0]*\0mem=/;

/** Processes that were ours when they were last seen: start time by process id. */
const known = new Map<number, string>();

/** Reads a process: an empty list if it has just ended. */
function readProcess(pid: number) {
  try {
    // The second field, a name, may contain anything.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    const hasHome = readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`TSVM_HOME=${home.path}`);
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    return [{ pid, state: fields[0], parent: Number(fields[1]), started: fields[19] ?? '', hasHome, words }];
  } catch {
    return [];
  }
}

/**
 * Lists the processes whose environment has our home, their descendants, whose environment is empty,
 * and those that were such descendants before their parent was killed.
 */
function processes(): Process[] {
  const all = list('/proc').flatMap((name) => (/^\d+$/.test(name) ? readProcess(Number(name)) : []));
  const found = all.filter((each) => each.state !== 'Z');
  const ours = new Set<number>();
  for (let before = -1; before < ours.size; ) {
    before = ours.size;
    for (const { pid, parent, started, hasHome } of found) {
      if (hasHome || ours.has(parent) || known.get(pid) === started) ours.add(pid);
    }
  }
  known.clear();
  const kernels = new Set(found.filter(({ words }) => UML.test(words)).map(({ pid }) => pid));
  return found
    .filter(({ pid, words }) => ours.has(pid) && words !== '')
    .map(({ pid, parent, started, words }) => {
      known.set(pid, started);
      if (kernels.has(parent)) return { pid, role: 'program' };
      return { pid, role: ROLES.find(([, program]) => program.test(words))?.[0] ?? 'caller' };
    });
}

/** Kills one random process of a random role, of one that was not killed yet if there is one. */
function killOne(): void {
  // A start without its passer fails with a message of its own. A program of the guest whose process
  // is killed ends by a signal, as it may on any machine.
  const found = processes().filter(({ role }) => role !== 'passer' && role !== 'program');
  const roles = [...new Set(found.map(({ role }) => role))].sort();
  if (roles.length === 0) return;
  const fresh = roles.filter((name) => done[`killed ${name}`] === undefined);
  const role = random.pick(fresh.length > 0 ? fresh : roles);
  const { pid } = random.pick(found.filter((candidate) => candidate.role === role));
  try {
    process.kill(pid, 'SIGKILL');
    done[`killed ${role}`] = (done[`killed ${role}`] ?? 0) + 1;
  } catch {
    // The process has just ended.
  }
}

/**
 * Checks that `ps` reports each container truthfully: a running one answers `exec`. Tries for
 * its patience, because a supervisor needs a moment to notice a death.
 */
async function checkTruth(): Promise<void> {
  for (const name of NAMES) {
    for (const start = performance.now(); ; ) {
      const { stdout: state } = await run(['ps', '-a', '--filter', `name=${name}`, '--format', '{{.State}}']);
      const { stdout: said } = await run(['exec', name, 'echo', 'here']);
      if ((said === 'here\n') === (state === 'running\n')) break;
      if (performance.now() - start < plan.patience) continue;
      faults.push(`ps says that ${name} is '${state}', and it says '${said}'`);
      break;
    }
  }
}

async function checkNothingLeft(): Promise<void> {
  for (const start = performance.now(); processes().length > 0; await sleep(100)) {
    if (performance.now() - start < plan.patience) continue;
    faults.push(`processes are left: ${JSON.stringify(processes())}`);
    break;
  }
  for (const folder of ['snapshots', 'templates']) {
    // Why a template could not be made is remembered for a day.
    const left = list(join(home.path, folder)).filter((name) => name !== 'lock' && !name.endsWith('.failed'));
    if (left.length > 0) faults.push(`${folder} are left: ${left.join(', ')}`);
  }
  if (isSaved && heldImages(home.path).length > 0) faults.push(`images are held: ${heldImages(home.path).join(', ')}`);
  if (home.left.length > 0) faults.push(`left: ${home.left.join(', ')}`);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const ours = mounts.filter((line) => [home.path, runtime].some((path) => line.split(' ')[4]?.startsWith(path)));
  if (ours.length > 0) faults.push(`mounts are left: ${ours.join(', ')}`);
  const cgroups = foldersBelow(mountedHierarchy()).filter((path) => ids.some((id) => isCgroupOf(path, id)));
  if (cgroups.length > 0) faults.push(`cgroups are left: ${cgroups.join(', ')}`);
  const sockets = list(join(runtime, 'tsvm')).filter((name) => name !== 'networks' && name !== 'lock');
  if (sockets.length > 0) faults.push(`sockets are left: ${sockets.join(', ')}`);
}

/** Runs a command that must succeed. */
async function must(words: readonly string[], answer: RegExp): Promise<string> {
  const result = await run(words);
  if (result.code !== 0 || !answer.test(result.stdout)) {
    faults.push(`at the end, ${words.join(' ')}: ${JSON.stringify(result)}`);
  }
  return result.stdout;
}

/** After all kills, what was hit continues, and what begins anew works. */
async function checkNextWorks(): Promise<void> {
  for (const name of NAMES) {
    const state = await must(['inspect', '-f', '{{.State.Status}}', name], /^/);
    if (state !== 'running\n') await must([state === 'suspended\n' ? 'resume' : 'start', name], RegExp(`^${name}\n$`));
    await must(['exec', name, 'echo', 'here'], /^here\n$/);
  }
  await must(['snapshot', 'create', 'one', 'last'], /^last\n$/);
  const clone = await must([...AS_CLONE, '--snapshot', 'last'], /^[0-9a-f]{64}\n$/);
  await must(['exec', clone.trim(), 'echo', 'here'], /^here\n$/);
  await must(['suspend', 'two'], /^two\n$/);
  await must(['resume', 'two'], /^two\n$/);
  await must(['exec', 'two', 'echo', 'here'], /^here\n$/);
  const snapshots = await must(['snapshot', 'ls', '-q'], /^/);
  for (const name of snapshots.trim().split('\n')) await must(['snapshot', 'rm', name], RegExp(`^${name}\n$`));
  for (const name of await clones()) await must(['rm', '-f', name], /^[a-z_]+\n$/);
}

/** The containers' IDs, as their cgroups have them. */
const ids: string[] = [];
for (const name of NAMES) {
  const { stdout } = await run([
    'create',
    '-m',
    MEMORY,
    ...(isSaved ? ['--disk', DISK] : []),
    '--name',
    name,
    image,
    'sh',
    '-c',
    TICKS,
  ]);
  ids.push(stdout.slice(0, 12));
}
const starters = NAMES.map(keepStarting);
const archives = isSaved ? [] : makeArchives();
const work = Array.from({ length: plan.loops }, () => runMany(plan.kinds));
work.push(isSaved ? removeClones() : runMany([IMPORT]));
for (let kill = 0; kill < Number(kills); kill++) {
  await sleep(random.below(plan.pause));
  killOne();
}
ending = true;
await Promise.all(starters);
await checkTruth();
if (isSaved) {
  await Promise.all(work);
  await checkNextWorks();
}
const removed = await run(['rm', '-f', ...NAMES]);
if (removed.code !== 0) faults.push(`rm -f: ${JSON.stringify(removed)}`);
await Promise.all(work);
if (isSaved) {
  // What a killed process left of a template goes when one is made.
  await must(['template', 'create', '-m', MEMORY], /^[0-9a-f]{32}\n$/);
  await must(['template', 'prune', '-f'], /^Deleted Templates:/);
}
await checkNothingLeft();
rmSync(runtime, { recursive: true });
console.log(JSON.stringify({ faults, done }));
