// Runs many sandboxes at once from one program. Prints what each answered, what was left behind,
// and how much memory they took. Built to dist/fleet.js. Argument: the number of sandboxes.
// $TSVM_ACCEL names their machines, as it does for the CLI.
import { readdirSync, readFileSync } from 'node:fs';
import { type Accelerator, Container, Home, Sandbox } from 'tsvm';

/** Sandboxes that start at once: more would only wait for a CPU. */
const AT_ONCE = 4;
const MIB = 2 ** 20;

const ACCELERATORS: readonly Accelerator[] = ['kvm', 'tcg', 'uml'];
const accel = ACCELERATORS.find((each) => each === process.env.TSVM_ACCEL) ?? 'auto';
const count = Number(process.argv[2]);

const sandboxes: Sandbox[] = [];

async function startSome(): Promise<void> {
  while (sandboxes.length + starting < count) {
    starting++;
    const sandbox = await Sandbox.create('debian:12', { accel, memory: 64 * MIB, network: { mode: 'none' } });
    starting--;
    sandboxes.push(sandbox);
  }
}

/** Returns the number of this process's descendants, and their memory (PSS) in bytes. */
function descendants(): { processes: number; memory: number } {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((text) => /^\d+$/.test(text))) {
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ');
      if (fields[0] !== 'Z') parents.set(Number(name), Number(fields[1]));
    } catch {
      // The process has just ended.
    }
  }
  const isOurs = (pid: number): boolean => pid === process.pid || (parents.has(pid) && isOurs(parents.get(pid)!));
  const ours = [...parents.keys()].filter((pid) => pid !== process.pid && isOurs(pid));
  const memory = ours.reduce((sum, pid) => sum + shareOf(pid), 0);
  return { processes: ours.length, memory };
}

function shareOf(pid: number): number {
  try {
    return Number(/^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

let starting = 0;
await Promise.all(Array.from({ length: AT_ONCE }, startSome));
/** Other programs use the same home: only this one's containers count. */
const countListed = (): number => {
  const ids = new Set(Container.list(new Home()).map(({ config }) => config.id));
  return sandboxes.filter(({ id }) => ids.has(id)).length;
};
const listed = countListed();
const answers = new Set<string>();
for (const sandbox of sandboxes) answers.add((await sandbox.run(['hostname'])).stdout.trim());
const { processes, memory } = descendants();
const accelerators = [...new Set(sandboxes.map(({ accelerator }) => accelerator))];
await Promise.all(sandboxes.map((sandbox) => sandbox.close()));
for (let wait = 0; wait < 1000 && descendants().processes > 0; wait++)
  await new Promise((resolve) => setTimeout(resolve, 100));
const left = { processes: descendants().processes, containers: countListed() };
const result = { accelerators, listed, answers: answers.size, atLeastOneProcessEach: processes >= count, left };
console.log(JSON.stringify(result));
console.error(`${(memory / MIB / count).toFixed(1)} MiB of the host for each`);
